"""Three epochs from nothing: ours builds its cache within the time, timm's decodes each time.

The clock runs from the first epoch's begin, with model and imports ready, to the third one's end:
files found and hashed, cache built, a step measured, loader processes started. The whole
process, imports and model included, is shown beside it.
"""

from __future__ import annotations

import time
from typing import Any

from experiments.contenders.race import OURS, TIMM, Worker
from experiments.pictures import pictures
from experiments.rows import Row, speed_row
from experiments.suite import Json, Record, Tables, trace

CONTENDERS = (OURS, TIMM)
PARAMETERS = {
    "variant": "MobileNetV3_Small",
    # 62 whole batches: timm's loader leaves out what is left over, ours does not.
    "images": 1984,
    "valid_images": 16,
    "image_size": 224,
    "batch_size": 32,
    "epochs": 3,
    "repetitions": 6,
}
QUICK = {"images": 64, "image_size": 32, "repetitions": 1}
LEAST = 1.4


def measure(chosen: Record) -> Json:
    """Train by both in turn."""
    data_dir = pictures({"train": chosen["images"], "valid": chosen["valid_images"]})
    job = {name: chosen[name] for name in ("variant", "batch_size", "image_size")}
    outcome: dict[str, list[Any]] = {name: [] for name in CONTENDERS}
    for number in range(chosen["repetitions"]):
        for name in CONTENDERS[:: -1 if number % 2 else 1]:
            with Worker(name, job | {"data_dir": str(data_dir)}) as worker:
                worker.ready()
                seconds = [worker.epoch()["seconds"] for _ in range(chosen["epochs"])]
                whole = time.perf_counter() - worker.begun
            outcome[name].append({"seconds": seconds, "process_seconds": whole})
        trace(f"repetition {number + 1} of {chosen['repetitions']}")
    return {"outcome": outcome}


def rows(record: Record) -> list[Row]:
    """The training judged, the whole process for information."""
    chosen = record["parameters"]
    made = (
        f"{chosen['variant']}, {chosen['images']:,} images of 480×640, "
        f"{chosen['epochs']} epochs, batch {chosen['batch_size']}, "
        f"{chosen['image_size']} pixels, empty cache at the start"
    )
    trainings, processes = [], []
    for name in CONTENDERS:
        repetitions = record["outcome"][name]
        trainings.append([sum(each["seconds"]) for each in repetitions])
        processes.append([each["process_seconds"] for each in repetitions])
    return [
        speed_row(
            f"Cold start, {words}: ours ÷ timm's procedure, its defaults", *seconds, least, made
        )
        for words, seconds, least in (
            ("training with cache build", trainings, LEAST),
            ("whole process with imports", processes, None),
        )
    ]


def details(record: Record) -> Tables:
    """Seconds of every epoch."""
    cells = [
        [
            name,
            str(number),
            *(f"{s:.1f}" for s in each["seconds"]),
            f"{each['process_seconds']:.1f}",
        ]
        for name in CONTENDERS
        for number, each in enumerate(record["outcome"][name], 1)
    ]
    epochs = [f"epoch {number}, s" for number in range(1, record["parameters"]["epochs"] + 1)]
    return [("Seconds.", ["contender", "repetition", *epochs, "whole process, s"], cells)]
