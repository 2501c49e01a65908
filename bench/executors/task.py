"""One task of a sweep: sent to a worker, on another machine perhaps, and carried out there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import PIL
import timm
import torch

from bench import __version__
from bench.data.parts import decode_images
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.models.build import load_plugins
from bench.records import write_record
from bench.runner.context import Outcome, ProcessContext, RunSpec, SweepContext
from bench.runner.queue import begun_or_ended, note_folder, note_of, noted, train_in_turn
from bench.runner.remote_store import Mirror, working
from bench.system.console import PlainFormatter, log_to
from bench.system.environment import usable_cores
from bench.system.memory import keep_freed_memory
from bench.system.paths import scratch_folder
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train.feature_store import FeatureStore

# How often a worker asks whether it is to stop.
ASK_S = 1.0
_loaded: set[str] = set()


class ProgressChannel(Protocol):
    """Where a worker says how far it is, and hears whether to stop."""

    def say(self, line: str) -> None:
        """Show a line to whoever started the sweep."""

    def stopped(self) -> int | None:
        """The signal to stop by, or none."""


@attrs.frozen(kw_only=True)
class Task:
    """Runs that one worker trains one after the other.

    Attributes:
        name: tells it from all other tasks of all sweeps; a file name.
        runs: of one sweep, seed and fold.
        plugins: file name and text of those that register variants.
        results_dir: where records go, as the sender sees it.
        token: a file there that tells whether a worker sees the same folder.
        cwd: that relative paths are meant from.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads.
        features_limit: most bytes of a frozen backbone's features.
        deadline: by the clock on the wall; none: no limit of time.
        versions: that a worker must have.
    """

    name: str
    runs: tuple[RunSpec, ...]
    plugins: tuple[tuple[str, str], ...]
    results_dir: Path
    token: str
    cwd: Path
    device: str
    threads: int
    features_limit: float
    deadline: float | None
    versions: Mapping[str, str]

    @property
    def sweep(self) -> SweepContext:
        """What its runs share with all others."""
        return self.runs[0].sweep


@attrs.frozen
class TaskResult:
    """A run that comes back from a worker.

    Attributes:
        folder: its name.
        record: of the run.
        files: name → content, where the worker does not see the sender's folder.
    """

    folder: str
    record: dict[str, Any]
    files: Mapping[str, bytes] | None


def versions() -> dict[str, str]:
    """What must be the same on all machines: weights and records go from one to the other."""
    return {
        "paddy_bench": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        # They make the pixels.
        "pillow": PIL.__version__,
        "image loader": str(LOADER),
    }


def check_versions(expected: Mapping[str, str], where: str = "") -> None:
    """See that this machine has the versions of the one that started the sweep.

    Raises:
        BenchError: it does not.
    """
    differences = [
        f"{name} {version} ({expected.get(name, 'unknown')})"
        for name, version in versions().items()
        if version != expected.get(name)
    ]
    if differences:
        raise BenchError(
            f"worker {where or socket.gethostname()} has other versions than this machine, which "
            f"are given in brackets: {', '.join(differences)}: install the same on both"
        )


def carry_out(task: Task, board: ProgressChannel) -> list[TaskResult]:
    """Train a task's runs; fewer than asked for where it was told to stop.

    A run that an earlier worker began, and lost, goes on from its last epoch.

    Args:
        task: what to do.
        board: to whoever started the sweep.

    Raises:
        BenchError: other versions, or the images cannot be read here.
    """
    check_versions(task.versions)
    if task.cwd.is_dir():
        os.chdir(task.cwd)
    keep_freed_memory()
    torch.set_num_threads(task.threads)
    device = torch.device(task.device, 0) if task.device == "cuda" else torch.device("cpu")
    # Of this machine's own clock.
    left = None if task.deadline is None else task.deadline - time.time()
    stopper = StopRequest(None if left is None else time.monotonic() + left)
    with scratch_folder() as scratch:
        load_texts(task.plugins, scratch)
        same = (task.results_dir / task.token).exists()
        results = task.results_dir if same else scratch / "results"
        mirror, gather = None, task.sweep.config.gather
        if not same and gather is not None:
            mirror = Mirror(results, working(gather, task.name))
            mirror.fetch([note_of(task.name, spec.variant.name) for spec in task.runs])
        ended = threading.Event()
        asking = threading.Thread(target=_ask, args=(board, stopper, ended), daemon=True)
        asking.start()
        try:
            with log_to(ChannelHandler(board)), mirror or contextlib.nullcontext():
                outcomes = _train(task, results, device, scratch, stopper, mirror)
        finally:
            ended.set()
        return [_sent(task, folder, record, same=same) for folder, record in outcomes]


def _train(
    task: Task,
    results: Path,
    device: torch.device,
    scratch: Path,
    stopper: StopRequest,
    mirror: Mirror | None,
) -> list[Outcome]:
    resolved, parts = task.sweep.resolved, task.runs[0].parts
    config = attrs.evolve(resolved.config, results_dir=results)
    sweep = attrs.evolve(task.sweep, resolved=attrs.evolve(resolved, config=config))

    def note(variant: str, folder: Path) -> None:
        note_folder(results, task.name, variant, folder)
        if mirror is not None:
            mirror.keep(results / note_of(task.name, variant))

    # Beside the records here, where what the sender has told need not be.
    accumulation = sweep.accumulation()
    accumulation.tell()
    process = ProcessContext(
        device=device,
        images=decode_images(parts.index, parts.positions(), config, workers=usable_cores()),
        stopper=stopper,
        features=FeatureStore(scratch / "features", task.features_limit),
        accumulation=accumulation,
        on_folder=note,
    )
    planned = []
    for spec in task.runs:
        earlier = noted(results, task.name, spec.variant.name, sweep.id, spec.run) or spec.begun
        if earlier is not None and not earlier[0].is_dir():
            earlier = None  # it lies on the sender's machine alone
        begun, ended = begun_or_ended(earlier)
        planned.append(attrs.evolve(spec, sweep=sweep, begun=begun, ended=ended))
    # What an earlier worker has ended is not among what is done here.
    outcomes = {n: spec.ended for n, spec in enumerate(planned) if spec.ended is not None}
    with contextlib.suppress(TrainingInterrupted):
        for number, outcome in train_in_turn(planned, process):
            outcomes[number] = outcome
    # Only those before the first that is left: they are told apart by their place.
    whole = itertools.takewhile(outcomes.__contains__, range(len(planned)))
    return [outcomes[number] for number in whole]


def _sent(task: Task, folder: Path, record: dict[str, Any], *, same: bool) -> TaskResult:
    record["config"]["results_dir"] = str(task.sweep.config.results_dir)
    write_record(folder, record)
    files = None
    if not same:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return TaskResult(folder.name, record, files)


def plugin_texts(plugins: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Return file name and text of plugin files, for machines that do not have them."""
    return tuple((path.name, path.read_text(encoding="utf8")) for path in plugins)


def load_texts(plugins: Sequence[tuple[str, str]], scratch: Path) -> list[Path]:
    """Run plugin files as the sender read them: a process that is used again has them already.

    Returns:
        Where they are on this machine.
    """
    paths = []
    for number, (name, text) in enumerate(plugins):
        # Two may have one name.
        path = scratch / str(number) / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf8")
        if text not in _loaded:
            load_plugins([path])
            _loaded.add(text)
        paths.append(path)
    return paths


def _ask(board: ProgressChannel, stopper: StopRequest, ended: threading.Event) -> None:
    while not ended.wait(ASK_S):
        try:
            number = board.stopped()
        except Exception:
            return  # whoever started the sweep is gone, and so is this process soon
        if number is not None:
            stopper.note(number, None)
            return


class ChannelHandler(logging.Handler):
    """Send the lines of the log to whoever started the sweep."""

    def __init__(self, board: ProgressChannel) -> None:
        super().__init__()
        self._board = board
        self.setFormatter(PlainFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).split("\n"):
            self._board.say(line)
