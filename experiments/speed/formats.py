"""Training steps in channels-last against contiguous, the same weights and batch, in turn in one
process: what one memory format for all costs or gains each of the ten variants. Processor seconds
of one thread, which whatever runs beside hardly touches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

import variants
from bench.timing.estimate import FORMATS
from bench.train.loop import train_step
from bench.train.optim import Optimization
from experiments.record import Record, Row
from experiments.speed import ours
from experiments.speed.common import head, speed_row

NAME = "formats"
BATCH_SIZE, IMAGE_SIZE = 16, 64
ROUNDS = 6


def run(quick: bool) -> dict[str, Any]:
    """Time the ten variants; ``quick``: MobileNetV3-Small at 32 pixels, once."""
    rounds, size = (1, 32) if quick else (ROUNDS, IMAGE_SIZE)
    names = ["MobileNetV3_Small"] if quick else list(variants.names())
    parameters = {"threads": 1, "rounds": rounds, "image_size": size, "batch_size": BATCH_SIZE}
    record = head(NAME, quick, parameters)
    ours.settle(threads=1)
    record["outcome"] = [
        {"variant": name, "seconds": _seconds(name, size, rounds)} for name in names
    ]
    return record


def _seconds(name: str, size: int, rounds: int) -> dict[str, list[float]]:
    """By memory format, of each round's step; the first of each is not counted."""
    steps = {form: _step(name, size, form) for form in FORMATS}
    taken: dict[str, list[float]] = {form: [] for form in FORMATS}
    for number in range(1 + rounds):
        # Each format goes first as often as the other.
        for form in list(FORMATS)[:: 1 if number % 2 else -1]:
            begin = time.process_time()
            steps[form]()
            taken[form].append(time.process_time() - begin)
    return {form: seconds[1:] for form, seconds in taken.items()}


def _step(name: str, size: int, form: str) -> Callable[[], object]:
    job = {"variant": name, "image_size": size, "batch_size": BATCH_SIZE}
    model, _ = ours.model_of(job)
    model.to(memory_format=FORMATS[form]).train()  # type: ignore[call-overload]
    images = torch.randn(BATCH_SIZE, 3, size, size).contiguous(memory_format=FORMATS[form])
    labels = torch.arange(BATCH_SIZE) % ours.CLASSES
    optim = Optimization.build(model, ours.config_of(job), ours.DEVICE)
    return lambda: train_step(optim, images, labels)


def rows(record: Record) -> list[Row]:
    """One row for each variant."""
    chosen = record["parameters"]
    return [
        speed_row(
            f"{one['variant']}: channels-last ÷ contiguous",
            one["seconds"]["channels_last"],
            one["seconds"]["contiguous"],
            None,
            f"training steps, batch {chosen['batch_size']}, {chosen['image_size']} pixels",
        )
        for one in record["outcome"]
    ]
