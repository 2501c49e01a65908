"""Save a training's best weights and its state, whole or not at all; read without running code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import torch

from bench.errors import error_line
from bench.system.files import replacing
from bench.system.signals import TrainingInterrupted
from bench.train.distributed import ProcessGroup
from bench.train.optim import Optimization
from bench.train.state import TrainState, capture, check_about, put_back, read_state


def copied(value: Any) -> Any:
    """Return nested dicts and lists with a copy of each tensor, on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    return value


def load_weights(path: Path, device: torch.device, *, mapped: bool = False) -> dict[str, Any]:
    """Return what a file of weights holds: ``model`` (name → tensor), and what it says about them.

    Args:
        path: the file.
        device: of the tensors.
        mapped: read a tensor where it is first used, which spares a copy: for a file that nobody
            else writes to.

    Raises:
        Exception: it cannot be read, or it is no such file: PyTorch has many errors for that.
    """
    weights: dict[str, Any] = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    return weights


def save_whole(content: dict[str, Any], path: Path) -> None:
    """Do ``torch.save``; an existing file is replaced in one step, once the disk has the new one.

    Raises:
        OSError: it cannot be written; the previous one is as it was.
    """
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except RuntimeError as error:
        # PyTorch's writer tells of a full disk by an error of its own.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise OSError(f"{path} could not be written ({error_line(error)})") from error


def keep_candidate(candidate: Path, best: Path, epoch: int) -> None:
    """Make a better epoch's weights the best ones, where they are of that epoch.

    Args:
        candidate: file of a better epoch's weights; what is of another epoch, or damaged, is
            removed: it belongs to an epoch that a kill has undone.
        best: file of the best weights.
        epoch: the best one.

    Raises:
        OSError: the file cannot be read or moved; it stays.
    """
    if candidate.exists() and _epoch_of(candidate) == epoch:
        candidate.replace(best)
    candidate.unlink(missing_ok=True)


def _epoch_of(path: Path) -> int | None:
    try:
        # Mapped: only its small values are read.
        return int(load_weights(path, torch.device("cpu"), mapped=True)["epoch"])
    except (OSError, MemoryError):
        raise
    except Exception:
        return None


@attrs.frozen(kw_only=True)
class CheckpointFiles:
    """The files of a training.

    Attributes:
        best: holds the best weights so far, written at each better epoch.
        about: what it says about its weights.
        last: of the training's state, written after each epoch; none: it is not kept.
        recipe: plain values that must be the same when the training goes on.
        behind: write while the next epoch trains; else each epoch waits for its files.
    """

    best: Path
    about: Mapping[str, Any]
    last: Path | None = None
    recipe: Mapping[str, Any] = attrs.field(factory=dict)
    behind: bool = True


class CheckpointManager:
    """Writes after each epoch, in a thread, one epoch after the other; a context manager.

    What is written is copied first (on a CPU the peak memory has these copies in it), so that the
    next epoch can begin meanwhile. An error of the
    disk is raised at the next epoch's end, or where the block ends: the files are then those of the
    last epoch that fitted.

    Args:
        optim: what the training changes.
        files: that it writes.
        team: the processes that train; the first of them reads and writes.
    """

    def __init__(
        self, optim: Optimization, files: CheckpointFiles, team: ProcessGroup | None = None
    ) -> None:
        self._optim, self.files, self._team = optim, files, team or ProcessGroup()
        self._candidate = files.best.with_name(files.best.name + ".new")
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    @property
    def keeps_state(self) -> bool:
        """Return whether the training can go on later."""
        return self.files.last is not None

    def begin(self) -> TrainState:
        """Return the state to begin with; what the training changes is put back as it was.

        Raises:
            UnusableStateError: the training cannot go on from its file.
        """
        content, last = None, self.files.last
        if self._team.leads and last is not None and last.exists():
            content = read_state(last)
            check_about(content["about"], self.files.recipe)
        content = self._team.tell(content)
        if content is None:
            return TrainState()
        state = put_back(content, self._optim)
        if self._team.leads:
            keep_candidate(self._candidate, self.files.best, state.best_epoch)
        return state

    def epoch_ended(self, state: TrainState, *, last_one: bool = False) -> None:
        """Keep what the training is now.

        Args:
            state: after that epoch.
            last_one: no other epoch comes: nothing but the best weights is of use later.

        Raises:
            OSError: the epoch before could not be written.
        """
        if not self._team.leads:
            return
        begin = time.perf_counter()
        self._wait()
        epoch, best_epoch, last = len(state.epochs), state.best_epoch, self.files.last
        better, resumable = best_epoch == epoch, last is not None and not last_one
        weights: dict[str, Any] = {}
        if better or resumable:
            weights = copied(self._optim.model.state_dict())
        content: dict[str, Any] = {}
        if last is not None:
            captured = capture(state, self._optim, self.files.recipe, tensors=not last_one)
            content = copied({**captured, "model": None})
            content["model"] = weights if resumable else None
        macro_f1 = state.epochs[-1]["valid_macro_f1"]
        best = {"model": weights, **self.files.about, "epoch": epoch, "macro_f1": macro_f1}

        def write() -> None:
            if better:
                save_whole(best, self._candidate)
            if last is not None:
                save_whole(content, last)
            # Not before the state names it the best one: a kill in between would leave another's.
            keep_candidate(self._candidate, self.files.best, best_epoch)

        state.saving_seconds += time.perf_counter() - begin
        if last is not None:
            content["state"]["saving_seconds"] = state.saving_seconds
        self._pending = self._pool.submit(write)
        if not self.files.behind:
            begin = time.perf_counter()
            self._wait()
            state.saving_seconds += time.perf_counter() - begin

    def broken_off(self, state: TrainState) -> None:
        """Keep the state in the middle of an epoch, at once.

        Raises:
            OSError: it cannot be written.
        """
        if not self._team.leads:
            return
        # What is written now takes the place of what could not be written before.
        with contextlib.suppress(OSError):
            self._wait()
        assert self.files.last is not None
        save_whole(capture(state, self._optim, self.files.recipe), self.files.last)

    def best_weights(self, state: TrainState) -> dict[str, Any]:
        """Return name → tensor, of the best epoch.

        Raises:
            OSError: they could not be written.
            RuntimeError: something else has written to the file.
        """
        begin = time.perf_counter()
        self._wait()
        saved = load_weights(self.files.best, self._optim.device, mapped=True)
        state.saving_seconds += time.perf_counter() - begin
        if saved["epoch"] != state.best_epoch:
            raise RuntimeError(
                f"{self.files.best} is of epoch {saved['epoch']}, and the best one is "
                f"{state.best_epoch}: something else has written to this folder"
            )
        return dict(saved["model"])

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._wait()
        except Exception:
            # Who is told that it can go on later must be able to.
            if error is None or isinstance(error, TrainingInterrupted):
                raise
        finally:
            self._pool.shutdown()
