"""The input pipeline alone, one thread on one core: augmented, normalised batches, no model."""

from __future__ import annotations

import contextlib

from bench.stats.timing import locate
from experiments.contenders.race import Worker
from experiments.pictures import pictures
from experiments.rows import Row
from experiments.suite import Json, Record, trace

CACHE, JPEG = "from the cache", "from JPEG"
LEAST = {CACHE: 1000.0, JPEG: 200.0}
PARAMETERS = {"rounds": 7, "image_size": 224, "batch_size": 32, "images": 1024, "threads": 1}
QUICK = {"rounds": 1, "image_size": 32, "images": 64}


def measure(chosen: Record) -> Json:
    """Read in turn from cache and JPEG."""
    job = {
        "variant": "MobileNetV3_Small",
        "image_size": chosen["image_size"],
        "batch_size": chosen["batch_size"],
        "data_dir": str(pictures({"train": chosen["images"], "valid": 16})),
    }
    speeds: dict[str, list[float]] = {name: [] for name in LEAST}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in LEAST:
            options = {"num_workers": 0, "threads": 1, "tune": "off", "cache": name == CACHE}
            workers[name] = stack.enter_context(Worker("pipeline", job | {"options": options}))
            workers[name].ready()
            workers[name].epoch()
        for number in range(chosen["rounds"]):
            for name in sorted(workers, reverse=bool(number % 2)):
                answer = workers[name].epoch()
                speeds[name].append(answer["images"] / answer["seconds"])
            trace(f"pipeline: round {number + 1} of {chosen['rounds']}")
    return {"images_per_s": speeds}


def rows(record: Record) -> list[Row]:
    """Median images/s over rounds, with its 95 % interval."""
    result = []
    for name, speeds in record["images_per_s"].items():
        place = locate(speeds)
        interval = "no interval" if place.low is None else f"{place.low:,.0f}–{place.high:,.0f}"
        result.append(
            Row(
                f"Input pipeline {name}, images/s of one core",
                f"at least {LEAST[name]:,.0f}",
                f"{place.median:,.0f} ({interval}, {place.rounds} rounds)",
                place.median >= LEAST[name],
                f"480×640 JPEG → {record['parameters']['image_size']} pixels, padded, augmented, "
                "normalised; one process bound to one core, one thread, after a first epoch",
            )
        )
    return result
