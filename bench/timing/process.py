"""A fresh process that times one variant, and how several of them are timed together.

Heap layout and allocator state differ from process to process and decide much of a CPU timing, so
nothing is ever timed in the sweep's own process. The new process (:mod:`bench.timing.worker`)
imports and builds, says that it is ready, and waits to be told what to time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.system.launch import without_spin_count
from bench.system.memory import ALLOCATOR_ENVIRONMENT
from bench.timing.cases import EAGER

START_S = 300.0
ANSWER_S = 600.0


class ProcessFailed(Exception):
    """A timing process ended or did not answer; ``killed`` where the system ended it."""

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed


class TimingProcess:
    """A fresh process that waits to time one variant.

    Args:
        job: ``variant``, ``num_classes``, ``config``, ``cases``, ``plugins``, ``images``,
            ``exports`` (a folder that the processes of a session share), and in ``failed`` by the
            number of a case why it is not tried again.
        module: what runs in it, and speaks as :mod:`bench.timing.worker` does.
    """

    def __init__(self, job: Mapping[str, Any], module: str = "bench.timing.worker") -> None:
        self.cases = list(job["cases"])
        self._folder = tempfile.TemporaryDirectory(prefix="paddy-bench-timing-")
        self._errors = Path(self._folder.name) / "stderr.txt"
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**without_spin_count(os.environ), **ALLOCATOR_ENVIRONMENT, "PYTHONPATH": path},
            )
        self._say(json.dumps(job))

    def wait_until_ready(self) -> None:
        """Return when it is ready, has ended, or has taken too long; the next question tells."""
        with contextlib.suppress(ProcessFailed):
            self._answer(START_S)

    def ask(self, command: str) -> dict[str, Any]:
        """Send a line of :mod:`bench.timing.worker`'s; its answer.

        Raises:
            ProcessFailed: it has ended, or takes longer than :data:`ANSWER_S`.
        """
        self._say(command)
        return self._answer(ANSWER_S)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        # Where it has ended already, its exit code says why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        if not ready:
            self._process.kill()
            raise ProcessFailed(f"timing did not answer within {limit:.0f} s")
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        text = self._errors.read_text(encoding="utf8", errors="replace").strip()
        last = (text.splitlines() or ["no message"])[-1]
        # The kernel kills what asks for more memory than there is.
        raise ProcessFailed(f"timing process ended with {code}: {last}", killed=code == -9)

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # What was not read is of no use any more.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        self._folder.cleanup()


def measure_together(processes: Mapping[str, TimingProcess]) -> dict[str, dict[str, Any]]:
    """Time every case in all processes: each warms up, then they take turns, block by block.

    The speed of a shared machine changes for seconds at a time. Blocks that take turns meet such a
    change together: it leaves their ratio alone, or spoils one block of several, which the median
    passes over.

    Args:
        processes: ready ones, of one session, by name; one at a time runs while the others wait.

    Returns:
        What each found: ``cases`` (samples, ``out_of_memory`` or ``failed``) and ``error`` or none.
        A process that ends in another mode than eager keeps what it found before.
    """
    outcomes: dict[str, dict[str, Any]] = {name: {"cases": [], "error": None} for name in processes}
    alive = dict(processes)

    def ask(name: str, command: str, number: int) -> dict[str, Any]:
        if name not in alive:
            return {}
        try:
            return processes[name].ask(command)
        except ProcessFailed as error:
            del alive[name]
            case = processes[name].cases[number]
            if case.get("mode", EAGER) == EAGER:
                outcomes[name].update(cases=[], error=str(error), killed=error.killed)
            else:
                outcomes[name]["cases"].append({"case": dict(case), "failed": str(error)})
            return {}

    turn = "block after others" if len(processes) > 1 else "block"
    for number in range(max((len(process.cases) for process in processes.values()), default=0)):
        left = {name: ask(name, f"begin {number}", number).get("blocks", 0) for name in processes}
        while any(left[name] for name in alive):
            for name in [name for name in alive if left[name]]:
                ask(name, turn, number)
                left[name] -= 1
        for name in processes:
            if outcome := ask(name, "end", number):
                outcomes[name]["cases"].append(outcome)
    return outcomes
