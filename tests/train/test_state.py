"""A training that is broken off goes on as if it had never stopped."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.config.options import RunConfig
from bench.system.progress import Progress
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train import loop
from bench.train.checkpoint import CheckpointFiles
from bench.train.loop import Feed, TrainContext, TrainResult
from bench.train.state import (
    TrainState,
    UnusableStateError,
    about_of,
    check_about,
    random_states,
    read_state,
    set_random_states,
)
from tests.train.test_loop import Linear, Rows

EPOCHS, BATCHES = 4, 3
CPU = torch.device("cpu")


class Loader:
    """Three batches of eight, in an order that depends on the epoch alone.

    Args:
        stopper: gets a signal before the batch of that number, counted over all epochs from 0.
    """

    def __init__(
        self, stopper: StopRequest | None = None, at: int = -1, train: bool = True
    ) -> None:
        self.dataset = Rows()
        self.stopper, self.at, self.train = stopper, at, train
        self.epoch, self.first, self.asked = 1, 0, 0

    def __len__(self) -> int:
        return BATCHES

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.epoch, self.first = epoch, first

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(24, generator=torch.Generator().manual_seed(self.epoch))
        order = order if self.train else torch.arange(24)
        batches = order.split(8)[self.first :]
        self.epoch, self.first = self.epoch + 1, 0
        for places in batches:
            if self.stopper is not None and self.asked == self.at:
                self.stopper.number = 15
            self.asked += 1
            yield self.dataset.points[places], torch.tensor(self.dataset.labels)[places]


def train(
    folder: Path, *, at: int = -1, recipe: dict | None = None, **options: Any
) -> tuple[Linear, TrainResult]:
    config = RunConfig(
        **{"epochs": EPOCHS, "base_lr": 1e-2, "head_lr": 5e-2, "amp": "off", **options}
    )
    model, stopper = Linear(), StopRequest()
    torch.manual_seed(config.seed)
    result = loop.train(
        model,
        Feed({"train": Loader(stopper, at), "valid": Loader(train=False)}, tuple),
        config,
        TrainContext(
            device=CPU,
            progress=Progress("Linear", config.epochs),
            stopper=stopper,
        ),
        CheckpointFiles(
            best=folder / "best_model.pt",
            about={"variant": "Linear"},
            last=folder / "last.pt",
            recipe=recipe or {},
        ),
    )
    return model, result


def without_times(result: TrainResult) -> Any:
    times = ("train_seconds", "valid_seconds", "images_per_s")
    rows = [{k: v for k, v in row.items() if k not in times} for row in result.epochs]
    return rows, result.best_epoch, result.best, result.steps, result.stopped_early


@pytest.mark.parametrize("at", range(EPOCHS * BATCHES))
def test_stopped_at_any_step_it_ends_as_it_would_have(tmp_path: Path, at: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parted").mkdir()
    model, expected = train(tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="SIGTERM"):
        train(tmp_path / "parted", at=at)
    again, found = train(tmp_path / "parted")
    assert without_times(found) == without_times(expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert {path.name for path in (tmp_path / "parted").iterdir()} == {"best_model.pt", "last.pt"}


class KilledError(Exception):
    """The process is gone: nothing else is written."""


@pytest.mark.parametrize("at", [BATCHES, 2 * BATCHES + 1, EPOCHS * BATCHES - 1])
def test_killed_it_goes_on_from_its_last_whole_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    model, expected = train(tmp_path / "whole")
    step, count = loop.train_step, itertools.count()

    def killed(*args: Any, **keywords: Any) -> Any:
        if next(count) == at:
            raise KilledError
        return step(*args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", killed)
        with pytest.raises(KilledError):
            train(tmp_path / "killed")
    kept = torch.load(tmp_path / "killed" / "last.pt", weights_only=True)
    assert len(kept["state"]["epochs"]) == at // BATCHES
    again, found = train(tmp_path / "killed")
    assert without_times(found) == without_times(expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_stopped_twice_it_ends_as_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    _, expected = train(tmp_path / "whole")
    for at in (4, 2):
        with pytest.raises(TrainingInterrupted):
            train(tmp_path, at=at)
    _, found = train(tmp_path)
    assert without_times(found) == without_times(expected)


def test_the_stopping_rule_goes_on_too(tmp_path: Path) -> None:
    options = {"patience": 1, "epochs": 9, "base_lr": 1e-9, "head_lr": 1e-9}
    (tmp_path / "whole").mkdir()
    _, expected = train(tmp_path / "whole", **options)
    assert expected.stopped_early
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=4, **options)
    _, found = train(tmp_path, **options)
    assert without_times(found) == without_times(expected)
    # Once more: what has ended does not begin again.
    _, once_more = train(tmp_path, **options)
    assert without_times(once_more) == without_times(expected)


def test_seconds_add_up(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=7)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    kept = content["state"]["seconds"]
    assert kept > sum(row["train_seconds"] for row in content["state"]["epochs"]) > 0
    content["state"]["seconds"] = 1000.0
    content["state"]["epoch_seconds"] = 100.0
    torch.save(content, tmp_path / "last.pt")
    _, found = train(tmp_path)
    assert 1000 < found.seconds < 1060
    assert 100 < found.epochs[2]["train_seconds"] < 160


# --- what cannot be gone on from -------------------------------------------------------------


def test_a_damaged_file_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=5)
    whole = (tmp_path / "last.pt").read_bytes()
    middle = whole.index(b"norm.running_mean") if b"norm.running_mean" in whole else len(whole) // 2
    for damaged in (
        b"",
        b"no checkpoint",
        whole[: len(whole) // 2],
        whole[:-100],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    ):
        (tmp_path / "last.pt").write_bytes(damaged)
        with pytest.raises(UnusableStateError, match="damaged"):
            train(tmp_path)
        with pytest.raises(UnusableStateError):
            about_of(tmp_path / "last.pt")


def test_a_file_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"version": 1, "about": {}, "state": Evil()}, tmp_path / "last.pt")
    with pytest.raises(UnusableStateError):
        train(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_another_training_does_not_go_on_from_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=5, recipe={"variant": "A", "lr": 0.1})
    assert about_of(tmp_path / "last.pt") == {"variant": "A", "lr": 0.1}
    with pytest.raises(UnusableStateError, match=r"its lr is 0\.1, not 0\.2"):
        train(tmp_path, recipe={"variant": "A", "lr": 0.2})


def test_weights_of_an_epoch_that_a_kill_has_undone_are_not_the_best(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=5)
    kept = torch.load(tmp_path / "best_model.pt", weights_only=True)
    undone = {**kept, "epoch": 99}
    torch.save(undone, tmp_path / "best_model.pt.new")
    _, found = train(tmp_path)
    saved = torch.load(tmp_path / "best_model.pt", weights_only=True)
    assert saved["epoch"] == found.best_epoch != 99


def test_a_disk_that_is_full_leaves_the_previous_state(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, at=5)
    before = (tmp_path / "last.pt").read_bytes()

    def full(content: Any, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")

    with monkeypatch.context() as patch:
        patch.setattr("bench.train.checkpoint.torch.save", full)
        with pytest.raises(OSError, match=r"could not be written \(.*unexpected pos"):
            train(tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


# --- the rest --------------------------------------------------------------------------------


def test_random_states_come_back(tmp_path: Path) -> None:
    states = random_states(CPU)
    path = tmp_path / "states.pt"
    torch.save(states, path)
    first = torch.rand(3), np.random.rand(3), random.random()
    set_random_states(torch.load(path, weights_only=True), CPU)
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first[0], again[0])
    assert (first[1] == again[1]).all()
    assert first[2] == again[2]


def test_a_state_counts_from_its_epochs() -> None:
    state = TrainState()
    assert (state.epoch, state.waited, state.last_epoch_seconds) == (1, 0, 0.0)
    state.epochs = [{"train_seconds": 2.0, "valid_seconds": 0.5}] * 3
    state.best_epoch, state.batches, state.seen = 1, 3, 24
    state.end_epoch(9.0)
    assert (state.epoch, state.waited, state.last_epoch_seconds) == (4, 2, 2.5)
    assert (state.batches, state.seen, state.seconds) == (0, 0, 9.0)


def test_a_file_that_is_away_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "none.pt")


def test_an_option_that_there_was_not_has_its_default() -> None:
    """A sweep that an older version began goes on where the option changes nothing."""
    now = {"options": {"epochs": 3, "progressive": False}}
    check_about({"options": {"epochs": 3}}, now)
    check_about({"options": {"epochs": 3, "channels_last": True}}, now)
    for kept, about in (
        ({"options": {"epochs": 3}}, {"options": {"epochs": 3, "progressive": True}}),
        ({"options": {"epochs": 4}}, now),
        ({"options": {"epochs": 3, "gone": 1}}, now),
        ({"options": "hostile"}, now),
        ({}, now),
    ):
        with pytest.raises(UnusableStateError):
            check_about(kept, about)
