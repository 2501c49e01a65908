"""Training steps in channels-last against contiguous, the same weights and batch, in turn in one
process: what one memory format for all costs or gains each of the ten variants. Processor seconds
of one thread, which whatever runs beside hardly touches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

import variants
from bench.timing.estimate import FORMATS
from bench.train.loop import train_step
from bench.train.optim import Optimization
from experiments.contenders import ours
from experiments.rows import Row, speed_row
from experiments.suite import Json, Record

PARAMETERS = {"threads": 1, "rounds": 6, "image_size": 64, "batch_size": 16}
QUICK = {"rounds": 1, "image_size": 32}


def measure(chosen: Record) -> Json:
    """Time the ten variants; a quick run MobileNetV3-Small alone."""
    names = ["MobileNetV3_Small"] if chosen["quick"] else variants.names()
    ours.settle(threads=1)
    return {"outcome": [{"variant": name, "seconds": _seconds(name, chosen)} for name in names]}


def _seconds(name: str, chosen: Record) -> dict[str, list[float]]:
    """By memory format, of each round's step; the first of each is not counted."""
    steps = {form: _step({**chosen, "variant": name}, form) for form in FORMATS}
    seconds: dict[str, list[float]] = {form: [] for form in FORMATS}
    for number in range(1 + chosen["rounds"]):
        # Each format goes first as often as the other.
        for form in list(FORMATS)[:: 1 if number % 2 else -1]:
            begin = time.process_time()
            steps[form]()
            seconds[form].append(time.process_time() - begin)
    return {form: each[1:] for form, each in seconds.items()}


def _step(job: Record, form: str) -> Callable[[], object]:
    model, _ = ours.model_of(job)
    model.to(memory_format=FORMATS[form]).train()
    size, batch_size = job["image_size"], job["batch_size"]
    images = torch.randn(batch_size, 3, size, size).contiguous(memory_format=FORMATS[form])
    labels = torch.arange(batch_size) % ours.CLASSES
    optim = Optimization.build(model, ours.config_of(job), ours.DEVICE)
    return lambda: train_step(optim, images, labels)


def rows(record: Record) -> list[Row]:
    """One row for each variant."""
    chosen = record["parameters"]
    made = f"training steps, batch {chosen['batch_size']}, {chosen['image_size']} pixels"
    result = []
    for case in record["outcome"]:
        seconds = (case["seconds"][form] for form in ("channels_last", "contiguous"))
        bar = f"{case['variant']}: channels-last ÷ contiguous"
        result.append(speed_row(bar, *seconds, None, made))
    return result
