"""The input pipeline alone, one thread on one core: augmented, normalised batches, no model."""

from __future__ import annotations

import contextlib
from typing import Any

from bench.stats.timing import locate
from experiments.record import Record, Row, trace
from experiments.speed.common import head
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker

NAME = "pipeline"
ROUNDS = 7
IMAGE_SIZE = 224
BATCH_SIZE = 32
CACHE, JPEG = "from the cache", "from JPEG"
IMAGES = 1024
OPTIONS = {"num_workers": 0, "threads": 1, "tune": "off"}
LEAST = {CACHE: 1000.0, JPEG: 200.0}


def run(quick: bool) -> dict[str, Any]:
    """Read in turn from cache and JPEG; ``quick``: 64 images of 32 pixels, one round."""
    rounds, size, images = (1, 32, 64) if quick else (ROUNDS, IMAGE_SIZE, IMAGES)
    parameters = {
        "rounds": rounds,
        "image_size": size,
        "batch_size": BATCH_SIZE,
        "images": images,
        "threads": 1,
    }
    record = head(NAME, quick, parameters)
    job = {
        "kind": "pipeline",
        "variant": "MobileNetV3_Small",
        "image_size": size,
        "batch_size": BATCH_SIZE,
        "data_dir": str(pictures({"train": images, "valid": 16})),
    }
    speeds: dict[str, list[float]] = {name: [] for name in LEAST}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in LEAST:
            told = {**job, "options": {**OPTIONS, "cache": name == CACHE}}
            workers[name] = stack.enter_context(Worker(told))
            workers[name].ready()
            workers[name].epoch()
        for number in range(rounds):
            for name in sorted(workers, reverse=bool(number % 2)):
                answer = workers[name].epoch()
                speeds[name].append(answer["images"] / answer["seconds"])
            trace(f"pipeline: round {number + 1} of {rounds}")
    return {**record, "images_per_s": speeds}


def rows(record: Record) -> list[Row]:
    """Median images/s over rounds, with its 95 % interval."""
    found = []
    for name, speeds in record["images_per_s"].items():
        place = locate(speeds)
        interval = (
            "no interval" if place.low is None else f"{place.low:,.0f}–{place.high or 0:,.0f}"
        )
        found.append(
            Row(
                f"Input pipeline {name}, images/s of one core",
                f"at least {LEAST[name]:,.0f}",
                f"{place.median:,.0f} ({interval}, {place.rounds} rounds)",
                place.median >= LEAST[name],
                f"480×640 JPEG → {record['parameters']['image_size']} pixels, padded, augmented, "
                "normalised; one process bound to one core, one thread, after a first epoch",
            )
        )
    return found
