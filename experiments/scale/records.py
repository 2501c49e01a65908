"""The report of 10,000 runs: one real run's record under other seeds, with drawn predictions."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.errors import BenchError
from bench.records import write_record
from experiments import record as records
from experiments.record import Record, Row, trace
from experiments.speed.commands import run_bench
from experiments.speed.pictures import pictures
from experiments.speed.pipes import environment

NAME = "records"
VARIANTS = ("MobileNetV3_Small", "ResNet18", "ResNet18_Hybrid", "EfficientNet_Lite0")
RUNS = 10_000
HIT = 0.6
MOST_S, MOST_MB = 10.0, 1000.0
SAMPLE_S = 0.02


def run(quick: bool) -> dict[str, Any]:
    """Train once, multiply, report; ``quick``: 40 records of one variant, of 60 images."""
    names, runs = (VARIANTS[:1], 40) if quick else (VARIANTS, RUNS)
    images, epochs, batch = (60, 1, 8) if quick else (240, 3, 32)
    parameters = {"runs": runs, "variants": list(names), "images": images, "epochs": epochs}
    record = records.head("scale", NAME, quick, 0, parameters, ("pandas", "matplotlib"))
    with tempfile.TemporaryDirectory() as place:
        with tempfile.TemporaryDirectory() as cache:
            done = run_bench(
                [
                    "--variants", ",".join(names), "--data-dir", str(pictures(images)),
                    "--image-size", "32", "--batch-size", str(batch), "--epochs", str(epochs),
                    "--tune", "off",
                ],
                cache=Path(cache),
            )  # fmt: skip
        taken = _multiply(done.records, Path(place) / "results", runs)
        trace(f"{runs:,} records, {taken / 1e6:.0f} MB")
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "report", "--no-pictures", "--name", "many"],
            cwd=place, env=environment(), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        # What the system says of a child that has ended holds its parent's memory too.
        peak, watched = 0, psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, watched.memory_info().rss)
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise BenchError(f"bench report ended with {process.returncode}")
        page = (Path(place) / "reports" / "many" / "report.html").stat().st_size
    record["outcome"] = {
        "seconds": seconds, "peak_mb": peak / 1e6, "records_mb": taken / 1e6, "page_mb": page / 1e6,
    }  # fmt: skip
    return record


def _multiply(found: list[dict[str, Any]], results: Path, runs: int) -> int:
    """Write them under other seeds; the bytes that they take."""
    chance, taken = random.Random(0), 0
    for number in range(runs):
        one = copy.deepcopy(found[number % len(found)])
        one.pop("checksum", None)
        one["config"]["seed"] = number // len(found)
        for part in ("validation", "test"):
            entry = one[part]
            classes = sorted(set(entry["labels"]))
            entry["predictions"] = [
                label if chance.random() < HIT else chance.choice(classes)
                for label in entry["labels"]
            ]
        folder = results / f"{one['variant']['name']}_{number}"
        folder.mkdir(parents=True)
        write_record(folder, one)
        taken += (folder / "run.json").stat().st_size
    assert json.loads((folder / "run.json").read_text(encoding="utf8"))["status"] == "complete"
    return taken


def rows(record: Record) -> list[Row]:
    """Seconds and memory of the report."""
    outcome, parameters = record["outcome"], record["parameters"]
    made = (
        f"{parameters['runs']:,} records of {outcome['records_mb']:.0f} MB, without timing; "
        f"python -m bench report --no-pictures, imports included; report.html "
        f"{outcome['page_mb']:.1f} MB"
    )
    return [
        Row(
            f"Report of {parameters['runs']:,} runs: time",
            f"under {MOST_S:g} s",
            f"{outcome['seconds']:.1f} s",
            outcome["seconds"] < MOST_S,
            made,
        ),
        Row(
            f"Report of {parameters['runs']:,} runs: memory",
            f"under {MOST_MB:g} MB",
            f"{outcome['peak_mb']:.0f} MB",
            outcome["peak_mb"] < MOST_MB,
            f"{made}; highest resident memory of the process",
        ),
    ]
