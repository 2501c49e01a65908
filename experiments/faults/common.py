"""What the harness left in a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.system.files import broken_seal
from experiments.commands import Ended, read_records, run_bench

# What differs between two runs of the same: the clock's figures.
TIMES = ("train_seconds", "valid_seconds", "images_per_s")
FILES = {"run.json", "metrics.json", "history.json", "training_plot.png", "best_model.pt"}


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on faults, of every complete run: its history, metrics, predictions."""
    outcomes: dict[str, Any] = {}
    for run in read_records(folder):
        if run["status"] == "complete":
            rows = [
                {key: value for key, value in row.items() if key not in TIMES}
                for row in run["training"]["epochs"]
            ]
            metrics = {key: value for key, value in run["metrics"].items() if key != "fps"}
            name = run["variant"]["name"]
            # A second record of one run gets a name of its own: the comparison then fails.
            name += " again" if name in outcomes else ""
            outcomes[name] = [rows, metrics, run["validation"], run["test"]]
    return outcomes


def undisturbed(command: Sequence[str], folder: Path, **how: Any) -> tuple[Ended, dict[str, Any]]:
    """Run a command that must succeed; it and its outcome.

    Raises:
        BenchError: it failed.
    """
    ended = run_bench(command, folder, **how)
    expected = outcome(folder)
    if ended.code or not expected:
        raise BenchError(f"the undisturbed sweep failed: {ended.last_line}")
    return ended, expected


def complete_records(folder: Path) -> dict[str, str]:
    """Text of every record that is whole and says that its run is complete, by its folder."""
    texts = {}
    for path in folder.glob("results/*/run.json"):
        with contextlib.suppress(OSError, ValueError):
            data = path.read_bytes()
            run = json.loads(data)
            if run.get("status") == "complete" and broken_seal(run, data) is None:
                texts[path.parent.name] = data.decode("utf8")
    return texts


def left_over(folder: Path) -> list[str]:
    """What lies in the results folder and belongs to no complete run or sweep."""
    results = folder / "results"

    def wanted(path: Path) -> bool:
        if path.is_dir() or path.parent == results:
            return not path.name.startswith(".") and (path.is_dir() or path.suffix == ".json")
        return path.name in FILES

    paths = sorted(results.rglob("*"))
    return [path.relative_to(results).as_posix() for path in paths if not wanted(path)]


def unfinished(folder: Path) -> bool:
    """Whether there is a sweep to go on with."""
    paths = folder.glob("results/sweep-*.json")
    return any(json.loads(path.read_text("utf8"))["ended"] is None for path in paths)


def run_or_resume(command: Sequence[str], folder: Path, **how: Any) -> tuple[Ended, bool]:
    """Run a command, or go on with its unfinished sweep; it, and whether it went on."""
    again = unfinished(folder)
    return run_bench([*command, "--resume"] if again else command, folder, **how), again
