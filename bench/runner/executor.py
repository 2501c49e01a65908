"""Train several runs of a sweep at once: the protocol, and processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch

import variants
from bench.config.options import RunConfig
from bench.data.cache import DecodedImages
from bench.errors import BenchError
from bench.models.build import load_plugins
from bench.runner.context import Outcome, ProcessContext, RunSpec
from bench.runner.queue import train_in_turn
from bench.system.console import ConsoleHandler, log_to
from bench.system.devices import choose_devices
from bench.system.memory import keep_freed_memory
from bench.system.signals import SignalError, StopRequest, TrainingInterrupted
from bench.timing.session import Timed
from bench.train.feature_store import FeatureStore


class Executor(Protocol):
    """Trains the runs of a sweep: processes of this machine, Ray, SLURM."""

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        """Return the devices that train at once, one name each.

        Args:
            config: the options.
            device: that ``--device`` means on this machine.

        Raises:
            BenchError: it cannot train what is asked for.
        """

    def train(self, jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[int, Outcome]]:
        """Train jobs; position, folder and record of each run as its job ends.

        The longest job goes first, so that no device is left with a long one when the others have
        ended.

        Args:
            jobs: in any order.
            resources: what they are trained with.

        Raises:
            TrainingInterrupted: the stopper said so, here or in one of the processes.
        """

    def time(
        self,
        chosen: Sequence[variants.Variant],
        config: RunConfig,
        num_classes: int,
        *,
        plugins: Sequence[Path],
        images: Sequence[Path],
        stopper: StopRequest,
    ) -> Timed:
        """Run the timing session on the machine that ``--timing-on`` names.

        Raises:
            BenchError: there is none, or it cannot time.
            TrainingInterrupted: the stopper said so.
        """


# What a process of the fleet trains on, and what tells it to stop; set when the process starts.
_device: torch.device | None = None
_stopper = StopRequest()


@attrs.frozen
class Job:
    """Runs that one device trains one after the other.

    Attributes:
        numbers: their positions among all runs of the sweep.
        planned: the runs, all of one seed and fold.
        seconds: how long they are expected to take together.
    """

    numbers: tuple[int, ...]
    planned: tuple[RunSpec, ...]
    seconds: float

    def specs(self, concurrent_runs: int) -> tuple[RunSpec, ...]:
        """Return the runs as they are trained beside so many others of the sweep."""
        sweep = attrs.evolve(self.planned[0].sweep, concurrent_runs=concurrent_runs)
        return tuple(attrs.evolve(spec, sweep=sweep) for spec in self.planned)


@attrs.frozen(kw_only=True)
class Resources:
    """What several runs are trained with at once.

    Attributes:
        devices: as :meth:`Executor.preflight` has found them; a name may stand there twice.
        plugins: files that register variants.
        threads: CPU threads of each process of this machine.
        features: folder of this machine for what frozen backbones compute.
        features_limit: most bytes that all processes may keep of that together.
        images: pixels of all runs, on this machine.
        stopper: says whether to stop before the end.
    """

    devices: Sequence[str]
    plugins: Sequence[Path]
    threads: int
    features: Path
    features_limit: float
    images: DecodedImages
    stopper: StopRequest


def make_jobs(planned: Sequence[RunSpec], *, frozen: bool) -> list[Job]:
    """A job for each run that has not ended; with frozen backbones one for all that share features.

    Args:
        planned: the runs in order.
        frozen: whether the backbones are.
    """
    groups: dict[Any, list[int]] = {}
    for number, spec in enumerate(planned):
        if spec.ended is None:
            key = (id(spec.run), spec.backbone) if frozen else number
            groups.setdefault(key, []).append(number)
    return [
        Job(
            tuple(numbers),
            tuple(planned[number] for number in numbers),
            sum(planned[number].expected_s for number in numbers),
        )
        for numbers in groups.values()
    ]


class LocalExecutor:
    """Processes of this machine, one for each device.

    What one process cannot do (a crash of the process itself) raises here.
    """

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        return choose_devices(config.devices, device)

    def train(self, jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[int, Outcome]]:
        if not jobs:
            return
        devices, stopper = resources.devices, resources.stopper
        context = multiprocessing.get_context("spawn")
        free = context.SimpleQueue()
        for device in devices:
            free.put(device)
        plugins = [str(path) for path in resources.plugins]
        pool = ProcessPoolExecutor(
            len(devices),
            mp_context=context,
            initializer=_start,
            initargs=(free, plugins, resources.threads, stopper.deadline),
        )
        short = False
        try:
            sent = {}
            for number, job in sorted(enumerate(jobs), key=lambda item: -item[1].seconds):
                specs = job.specs(min(len(devices), len(jobs)) - 1)
                folder = resources.features / f"job-{number}"
                limit = resources.features_limit / len(devices)
                sent[pool.submit(_train, specs, resources.images, folder, limit)] = job
            with stopper.holding(_tell_all):
                for future in as_completed(sent):
                    try:
                        outcomes = future.result()
                    except BrokenProcessPool:
                        if stopper.number is None:
                            raise
                        # One that was still importing when it was told to stop.
                        raise TrainingInterrupted(stopper.number) from None
                    yield from zip(sent[future].numbers, outcomes, strict=False)
                    short |= len(outcomes) < len(sent[future].numbers)
            if short:
                raise TrainingInterrupted(stopper.number)
        except SignalError:
            for child in multiprocessing.active_children():
                child.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def time(self, *_: object, **__: object) -> Timed:
        raise BenchError("--timing-on needs --executor ray")


def _tell_all() -> None:
    """Pass a signal on: a terminal's reaches them too, but one to this process does not."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)


# --- in a process of the fleet ---------------------------------------------------------------


def _start(free: Any, plugins: Sequence[str], threads: int, deadline: float | None) -> None:
    global _device
    # Ctrl-C reaches this process too, but the one who started it decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stopper.deadline = deadline
    signal.signal(signal.SIGTERM, _stopper.note)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    _device = torch.device(free.get())
    if _device.type == "cuda":
        torch.cuda.set_device(_device)
    torch.set_num_threads(threads)
    load_plugins([Path(path) for path in plugins])


def _end_with_parent() -> None:
    """A killed sweep can be gone on with at once: nobody else may still be training it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(
    specs: Sequence[RunSpec], images: DecodedImages, features: Path, limit: float
) -> list[Outcome]:
    """What has ended; fewer than the runs where it was told to stop."""
    assert _device is not None
    process = ProcessContext(
        device=_device,
        images=images,
        stopper=_stopper,
        features=FeatureStore(features, limit),
        accumulation=specs[0].sweep.accumulation(),
    )
    outcomes: list[Outcome] = []
    # Bars of several processes would overwrite each other.
    with log_to(ConsoleHandler(bars=False)), contextlib.suppress(TrainingInterrupted):
        for _, outcome in train_in_turn(specs, process):
            outcomes.append(outcome)
    return outcomes
