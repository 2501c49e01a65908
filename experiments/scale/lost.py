"""A sweep of ten variants by two workers of Ray, one of which is killed while it trains.

The worker is killed (SIGKILL) when both trainings of that moment have ended an epoch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.errors import BenchError
from experiments import record as records
from experiments.record import Record, Row, trace
from experiments.speed.pictures import pictures
from experiments.speed.pipes import ROOT, environment

NAME = "lost"
VARIANTS = "all,baselines"
IMAGES = 300
IMAGE_SIZE, BATCH_SIZE, EPOCHS = 64, 32, 4
WORKERS = 2
# Runs that have ended before a worker is killed: neither the first nor the last ones are lost.
AFTER = 2
PATIENCE_S = 1200.0


def run(quick: bool) -> dict[str, Any]:
    """Kill a worker; ``quick``: two variants, 60 images, the first trainings."""
    variants, images, batch, after = (
        ("MobileNetV3_Small,ResNet18", 60, 8, 0) if quick else (VARIANTS, IMAGES, BATCH_SIZE, AFTER)
    )
    parameters = {
        "variants": variants, "images": images, "image_size": IMAGE_SIZE, "batch_size": batch,
        "epochs": EPOCHS, "workers": WORKERS,
    }  # fmt: skip
    record = records.head("scale", NAME, quick, 0, parameters, ("torch", "timm", "ray"))
    data_dir = pictures(images)
    with tempfile.TemporaryDirectory(prefix="paddy-bench-lost-") as name:
        folder = Path(name)
        results = folder / "results"
        command = [
            sys.executable, "-m", "bench", "run", "--variants", variants,
            "--data-dir", str(data_dir), "--image-size", str(IMAGE_SIZE),
            "--batch-size", str(batch), "--epochs", str(EPOCHS), "--patience", str(EPOCHS),
            "--tune", "off", "--no-timing", "--executor", "ray", "--devices", str(WORKERS),
            "--results-dir", str(results), "--reports-dir", str(folder / "reports"),
        ]  # fmt: skip
        log = folder / "log.txt"
        begin = time.perf_counter()
        with log.open("w") as said:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(cache=folder / "cache"), stdout=said, stderr=said
            )
            try:
                killed = _kill_one(process, results, after)
                trace(f"killed a worker that trained one of {', '.join(killed['training'])}")
                code = process.wait(PATIENCE_S)
            finally:
                process.kill()
        if code not in (0, 1):
            raise BenchError(f"the sweep ended with {code}: {log.read_text('utf8')[-500:]}")
        record["outcome"] = {
            "wall_s": time.perf_counter() - begin,
            "exit_code": code,
            **killed,
            "runs": [_about(path) for path in sorted(results.glob("*/run.json"))],
        }
    return record


def _kill_one(process: subprocess.Popen[bytes], results: Path, after: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"the sweep ended with {process.returncode} before a worker was lost")
        found = [_about(path) for path in results.glob("*/run.json")]
        ended = [one for one in found if one["status"] == "complete"]
        training = [path.parent for path in results.glob("*/last.pt")]
        names = [one["variant"] for one in found if one["status"] == "running"]
        if len(ended) >= after and len(training) == len(names) == WORKERS:
            worker = _workers(process.pid)[0]
            worker.kill()
            return {"killed_pid": worker.pid, "training": sorted(names), "before": len(ended)}
        time.sleep(0.02)
    raise BenchError(f"no {WORKERS} trainings were under way within {PATIENCE_S:g} s")


def _workers(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if "ray::_carry_out" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def _about(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf8"))
    except (OSError, ValueError):
        return {"variant": None, "status": None}
    training = record["training"] or {}
    return {
        "variant": record["variant"]["name"],
        "status": record["status"],
        "resumed": len(record["resumed"]),
        "epochs": [row["epoch"] for row in training.get("epochs", [])],
        "trained_anew": any("trained anew" in line for line in record["warnings"]),
    }


def rows(record: Record) -> list[Row]:
    """What became of the runs."""
    outcome, parameters = record["outcome"], record["parameters"]
    runs, wanted = outcome["runs"], len(parameters["variants"].split(","))
    if parameters["variants"] == VARIANTS:
        wanted = 10
    whole = [
        one for one in runs
        if one["status"] == "complete"
        and one["epochs"] == list(range(1, parameters["epochs"] + 1))
    ]  # fmt: skip
    resumed = [one for one in runs if one["resumed"] and not one["trained_anew"]]
    named = resumed[0]["variant"] if len(resumed) == 1 else "none"
    how = (
        f"{parameters['images']} images at {parameters['image_size']} pixels, "
        f"{parameters['epochs']} epochs, {parameters['workers']} workers, one killed after "
        f"{outcome['before']} runs; {outcome['wall_s']:.0f} s in all"
    )
    return [
        Row(
            "A sweep of which a worker was killed: complete records, every epoch once",
            f"{wanted} of {wanted}",
            f"{len(whole)} of {len(runs)}",
            len(whole) == len(runs) == wanted == len({one["variant"] for one in runs}),
            how,
        ),
        Row(
            "The training whose worker was killed goes on from its last epoch",
            "resumed, not restarted",
            f"{named}: {'resumed once' if named != 'none' else 'restarted'}",
            len(resumed) == 1
            and resumed[0]["resumed"] == 1
            and named in outcome["training"]
            and not any(one["trained_anew"] for one in runs),
            how,
        ),
    ]
