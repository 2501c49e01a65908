"""Contenders in processes of their own that train one epoch whenever they are told to.

A process that lives through all rounds keeps what its procedure keeps: caches, loader processes, a
warm allocator. Between its epochs it sleeps while another contender has the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.presets import ENVIRONMENT_PREFIX
from bench.errors import BenchError
from bench.system import launch
from bench.system.memory import ALLOCATOR_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]


def environment(*, cache: Path | None = None, allocator: bool = False) -> dict[str, str]:
    """Environment of a process: this one's, without allocator settings and options of the harness.

    Args:
        cache: folder of the harness' cache, for one that begins empty.
        allocator: give it the allocator's settings from the start.
    """
    found = {
        name: value
        for name, value in os.environ.items()
        if name not in (*ALLOCATOR_ENVIRONMENT, launch.SPIN_VARIABLE)
        and not name.startswith(ENVIRONMENT_PREFIX)
    }
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), found.get("PYTHONPATH", "")]))
    kept = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    if cache is not None or kept:
        found[ENVIRONMENT_PREFIX + "CACHE_DIR"] = str(cache or kept)
    if allocator:
        found.update(ALLOCATOR_ENVIRONMENT)
    return found


class Worker:
    """One contender's process (:mod:`experiments.speed.worker`), seen from outside.

    Args:
        job: what it is told at its start, as JSON types; ``kind`` says which contender it is.
        allocator: start it with the allocator's settings in its environment.
    """

    def __init__(self, job: Mapping[str, Any], *, allocator: bool = False) -> None:
        self.kind = str(job["kind"])
        self.begun = time.perf_counter()
        self._cache = tempfile.TemporaryDirectory(prefix="paddy-bench-speed-")
        self._errors = Path(self._cache.name) / "stderr.txt"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "experiments.speed.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(cache=Path(self._cache.name) / "cache", allocator=allocator),
            )
        self._say(json.dumps(job))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> None:
        """Return when everything is imported and the model is built.

        Raises:
            BenchError: the process ended.
        """
        self._answer()

    def epoch(self) -> dict[str, Any]:
        """Let it train one epoch; ``seconds``, ``images`` and whatever else it says.

        Raises:
            BenchError: the process ended.
        """
        self._say("epoch")
        return self._answer()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        # Where it has ended already, its last line says why.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        text = self._errors.read_text(encoding="utf8", errors="replace").strip()
        last = (text.splitlines() or ["no message"])[-1]
        raise BenchError(f"the process “{self.kind}” ended with {code}: {last}")

    def close(self) -> None:
        """End the process and remove its cache."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._cache.cleanup()
