"""Runs the harness in folders of its own, and says what it left there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.system.files import broken_seal
from experiments import record
from experiments.speed.pipes import environment

VERSIONS = ("torch", "timm", "numpy", "pillow")
# Whatever hangs longer has failed.
PATIENCE_S = 900.0
# What differs between two runs of the same: the clock's figures.
TIMES = ("train_seconds", "valid_seconds", "images_per_s")
FILES = {"run.json", "metrics.json", "history.json", "training_plot.png", "best_model.pt"}


def head(name: str, quick: bool, seed: int | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`experiments.record.head`."""
    return record.head("faults", name, quick, seed, parameters, VERSIONS)


@attrs.frozen
class Ended:
    """A command that came to its end, or was killed.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        seconds: wall time.
        err: its standard error.
        out: its standard output.
    """

    code: int
    seconds: float
    err: str
    out: str

    @property
    def last_line(self) -> str:
        """The last line of its standard error."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


def bench(
    arguments: Sequence[str],
    folder: Path,
    *,
    cache: Path,
    kill_after: float | None = None,
    during: Callable[[subprocess.Popen[str]], None] = lambda process: None,
) -> Ended:
    """``python -m bench ARGUMENTS`` in a folder.

    Args:
        arguments: of the command.
        folder: the current folder: its ``results`` and ``reports`` are there.
        cache: the harness' cache.
        kill_after: seconds after which it is killed (SIGKILL), if it is still there.
        during: called in a thread with the process when it has begun.
    """
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env=environment(cache=cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        watcher = threading.Thread(target=during, args=(process,), daemon=True)
        watcher.start()
        try:
            out, err = process.communicate(timeout=kill_after or PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
        watcher.join()
    return Ended(process.returncode, time.perf_counter() - begin, err, out)


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on faults, of every complete run: its history, metrics, predictions."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("results/*/run.json")):
        run = json.loads(path.read_text("utf8"))
        if run["status"] != "complete":
            continue
        rows = [
            {key: value for key, value in row.items() if key not in TIMES}
            for row in run["training"]["epochs"]
        ]
        metrics = {key: value for key, value in run["metrics"].items() if key != "fps"}
        key = run["variant"]["name"]
        # A second record of one run gets a name of its own: the comparison then fails.
        found[key if key not in found else f"{key} again"] = [
            rows, metrics, run["validation"], run["test"],
        ]  # fmt: skip
    return found


def complete_records(folder: Path) -> dict[str, str]:
    """Text of every record that is whole and says that its run is complete, by its folder."""
    found = {}
    for path in folder.glob("results/*/run.json"):
        try:
            data = path.read_bytes()
            run = json.loads(data)
        except (OSError, ValueError):
            continue
        if run.get("status") == "complete" and broken_seal(run, data) is None:
            found[path.parent.name] = data.decode("utf8")
    return found


def left_over(folder: Path) -> list[str]:
    """What lies in the results folder and belongs to no complete run or sweep."""
    results = folder / "results"
    found = []
    for path in sorted(results.rglob("*")) if results.is_dir() else ():
        name = path.relative_to(results).as_posix()
        if path.is_dir():
            wanted = not path.name.startswith(".")
        elif path.parent == results:
            wanted = path.suffix == ".json" and not path.name.startswith(".")
        else:
            wanted = path.name in FILES
        if not wanted:
            found.append(name)
    return found


def unfinished(folder: Path) -> bool:
    """Whether there is a sweep to go on with."""
    for path in folder.glob("results/sweep-*.json"):
        if json.loads(path.read_text("utf8"))["ended"] is None:
            return True
    return False


def without_traceback(ended: Ended) -> bool:
    """Whether nobody saw a traceback."""
    return "Traceback (most recent call last)" not in ended.err + ended.out
