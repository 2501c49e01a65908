"""What is on disk is a whole epoch, though the next one has begun while it is written."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.system.signals import TrainingInterrupted
from bench.train import checkpoint
from bench.train.checkpoint import CheckpointFiles, CheckpointManager
from bench.train.optim import Optimization
from bench.train.state import TrainState

CPU = torch.device("cpu")


class Training:
    """A model whose weights are all the number of the epoch."""

    def __init__(self, folder: Path) -> None:
        self.model = nn.Linear(2, 2)
        optimizer = torch.optim.AdamW(self.model.parameters())
        self.optim = Optimization(
            model=self.model,
            forward=self.model,
            criterion=nn.CrossEntropyLoss(),
            optimizer=optimizer,
            scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            amp="off",
            device=CPU,
        )
        self.best, self.last = folder / "best_model.pt", folder / "last.pt"
        self.state = TrainState()

    def keeper(self) -> CheckpointManager:
        files = CheckpointFiles(
            best=self.best, about={"variant": "x"}, last=self.last, recipe={"lr": 1}
        )
        return CheckpointManager(self.optim, files)

    def epoch(self, best: bool) -> TrainState:
        self.state.epochs.append({"valid_macro_f1": 0.5})
        number = len(self.state.epochs)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.fill_(number)
        if best:
            self.state.best_epoch = number
        return self.state


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def weight(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["model"]["weight"][0, 0])


def test_the_next_epoch_does_not_change_what_is_written(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, changed = threading.Event(), threading.Event()
    save = torch.save

    def slow(content: Any, file: Any) -> None:
        begun.set()
        assert changed.wait(10)
        save(content, file)

    monkeypatch.setattr(checkpoint.torch, "save", slow)
    with training.keeper() as keeper:
        keeper.epoch_ended(training.epoch(best=True))
        assert begun.wait(10)
        training.epoch(best=False)
        changed.set()
    assert weight(training.best) == weight(training.last) == 1
    assert torch.load(training.last, weights_only=True)["state"]["epochs"] == [
        {"valid_macro_f1": 0.5}
    ]


def test_each_epoch_is_kept_and_the_best_ones_weights(training: Training) -> None:
    with training.keeper() as keeper:
        for best in (True, True, False):
            keeper.epoch_ended(training.epoch(best))
        assert float(keeper.best_weights(training.state)["weight"][0, 0]) == 2
    assert (weight(training.best), weight(training.last)) == (2, 3)
    assert training.state.saving_seconds > 0
    again = Training(training.best.parent)
    assert len(again.keeper().begin().epochs) == 3
    assert again.model.weight[0, 0] == 3


def test_after_the_last_epoch_the_best_weights_are_enough(training: Training) -> None:
    with training.keeper() as keeper:
        keeper.epoch_ended(training.epoch(best=True))

        keeper.epoch_ended(training.epoch(best=False), last_one=True)
    content = torch.load(training.last, weights_only=True)
    assert content["model"] is content["optimizer"] is None

    again = Training(training.best.parent)
    with again.keeper() as keeper:
        state = keeper.begin()
        assert len(state.epochs) == 2
        assert float(keeper.best_weights(state)["weight"][0, 0]) == 1


def fail(content: Any, file: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [None, TrainingInterrupted(None), TrainingInterrupted(15)])
def test_who_is_told_to_go_on_later_learns_of_a_full_disk(
    training: Training, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def end() -> None:
        with training.keeper() as keeper:
            keeper.epoch_ended(training.epoch(best=True))
            if error is not None:
                raise error

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        end()


def test_the_first_error_is_the_one_that_counts(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        with training.keeper() as keeper:
            keeper.epoch_ended(training.epoch(best=True))
            raise ValueError("another")

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(ValueError, match="another"):
        end()


def test_a_state_that_is_broken_off_takes_the_place_of_one_that_could_not_be_written(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with training.keeper() as keeper:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.torch, "save", fail)
            keeper.epoch_ended(training.epoch(best=True))
            keeper._pool.submit(lambda: None).result()
        training.state.steps = 5
        keeper.broken_off(training.state)
    assert torch.load(training.last, weights_only=True)["state"]["steps"] == 5


def test_who_does_not_write_behind_has_the_files_at_once(training: Training) -> None:
    files = CheckpointFiles(best=training.best, about={}, behind=False)
    with CheckpointManager(training.optim, files) as keeper:
        keeper.epoch_ended(training.epoch(best=True))
        assert weight(training.best) == 1
        assert not training.last.exists()
        keeper.epoch_ended(training.epoch(best=False))
        assert weight(training.best) == 1


def test_an_error_is_raised_at_the_next_epoch(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with training.keeper() as keeper:
        keeper.epoch_ended(training.epoch(best=True))
        with monkeypatch.context() as patch:
            keeper._wait()
            patch.setattr(checkpoint.torch, "save", fail)
            keeper.epoch_ended(training.epoch(best=True))
            with pytest.raises(OSError, match="No space left"):
                keeper.epoch_ended(training.epoch(best=True))
    # The files are those of the last epoch that fitted.
    assert weight(training.best) == weight(training.last) == 1


def test_weights_that_somebody_else_wrote_are_not_taken(training: Training) -> None:
    with training.keeper() as keeper:
        keeper.epoch_ended(training.epoch(best=True))
        training.state.best_epoch = 7
        with pytest.raises(RuntimeError, match="something else has written"):
            keeper.best_weights(training.state)
