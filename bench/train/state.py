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
from torch import nn

from bench.config.options import REMOVED, config_default
from bench.train.evaluate import Evaluation

FILE = "last.pt"
# A new number for another form of the file.
VERSION = 1


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
        """The epoch to go on with, from 1."""
        return len(self.epochs) + 1

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.epochs) - self.best_epoch

    @property
    def last_epoch_seconds(self) -> float:
        """What the latest epoch took with its validation; 0 before the first."""
        if not self.epochs:
            return 0.0
        return self.epochs[-1]["train_seconds"] + self.epochs[-1]["valid_seconds"]

    def count(self, images: int) -> None:
        """One more batch, of so many images, was trained on."""
        self.batches += 1
        self.seen += images
        self.steps += 1
        self.part_steps[self.parts] = self.part_steps.get(self.parts, 0) + 1

    def end_epoch(self, seconds: float) -> None:
        """The epoch at hand is whole; ``seconds`` of the training are over."""
        self.seconds = seconds
        self.batches = self.seen = self.correct = 0
        self.loss_sum = self.epoch_seconds = 0.0
        self.diverged_at = None


@attrs.frozen(kw_only=True)
class Trained:
    """Everything beside the :class:`TrainState` that an update changes.

    Attributes:
        model: the model.
        optimizer: of its parameters.
        scheduler: of the optimizer's rates.
        scaler: of the loss.
        device: where they are.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    device: torch.device


def capture(
    state: TrainState, trained: Trained, about: Mapping[str, Any], *, tensors: bool = True
) -> dict[str, Any]:
    """What ``last.pt`` is to hold; its tensors are those that the training goes on changing.

    Args:
        state: how far the training is.
        trained: what it changes.
        about: plain values that must be the same when it goes on.
        tensors: without them a training that has had its last epoch can still be ended.
    """
    return {
        "version": VERSION,
        "about": dict(about),
        "state": attrs.asdict(state),
        "model": trained.model.state_dict() if tensors else None,
        "optimizer": trained.optimizer.state_dict() if tensors else None,
        "scheduler": trained.scheduler.state_dict(),
        "scaler": trained.scaler.state_dict(),
        "random": random_states(trained.device),
    }


def load_state(path: Path, trained: Trained, about: Mapping[str, Any]) -> TrainState:
    """Put everything back as it was; how far the training is.

    Args:
        path: the file.
        trained: made anew, by the same recipe.
        about: what must be as it was when the file was written.

    Raises:
        UnusableStateError: the file is damaged, of another version or of another training.
        OSError: it cannot be read now.
    """
    return put_back(read_state(path, about), trained)


def read_state(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the file holds, for :func:`put_back`; raises as :func:`load_state`."""
    content = _read(path)
    check_about(content["about"], about)
    return content


def put_back(content: Mapping[str, Any], trained: Trained) -> TrainState:
    """As :func:`load_state`, with what was read already."""
    if content["model"] is not None:
        trained.model.load_state_dict(content["model"])
        trained.optimizer.load_state_dict(content["optimizer"])
    trained.scheduler.load_state_dict(content["scheduler"])
    trained.scaler.load_state_dict(content["scaler"])
    set_random_states(content["random"], trained.device)
    found = dict(content["state"])
    best = found.pop("best")
    return TrainState(**found, best=None if best is None else Evaluation(**best))


def check_about(kept: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """See that a file is of this very training.

    Raises:
        UnusableStateError: it is not.
    """
    for key, value in about.items():
        known = kept.get(key)
        if key == "options" and isinstance(known, Mapping):
            # An option that there was not when it began has the value that does what was done.
            defaults = {name: config_default(name) for name in value}
            known = {**defaults, **known}
            known = {name: known[name] for name in known if name not in REMOVED}
        if known != value:
            raise UnusableStateError(f"its {key} is {known!r}, not {value!r}")


def about_of(path: Path) -> dict[str, Any]:
    """What a file says that must be the same when its training goes on.

    Raises:
        UnusableStateError: as :func:`load_state`.
    """
    return dict(_read(path)["about"])


def _read(path: Path) -> dict[str, Any]:
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
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(words), gauss],
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """The reverse of :func:`random_states`."""
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
