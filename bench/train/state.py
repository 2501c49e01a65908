"""A training that can go on later as if it had never stopped: its state, in ``last.pt``."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from bench.config.options import REMOVED, config_default
from bench.train.distributed import ProcessGroup
from bench.train.evaluate import Evaluation
from bench.train.optim import Optimization

FILE = "last.pt"
# A new number for another form of the file.
VERSION = 1
# More steps than an epoch has.
NEVER = 2**62


class UnusableStateError(Exception):
    """Why a training cannot go on from a file, in a few words."""


@attrs.define
class TrainState:
    """How far a training is.

    Attributes:
        epochs: a row for each whole epoch.
        best: evaluation of the best epoch so far.
        best_epoch: its number, from 1.
        seconds: that the training took so far.
        steps: updates so far.
        parts: into how many each batch is divided (see :mod:`bench.train.accumulate`).
        part_steps: how many updates were done in how many parts.
        first_batch_seconds: what the very first one took, from asking for its batch.
        batches: of the epoch that was broken off, already trained on.
        seen: images of these.
        loss_sum: sum of their losses.
        correct: how many of them were predicted right.
        diverged_at: the first of these batches whose loss was not finite, from 1; none: no one.
        epoch_seconds: that these batches took.
        saving_seconds: that the training has waited for its files so far.
    """

    epochs: list[dict[str, float]] = attrs.field(factory=list)
    best: Evaluation | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    steps: int = 0
    parts: int = 1
    part_steps: dict[int, int] = attrs.field(factory=dict)
    first_batch_seconds: float = 0.0
    batches: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    diverged_at: int | None = None
    epoch_seconds: float = 0.0
    saving_seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Return the epoch to go on with, from 1."""
        return len(self.epochs) + 1

    @property
    def waited(self) -> int:
        """Return the epochs since the best one."""
        return len(self.epochs) - self.best_epoch

    @property
    def last_epoch_seconds(self) -> float:
        """Return what the latest epoch took with its validation; 0 before the first."""
        if not self.epochs:
            return 0.0
        return self.epochs[-1]["train_seconds"] + self.epochs[-1]["valid_seconds"]

    def count(self, images: int) -> None:
        """Count one more batch, of so many images, as trained on."""
        self.batches += 1
        self.seen += images
        self.steps += 1
        self.part_steps[self.parts] = self.part_steps.get(self.parts, 0) + 1

    def end_epoch(self, seconds: float) -> None:
        """End the epoch at hand; ``seconds`` of the training are over."""
        self.seconds = seconds
        self.batches = self.seen = self.correct = 0
        self.loss_sum = self.epoch_seconds = 0.0
        self.diverged_at = None


class RunningLoss:
    """Loss and hits of the epoch at hand, from where its state says it was broken off.

    They are added up on the device: reading them at each step would wait for a GPU.

    Args:
        state: of the training.
        device: where losses and logits are.
        team: whose processes each have some rows of a batch.
    """

    def __init__(self, state: TrainState, device: torch.device, team: ProcessGroup) -> None:
        self._team = team
        if not team.leads:
            state = TrainState()  # what was added up before is counted once
        first = NEVER if state.diverged_at is None else state.diverged_at
        self._loss = torch.tensor(state.loss_sum, device=device, dtype=torch.float64)
        self._correct = torch.tensor(state.correct, device=device)
        self._diverged = torch.tensor(first, device=device)

    def add(
        self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, step: int, images: int
    ) -> None:
        """Add a step.

        Args:
            loss: () mean over the images; of one process of several its share in that mean.
            logits: (B, classes).
            labels: (B,) int64.
            step: its number in the epoch, from 1.
            images: of the whole batch.
        """
        self._loss += loss.double() * images
        self._correct += (logits.argmax(1) == labels).sum()
        self._diverged.clamp_(max=torch.where(loss.isfinite(), NEVER, step))

    def total(self) -> tuple[float, int, int | None]:
        """Add up those of all processes, waiting for the device.

        Returns:
            Sum of the losses over the images; images predicted right; the first step, from 1, whose
            loss was not finite, or none.
        """
        sums = self._loss.item(), self._correct.item(), self._diverged.item()
        losses, correct, first = zip(*self._team.everywhere(sums), strict=True)
        diverged = min(first)
        return sum(losses), sum(correct), None if diverged == NEVER else diverged

    def into(self, state: TrainState) -> None:
        """Put them where the epoch can be gone on with from; waits for the device."""
        state.loss_sum, state.correct, state.diverged_at = self.total()


def capture(
    state: TrainState, optim: Optimization, about: Mapping[str, Any], *, tensors: bool = True
) -> dict[str, Any]:
    """Return what ``last.pt`` is to hold; its tensors are those that the training goes on changing.

    Args:
        state: how far the training is.
        optim: what it changes.
        about: plain values that must be the same when it goes on.
        tensors: without them a training that has had its last epoch can still be ended.
    """
    return {
        "version": VERSION,
        "about": dict(about),
        "state": attrs.asdict(state),
        "model": optim.model.state_dict() if tensors else None,
        "optimizer": optim.optimizer.state_dict() if tensors else None,
        "scheduler": optim.scheduler.state_dict(),
        "scaler": optim.scaler.state_dict(),
        "random": random_states(optim.device),
    }


def put_back(content: Mapping[str, Any], optim: Optimization) -> TrainState:
    """Put everything back into what the same recipe has built; return how far the training is."""
    if content["model"] is not None:
        optim.model.load_state_dict(content["model"])
        optim.optimizer.load_state_dict(content["optimizer"])
    optim.scheduler.load_state_dict(content["scheduler"])
    optim.scaler.load_state_dict(content["scaler"])
    set_random_states(content["random"], optim.device)
    best = content["state"]["best"]
    return TrainState(**content["state"] | {"best": best and Evaluation(**best)})


def check_about(kept: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """See that a file is of this very training.

    Raises:
        UnusableStateError: it is not.
    """
    for key, value in about.items():
        saved = kept.get(key)
        if key == "options" and isinstance(saved, Mapping):
            # An option that there was not when it began has the value that does what was done.
            saved = {name: config_default(name) for name in value} | {
                name: option for name, option in saved.items() if name not in REMOVED
            }
        if saved != value:
            raise UnusableStateError(f"its {key} is {saved!r}, not {value!r}")


def about_of(path: Path) -> dict[str, Any]:
    """Return what a file says that must be the same when its training goes on.

    Raises:
        UnusableStateError: as :func:`read_state`.
    """
    return dict(read_state(path)["about"])


def read_state(path: Path) -> dict[str, Any]:
    """Return what a file holds, for :func:`put_back`.

    Raises:
        UnusableStateError: the file is damaged, or of another version.
        OSError: it cannot be read now.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Each member has a checksum, which PyTorch does not look at.
            damaged = archive.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise  # a drive that is away for a moment has damaged nothing
    # Whatever a damaged file brings about, the training begins anew.
    except Exception as error:
        raise UnusableStateError(f"it is damaged ({type(error).__name__})") from error
    if damaged is not None:
        raise UnusableStateError("it is damaged (checksum)")
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise UnusableStateError("it was written by another version")
    return content


# --- random states ---------------------------------------------------------------------------


def random_states(device: torch.device) -> dict[str, Any]:
    """Of every generator that a model may draw from, as values that need no code to be read."""
    name, keys, *rest = np.random.get_state()
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(words), gauss],
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Do the reverse of :func:`random_states`."""
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
