"""Three epochs from nothing: ours builds its cache within the time, timm's decodes each time.

The clock runs from the first epoch's begin, with model and imports ready, to the third one's end:
files found and hashed, cache built, a step measured, loader processes started. The whole
process, imports and model included, is shown beside it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from experiments.record import Record, Row, trace
from experiments.speed.common import head, speed_row
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker
from experiments.speed.race import OURS, SETTINGS, TIMM

NAME = "cold"
VARIANT = "MobileNetV3_Small"
CONTENDERS = (OURS, TIMM)
EPOCHS = 3
REPETITIONS = 6
# 62 whole batches: timm's loader leaves out what is left over, ours does not.
IMAGES = 1984
BATCH_SIZE = 32
VALID_IMAGES = 16
IMAGE_SIZE = 224
LEAST = 1.4


def run(quick: bool) -> dict[str, Any]:
    """Train by both; ``quick``: 64 images of 32 pixels, once."""
    images, size, repetitions = (64, 32, 1) if quick else (IMAGES, IMAGE_SIZE, REPETITIONS)
    data_dir = pictures({"train": images, "valid": VALID_IMAGES})
    parameters = {
        "variant": VARIANT,
        "images": images,
        "valid_images": VALID_IMAGES,
        "image_size": size,
        "batch_size": BATCH_SIZE,
        "epochs": EPOCHS,
        "repetitions": repetitions,
    }
    record = head(NAME, quick, parameters)
    outcome: dict[str, list[Any]] = {name: [] for name in CONTENDERS}
    for number in range(repetitions):
        shift = number % len(CONTENDERS)
        for name in (*CONTENDERS[shift:], *CONTENDERS[:shift]):
            outcome[name].append(_train(name, data_dir, size))
        trace(f"repetition {number + 1} of {repetitions}")
    return {**record, "outcome": outcome}


def _train(name: str, data_dir: Path, image_size: int) -> dict[str, Any]:
    more, allocator = SETTINGS[name]
    job = {
        "kind": name,
        "variant": VARIANT,
        "batch_size": BATCH_SIZE,
        "image_size": image_size,
        "data_dir": str(data_dir),
        **more,
    }
    with Worker(job, allocator=allocator) as worker:
        worker.ready()
        seconds = [worker.epoch()["seconds"] for _ in range(EPOCHS)]
        return {"seconds": seconds, "process_seconds": time.perf_counter() - worker.begun}


def rows(record: Record) -> list[Row]:
    """The training judged, the whole process for information."""
    parameters = record["parameters"]
    made = (
        f"{parameters['variant']}, {parameters['images']:,} images of 480×640, "
        f"{parameters['epochs']} epochs, batch {parameters['batch_size']}, "
        f"{parameters['image_size']} pixels, empty cache at the start"
    )
    return [
        speed_row(
            f"Cold start, {words}: ours ÷ timm's procedure, its defaults",
            *([total(one, key) for one in record["outcome"][name]] for name in CONTENDERS),
            least,
            made,
        )
        for key, words, least in (
            ("seconds", "training with cache build", LEAST),
            ("process_seconds", "whole process with imports", None),
        )
    ]


def total(one: Record, key: str) -> float:
    """Seconds of a repetition: of its epochs, or of the whole process."""
    return sum(one[key]) if key == "seconds" else one[key]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): seconds of every epoch."""
    cells = [
        [name, str(number), *(f"{s:.1f}" for s in one["seconds"]), f"{one['process_seconds']:.1f}"]
        for name in CONTENDERS
        for number, one in enumerate(record["outcome"][name], 1)
    ]
    epochs = [f"epoch {number}, s" for number in range(1, record["parameters"]["epochs"] + 1)]
    return [("Seconds.", ["contender", "repetition", *epochs, "whole process, s"], cells)]
