"""How soon the harness answers, and what a short run costs beyond imports and steps.

Overhead: wall time of the command, less the wall time of a process that only imports the same
libraries, less its training steps and validation; the first step, which is slower, belongs to it.
The first run meets an
empty cache (hashing, decoding, measuring speeds); later ones find it filled.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.system.stage_timer import STEADY
from experiments.commands import (
    import_seconds,
    missing_imports,
    python_seconds,
    train,
    training_flags,
)
from experiments.rows import Row
from experiments.suite import Json, Record, Tables

PARAMETERS = {
    "variant": "MobileNetV3_Small",
    "images": {"train": 32, "valid": 32},
    "image_size": 64,
    "batch_size": 16,
    "epochs": 1,
}
QUICK: Json = {}
MOST_HELP_S = 0.3
MOST_OVERHEAD_S = 2.0


def measure(chosen: Record) -> Json:
    """Time both; a quick run two calls of each."""
    times, repetitions = (2, 2) if chosen["quick"] else (10, 4)
    arguments = training_flags(chosen, variants=chosen["variant"])
    help_s = python_seconds(["-m", "bench", "--help"], times)
    runs = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(repetitions):
            # Imports are timed beside each run: the machine's speed drifts.
            imports = statistics.median(import_seconds(2))
            ended = train(arguments, cache=Path(cache))
            runs.append(
                {
                    "wall_s": ended.seconds,
                    "import_s": imports,
                    "training_s": sum(ended.records[0]["costs"][label] for label in STEADY),
                    "costs": ended.costs,
                }
            )
    return {"help_s": help_s, "runs": runs, "packages": missing_imports(["run", *arguments])}


def overhead(run: Record) -> float:
    """Seconds of a run beyond imports and training."""
    return run["wall_s"] - run["import_s"] - run["training_s"]


def rows(record: Record) -> list[Row]:
    """``--help``, the first run and the later ones."""
    first, *later = map(overhead, record["runs"])
    answers = record["help_s"]
    made = "1 epoch, 32 images to train on at 64 pixels, wall time − imports − training"
    help_s, later_s = statistics.median(answers), statistics.median(later)
    return [
        Row(
            "python -m bench --help, s",
            f"at most {MOST_HELP_S:g}",
            f"{help_s:.3f} ({min(answers):.3f}–{max(answers):.3f})",
            help_s <= MOST_HELP_S,
            f"median and range of {len(answers)} fresh processes",
        ),
        Row(
            "Overhead of a short run, caches filled, s",
            f"under {MOST_OVERHEAD_S:g}",
            f"{later_s:.2f} ({min(later):.2f}–{max(later):.2f})",
            later_s < MOST_OVERHEAD_S,
            f"median and range of {len(later)} runs; {made}",
        ),
        Row(
            "Overhead of the first short run, empty cache, s",
            f"under {MOST_OVERHEAD_S:g}",
            f"{first:.2f}",
            first < MOST_OVERHEAD_S,
            f"1 run; {made}",
        ),
    ]


def details(record: Record) -> Tables:
    """Where the seconds of every run went."""
    cells = [
        [
            str(number),
            f"{run['wall_s']:.2f}",
            f"{run['import_s']:.2f}",
            f"{run['training_s']:.2f}",
            f"{overhead(run):.2f}",
            run["costs"],
        ]
        for number, run in enumerate(record["runs"], 1)
    ]
    header = [
        "run",
        "wall time, s",
        "imports, s",
        "training, s",
        "overhead, s",
        "what the run says",
    ]
    packages = [[what, ", ".join(names) or "none"] for what, names in record["packages"].items()]
    return [
        ("Where the seconds of the short runs went.", header, cells),
        (
            "Packages imported by a run alone, or by the process that stands for its imports.",
            ["imported by", "packages"],
            packages,
        ),
    ]
