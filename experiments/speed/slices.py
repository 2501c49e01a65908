"""The fixed batch of the variant that a sweep trains, measured while the sweep stands still.

A machine that others use drifts by tens of percent within minutes: a limit that is measured before
and after a sweep is that of another machine. Here the sweep's processes are stopped (``SIGSTOP``)
every few seconds of their training, a few steps and forwards are measured, and they go on; its wall
time is counted without these pauses.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.train.state import FILE, about_of
from experiments.speed.pipes import Worker

# Seconds of training between two pauses, and after an epoch's end: what is written then is written
# by the system, stopped or not.
EVERY_S, SETTLE_S = 2.5, 1.5
LOOK_S = 0.05
_BEGINS = re.compile(r"\[\d+/\d+\] (\S+)")
_EPOCH = re.compile(r"(\S+)\s+epoch (\d+)/(\d+)\s")


@attrs.frozen
class Slice:
    """One pause: the second of the sweep's own time, and seconds of one image."""

    variant: str
    memory_format: str
    at_s: float
    step: float
    forward: float


class Slices:
    """Pauses a sweep again and again; given to :func:`experiments.speed.commands.run_bench`.

    Args:
        make: (variant, memory format) → its fixed batch's process; an epoch of it is a slice.
        measure: one slice of that process: ``step`` and ``forward``, seconds of an image.
        every_s: seconds of training between two pauses.
        settle_s: seconds after an epoch's end without a pause.
    """

    def __init__(
        self,
        make: Callable[[str, str], Worker],
        measure: Callable[[Worker], dict[str, float]],
        *,
        every_s: float = EVERY_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self.found: list[Slice] = []
        self.paused_s = 0.0
        self.paused_in: dict[str, float] = {}
        self.error: BaseException | None = None
        self._make, self._measure = make, measure
        self._every_s, self._settle_s = every_s, settle_s
        self._lock = threading.Lock()
        self._training: str | None = None
        self._since = 0.0
        self._worker: tuple[str, Worker] | None = None
        self._memory_format = ""

    def hear(self, line: str) -> None:
        """A line that the sweep prints: who trains, and which epochs are over."""
        with self._lock:
            if _BEGINS.match(line):
                # Until its first epoch is over nobody knows in which memory format it trains.
                self._training = None
            elif told := _EPOCH.match(line):
                name, epoch, last = told.groups()
                self._training = name if epoch != last else None
                self._since = time.perf_counter()

    def beside(self, process: subprocess.Popen[Any], begin: float, results: Path) -> None:
        """Pause it until it ends.

        Args:
            process: the sweep, the first of a process group of its own.
            begin: the clock at its start.
            results: folder of its results.
        """
        last = 0.0
        try:
            while process.poll() is None:
                time.sleep(LOOK_S)
                with self._lock:
                    name, since = self._training, self._since
                now = time.perf_counter()
                if name is None or now - since < self._settle_s or now - last < self._every_s:
                    continue
                stopped = _stop(process.pid)
                if stopped is None:
                    break
                try:
                    self._slice(name, stopped - begin - self.paused_s, results)
                finally:
                    last = time.perf_counter()
                    os.killpg(process.pid, signal.SIGCONT)
                    self.paused_s += last - stopped
                    self.paused_in[name] = self.paused_in.get(name, 0.0) + last - stopped
                with self._lock:
                    # The pause is no time of the sweep.
                    self._since += last - stopped
        except BaseException as error:
            self.error = error
        finally:
            self._close()

    def _slice(self, name: str, at_s: float, results: Path) -> None:
        if self._worker is None or self._worker[0] != name:
            self._close()
            states = list(results.glob(f"{name}_[0-9]*/{FILE}"))
            if not states:
                return  # a slow disk: the next pause comes
            self._memory_format = about_of(states[0])["memory_format"]
            self._worker = name, self._make(name, self._memory_format)
        found = self._measure(self._worker[1])
        self.found.append(Slice(name, self._memory_format, at_s, **found))

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker[1].close()


def _stop(group: int) -> float | None:
    """Stop a process group; the clock when its first process stands still, None where it ended."""
    try:
        os.killpg(group, signal.SIGSTOP)
        while True:
            state = Path(f"/proc/{group}/stat").read_text("utf8").rpartition(")")[2].split()[0]
            if state == "T":
                return time.perf_counter()
            if state in "ZX":
                return None
            time.sleep(0.001)
    except OSError:
        return None


def speeds(found: Sequence[Slice], variant: str) -> dict[str, float] | None:
    """Means over the slices of a variant; None where it has none."""
    own = [one for one in found if one.variant == variant]
    if not own:
        return None
    return {
        "step": statistics.mean(one.step for one in own),
        "forward": statistics.mean(one.forward for one in own),
    }
