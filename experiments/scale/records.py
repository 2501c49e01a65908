"""The report of 10,000 runs: one real run's record under other seeds, with drawn predictions."""

from __future__ import annotations

import contextlib
import copy
import random
import tempfile
from pathlib import Path
from typing import Any

import psutil

from bench.errors import BenchError
from bench.records import write_record
from experiments.commands import every, run_bench, train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, trace

SEED = 0
PACKAGES = ("pandas", "matplotlib")
PARAMETERS = {
    "runs": 10_000,
    "variants": ["MobileNetV3_Small", "ResNet18", "ResNet18_Hybrid", "EfficientNet_Lite0"],
    "images": 240,
    "epochs": 3,
}
QUICK = {"runs": 40, "variants": ["MobileNetV3_Small"], "images": 60, "epochs": 1}
HIT = 0.6
MOST_S, MOST_MB = 10.0, 1000.0


def measure(chosen: Record) -> Json:
    """Train once, multiply, report."""
    sizes = {"image_size": 32, "batch_size": 8 if chosen["quick"] else 32}
    trained = train(training_flags(chosen | sizes, tune="off")).records
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = _multiply(trained, folder / "results", chosen["runs"])
        trace(f"{chosen['runs']:,} records, {size / 1e6:.0f} MB")
        # What the system says of a child that has ended holds its parent's memory too.
        resident = [0]

        def sample(process: Any) -> None:
            with contextlib.suppress(psutil.Error):
                resident.append(psutil.Process(process.pid).memory_info().rss)

        command = ["report", "--no-pictures", "--name", "many"]
        ended = run_bench(command, folder, cache=None, during=every(0.02, sample))
        if ended.code:
            raise BenchError(f"bench report ended with {ended.code}")
        page = (folder / "reports" / "many" / "report.html").stat().st_size
    megabytes = {"peak_mb": max(resident), "records_mb": size, "page_mb": page}
    outcome = {"seconds": ended.seconds} | {key: n / 1e6 for key, n in megabytes.items()}
    return {"outcome": outcome}


def _multiply(trained: list[Json], results: Path, runs: int) -> int:
    """Write them under other seeds; the bytes that they take."""
    chance, size = random.Random(0), 0
    for number in range(runs):
        record = copy.deepcopy(trained[number % len(trained)])
        assert record["status"] == "complete"
        record.pop("checksum", None)
        record["config"]["seed"] = number // len(trained)
        for part in ("validation", "test"):
            labels = record[part]["labels"]
            classes = sorted(set(labels))
            record[part]["predictions"] = [
                label if chance.random() < HIT else chance.choice(classes) for label in labels
            ]
        folder = results / f"{record['variant']['name']}_{number}"
        folder.mkdir(parents=True)
        write_record(folder, record)
        size += (folder / "run.json").stat().st_size
    return size


def rows(record: Record) -> list[Row]:
    """Seconds and memory of the report."""
    outcome, runs = record["outcome"], record["parameters"]["runs"]
    made = (
        f"{runs:,} records of {outcome['records_mb']:.0f} MB, without timing; "
        f"python -m bench report --no-pictures, imports included; report.html "
        f"{outcome['page_mb']:.1f} MB"
    )
    return [
        Row(
            f"Report of {runs:,} runs: time",
            f"under {MOST_S:g} s",
            f"{outcome['seconds']:.1f} s",
            outcome["seconds"] < MOST_S,
            made,
        ),
        Row(
            f"Report of {runs:,} runs: memory",
            f"under {MOST_MB:g} MB",
            f"{outcome['peak_mb']:.0f} MB",
            outcome["peak_mb"] < MOST_MB,
            f"{made}; highest resident memory of the process",
        ),
    ]
