"""A sweep of ten variants by two workers of Ray, one of which is killed while it trains.

The worker is killed (SIGKILL) when both trainings of that moment have ended an epoch.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import psutil

from bench.errors import BenchError
from experiments.commands import every, read_records, run_bench, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, trace

SEED = 0
WORKERS = 2
PARAMETERS = {
    "variants": "all,baselines",
    "images": 300,
    "image_size": 64,
    "batch_size": 32,
    "epochs": 4,
    "workers": WORKERS,
}
QUICK = {"variants": "MobileNetV3_Small,ResNet18", "images": 60, "batch_size": 8}
# Runs that have ended before a worker is killed: neither the first nor the last ones are lost.
AFTER = 2
PATIENCE_S = 1200.0


def measure(chosen: Record) -> Json:
    """Kill a worker; in a quick run one of the first trainings."""
    arguments = training_flags(chosen, tune="off", executor="ray", devices=WORKERS)
    after = 0 if chosen["quick"] else AFTER
    killed: Json = {}
    with tempfile.TemporaryDirectory(prefix="paddy-bench-lost-") as name:
        folder = Path(name)

        def kill_one(process: Any) -> bool:
            runs = list(map(_about, read_records(folder)))
            complete = sum(run["status"] == "complete" for run in runs)
            training = sorted(run["variant"] for run in runs if run["status"] == "running")
            states = list(folder.glob("results/*/last.pt"))
            if complete >= after and len(states) == len(training) == WORKERS:
                worker = _workers(process.pid)[0]
                worker.kill()
                killed.update(killed_pid=worker.pid, training=training, before=complete)
                trace(f"killed a worker that trained one of {', '.join(training)}")
            return bool(killed)

        ended = run_bench(
            ["run", "--no-timing", *arguments],
            folder,
            cache=folder / "cache",
            kill_after=PATIENCE_S,
            during=every(0.02, kill_one),
        )
        if not killed or ended.code not in (0, 1):
            what = "" if killed else " before a worker was lost"
            raise BenchError(f"the sweep ended with {ended.code}{what}: {ended.text[-500:]}")
        runs = list(map(_about, read_records(folder)))
    outcome = {"wall_s": ended.seconds, "exit_code": ended.code, **killed, "runs": runs}
    return {"outcome": outcome}


def _workers(pid: int) -> list[psutil.Process]:
    workers = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ray::_carry_out" in " ".join(child.cmdline()):
                workers.append(child)
    return workers


def _about(record: Record) -> Json:
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
    runs, names = outcome["runs"], parameters["variants"].split(",")
    count = 10 if parameters["variants"] == PARAMETERS["variants"] else len(names)
    epochs = list(range(1, parameters["epochs"] + 1))
    whole = sum(run["status"] == "complete" and run["epochs"] == epochs for run in runs)
    anew = any(run["trained_anew"] for run in runs)
    resumed = [run for run in runs if run["resumed"] and not run["trained_anew"]]
    named = resumed[0]["variant"] if len(resumed) == 1 else "none"
    how = (
        f"{parameters['images']} images at {parameters['image_size']} pixels, "
        f"{parameters['epochs']} epochs, {parameters['workers']} workers, one killed after "
        f"{outcome['before']} runs; {outcome['wall_s']:.0f} s in all"
    )
    return [
        Row(
            "A sweep of which a worker was killed: complete records, every epoch once",
            f"{count} of {count}",
            f"{whole} of {len(runs)}",
            whole == len(runs) == count == len({run["variant"] for run in runs}),
            how,
        ),
        Row(
            "The training whose worker was killed goes on from its last epoch",
            "resumed, not restarted",
            f"{named}: {'resumed once' if named != 'none' else 'restarted'}",
            len(resumed) == 1
            and resumed[0]["resumed"] == 1
            and named in outcome["training"]
            and not anew,
            how,
        ),
    ]
