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
from typing import Any

from bench.system.stage_timer import STEADY
from experiments.record import Record, Row
from experiments.speed.commands import (
    import_seconds,
    missing_imports,
    run_bench,
    time_python,
)
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "startup"
TIMES = 10
RUNS = 4
VARIANT = "MobileNetV3_Small"
IMAGES = {"train": 32, "valid": 32}
IMAGE_SIZE = 64
BATCH_SIZE = 16
MOST_HELP_S = 0.3
MOST_OVERHEAD_S = 2.0


def run(quick: bool) -> dict[str, Any]:
    """Time both; ``quick``: two calls of each."""
    times, runs = (2, 2) if quick else (TIMES, RUNS)
    parameters = {
        "variant": VARIANT,
        "images": IMAGES,
        "image_size": IMAGE_SIZE,
        "batch_size": BATCH_SIZE,
        "epochs": 1,
    }
    record = head(NAME, quick, parameters)
    help_s = time_python(["-m", "bench", "--help"], times)
    arguments = [
        "--variants", VARIANT, "--data-dir", str(pictures(IMAGES)), "--epochs", "1",
        "--image-size", str(IMAGE_SIZE), "--batch-size", str(BATCH_SIZE),
    ]  # fmt: skip
    outcome = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(runs):
            # Imports are timed beside each run: the machine's speed drifts.
            imports = statistics.median(import_seconds(2))
            done = run_bench(arguments, cache=Path(cache))
            outcome.append(
                {
                    "wall_s": done.seconds,
                    "import_s": imports,
                    "training_s": sum(done.records[0]["costs"][label] for label in STEADY),
                    "costs": done.costs,
                }
            )
    imported = missing_imports(["run", *arguments])
    return {**record, "help_s": help_s, "runs": outcome, "packages": imported}


def overhead(one: Record) -> float:
    """Seconds of a run beyond imports and training."""
    return one["wall_s"] - one["import_s"] - one["training_s"]


def rows(record: Record) -> list[Row]:
    """``--help``, the first run and the later ones."""
    first, *later = (overhead(one) for one in record["runs"])
    answer = statistics.median(record["help_s"])
    made = "1 epoch, 32 images to train on at 64 pixels, wall time − imports − training"
    return [
        Row(
            "python -m bench --help, s",
            f"at most {MOST_HELP_S:g}",
            f"{answer:.3f} ({min(record['help_s']):.3f}–{max(record['help_s']):.3f})",
            answer <= MOST_HELP_S,
            f"median and range of {len(record['help_s'])} fresh processes",
        ),
        Row(
            "Overhead of a short run, caches filled, s",
            f"under {MOST_OVERHEAD_S:g}",
            f"{statistics.median(later):.2f} ({min(later):.2f}–{max(later):.2f})",
            statistics.median(later) < MOST_OVERHEAD_S,
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


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): where the seconds of every run went."""
    keys = ("wall_s", "import_s", "training_s")
    cells = [
        [str(number), *(f"{one[key]:.2f}" for key in keys), f"{overhead(one):.2f}", one["costs"]]
        for number, one in enumerate(record["runs"], 1)
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
