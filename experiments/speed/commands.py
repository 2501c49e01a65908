"""Runs the harness as users do, ``python -m bench run``, and watches what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from experiments.speed.pipes import ROOT, environment

SAMPLE_S = 0.5
COSTS = "one-off costs"


@attrs.frozen
class Done:
    """A command that came to its end.

    Attributes:
        seconds: wall time of the process.
        records: what it left, in order of their start.
        lines: its standard error, each line with its second.
        memory: anonymous memory in MB of the process itself and of it with its children, each with
            its second; empty where it was not watched.
        costs: its own line about where the time went.
    """

    seconds: float
    records: list[dict[str, Any]]
    lines: list[tuple[float, str]]
    memory: list[tuple[float, float, float]]
    costs: str = ""


def run_bench(
    arguments: Sequence[str],
    *,
    cache: Path,
    watch_memory: bool = False,
    through: Sequence[str] = ("bench",),
) -> Done:
    """``python -m bench run ARGUMENTS --no-timing``.

    Args:
        arguments: without the folder of the results.
        cache: the harness' cache.
        watch_memory: sample its memory every :data:`SAMPLE_S`.
        through: a module that runs the command, and what it is told first.

    Raises:
        BenchError: it did not succeed.
    """
    with tempfile.TemporaryDirectory(prefix="paddy-bench-speed-") as folder:
        results = Path(folder) / "results"
        command = [
            sys.executable, "-m", *through, "run", *arguments, "--no-timing",
            "--results-dir", str(results), "--reports-dir", str(Path(folder) / "reports"),
        ]  # fmt: skip
        begin = time.perf_counter()
        printed = Path(folder) / "stdout.txt"
        with printed.open("wb") as stdout:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(cache=cache),
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )
        memory: list[tuple[float, float, float]] = []
        sampler = threading.Thread(target=_sample, args=(process, begin, memory))
        if watch_memory:
            sampler.start()
        assert process.stderr is not None
        with process.stderr:
            lines = [(time.perf_counter() - begin, line.rstrip()) for line in process.stderr]
        code = process.wait()
        seconds = time.perf_counter() - begin
        if watch_memory:
            sampler.join()
        if code:
            said = lines[-1][1] if lines else "no message"
            raise BenchError(f"bench run {' '.join(arguments)} ended with {code}: {said}")
        costs = [line for line in printed.read_text("utf8").splitlines() if COSTS in line]
        return Done(seconds, _records(results), lines, memory, "; ".join(costs))


def epoch_seconds(record: dict[str, Any]) -> float:
    """Steps and validation of a run: no saving of weights, no building."""
    rows = record["training"]["epochs"]
    return sum(row["train_seconds"] + row["valid_seconds"] for row in rows)


def _records(results: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text("utf8")) for path in results.glob("*/run.json")]
    return sorted(found, key=lambda record: (record["started"], record["variant"]["name"]))


# --- memory ----------------------------------------------------------------------------------


def _sample(process: Any, begin: float, memory: list[tuple[float, float, float]]) -> None:
    while process.poll() is None:
        own = anonymous_mb(process.pid)
        if own is not None:
            whole = own + sum(anonymous_mb(pid) or 0.0 for pid in children_of(process.pid))
            memory.append((time.perf_counter() - begin, own, whole))
        time.sleep(SAMPLE_S)


def anonymous_mb(pid: int) -> float | None:
    """Anonymous resident memory of a process in MB (10⁶ bytes); None where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf8")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def children_of(pid: int) -> list[int]:
    """Processes below that one."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


# --- imports ---------------------------------------------------------------------------------

# All that a run without timing imports (:func:`missing_imports`), without collecting garbage during
# or after it, which would make them slower than a run's; what is not installed is passed over.
IMPORTS = """
import contextlib, gc, importlib
gc.disable()
for name in (
    "bench.cli.main", "bench.cli.run", "bench.runner.preflight", "bench.runner.sweep", "timm",
    "fvcore.nn", "cv2", "torchvision", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "pandas", "scipy.stats",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
gc.freeze()
"""


# A run within a process that tells afterwards what it had imported.
_TELL = """
import atexit, json, pathlib, runpy, sys
told, *arguments = sys.argv[1:]
atexit.register(lambda: pathlib.Path(told).write_text(json.dumps(sorted(sys.modules))))
sys.argv = ["bench", *arguments]
"""
_RUN = 'runpy.run_module("bench", run_name="__main__", alter_sys=True)'


def missing_imports(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Packages that ``bench ARGUMENTS`` imports and :data:`IMPORTS` does not, and the reverse."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, code in (("run", _TELL + _RUN), ("imports", _TELL + IMPORTS)):
            told = Path(folder) / name
            given = [*arguments, "--no-timing", "--results-dir", folder, "--reports-dir", folder]
            command = [sys.executable, "-W", "ignore", "-c", code, str(told), *given]
            subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True)
            modules = json.loads(told.read_text("utf8"))
            found.append({module.partition(".")[0] for module in modules})
    run, imports = found
    return {"run only": sorted(run - imports), "imports only": sorted(imports - run)}


def import_seconds(times: int) -> list[float]:
    """Wall times of fresh processes that import what a run imports, and end; one warms up."""
    return time_python(["-W", "ignore", "-c", IMPORTS], times)


def time_python(arguments: Sequence[str], times: int) -> list[float]:
    """Wall times of fresh Python processes, after one that warms up."""
    taken = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        taken.append(time.perf_counter() - begin)
    return taken[1:]
