"""Trains the runs of a sweep on several devices at once, a process for each, longest run first."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TextIO

import attrs
import torch

import variants
from bench.build import load_plugins
from bench.measure.memory import keep_freed_memory
from bench.single import Sweep, run_variant

# What a process of the fleet trains on; set when the process starts.
_device: torch.device | None = None


@attrs.frozen
class Job:
    """One run that is to be trained.

    Attributes:
        sweep: what it shares with the others of its seed and fold.
        variant: name.
        seconds: how long it is expected to take.
    """

    sweep: Sweep
    variant: str
    seconds: float


def train_all(
    jobs: Sequence[Job], devices: Sequence[str], *, plugins: Sequence[Path], threads: int
) -> Iterator[tuple[int, tuple[Path, dict[str, Any]]]]:
    """Train jobs on the devices; number, folder and record of each as it ends.

    The longest job goes first, so that no device is left with a long one when the others have
    ended. What one process cannot do (a crash of the process itself) raises here.

    Args:
        jobs: in any order.
        devices: as PyTorch names them, such as ``cuda:1``; a name may stand there twice.
        plugins: files that register variants.
        threads: CPU threads of each process.
    """
    context = multiprocessing.get_context("spawn")
    free = context.SimpleQueue()
    for device in devices:
        free.put(device)
    pool = ProcessPoolExecutor(
        len(devices),
        mp_context=context,
        initializer=_start,
        initargs=(free, [str(path) for path in plugins], threads),
    )
    try:
        order = sorted(range(len(jobs)), key=lambda number: -jobs[number].seconds)
        # A stream belongs to this process.
        sent = {
            pool.submit(
                _train, attrs.evolve(jobs[number].sweep, stream=None), jobs[number].variant
            ): number
            for number in order
        }
        for future in as_completed(sent):
            yield sent[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# --- in a process of the fleet ---------------------------------------------------------------


class _Plain:
    """Standard error without bars: those of several processes would overwrite each other."""

    def __init__(self, stream: TextIO) -> None:
        self.write, self.flush = stream.write, stream.flush

    def isatty(self) -> bool:
        return False


def _start(free: Any, plugins: Sequence[str], threads: int) -> None:
    global _device
    keep_freed_memory()
    _device = torch.device(free.get())
    if _device.type == "cuda":
        torch.cuda.set_device(_device)
    torch.set_num_threads(threads)
    load_plugins([Path(path) for path in plugins])


def _train(sweep: Sweep, name: str) -> tuple[Path, dict[str, Any]]:
    assert _device is not None
    here = attrs.evolve(sweep, device=_device, stream=_Plain(sys.stderr))
    return run_variant(here, variants.get(name))
