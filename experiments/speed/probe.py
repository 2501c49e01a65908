"""Linear probes of the four V2-S attention variants: one sweep against four separate commands.

Both sides begin with an empty cache; the separate commands share theirs, as a user's would.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from experiments.record import Record, Row, trace
from experiments.speed.commands import Done, run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "probe"
VARIANTS = (
    "EfficientNetV2_S_CA",
    "EfficientNetV2_S_ECA",
    "EfficientNetV2_S_BoTLinear",
    "EfficientNetV2_S_Hybrid",
)
IMAGES = 1000
IMAGE_SIZE = 224
BATCH_SIZE = 16
EPOCHS = 3
REPETITIONS = 2
LEAST = 3.0


def run(quick: bool) -> dict[str, Any]:
    """Probe both ways; ``quick``: two ResNet18 variants, 60 images of 32 pixels, one epoch."""
    names = ("ResNet18", "ResNet18_Hybrid") if quick else VARIANTS
    images, size, batch, epochs, repetitions = (
        (60, 32, 8, 1, 1) if quick else (IMAGES, IMAGE_SIZE, BATCH_SIZE, EPOCHS, REPETITIONS)
    )
    parameters = {
        "variants": list(names),
        "images": images,
        "image_size": size,
        "batch_size": batch,
        "epochs": epochs,
        "repetitions": repetitions,
    }
    record = head(NAME, quick, parameters)
    options = [
        "--freeze-backbone", "--data-dir", str(pictures(images)), "--image-size", str(size),
        "--batch-size", str(batch), "--epochs", str(epochs), "--patience", str(epochs),
    ]  # fmt: skip
    outcome = []
    for number in range(repetitions):
        found = {}
        for way in ("together", "apart") if number % 2 == 0 else ("apart", "together"):
            groups = [",".join(names)] if way == "together" else list(names)
            with tempfile.TemporaryDirectory() as cache:
                done = [
                    run_bench(["--variants", group, *options], cache=Path(cache))
                    for group in groups
                ]
            found[way] = _kept(done)
            trace(f"probe {number + 1} of {repetitions}, {way}: {sum(found[way]['seconds']):.0f} s")
        outcome.append(found)
    return {**record, "outcome": outcome}


def _kept(done: list[Done]) -> dict[str, Any]:
    return {
        "seconds": [one.seconds for one in done],
        "predictions": {
            record["variant"]["name"]: record["validation"]["predictions"]
            for one in done
            for record in one.records
        },
        "macro_f1": {
            record["variant"]["name"]: record["validation"]["macro_f1"]
            for one in done
            for record in one.records
        },
    }


def rows(record: Record) -> list[Row]:
    """How many times faster, and whether every prediction is the same."""
    parameters = record["parameters"]
    each = [sum(one["apart"]["seconds"]) / sum(one["together"]["seconds"]) for one in
            record["outcome"]]  # fmt: skip
    mean = math.exp(sum(map(math.log, each)) / len(each))
    made = (
        f"{parameters['images']} images at {parameters['image_size']} pixels, "
        f"{parameters['epochs']} epochs, batch {parameters['batch_size']}, --freeze-backbone"
    )
    same = [
        one["apart"]["predictions"][name] == one["together"]["predictions"][name]
        for one in record["outcome"]
        for name in parameters["variants"]
    ]
    return [
        Row(
            f"Linear probes of {len(parameters['variants'])} variants: one sweep ÷ separate "
            "commands",
            f"at least {LEAST:g}",
            f"{mean:.2f} (repetitions {', '.join(f'{ratio:.2f}' for ratio in each)})",
            mean >= LEAST,
            made,
        ),
        Row(
            "Linear probes: predictions of the sweep and of the separate commands are the same",
            "all of them",
            f"{sum(same)} of {len(same)} runs",
            all(same),
            f"every validation image; {made}",
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): seconds of every command."""
    cells = [
        [str(number), way, ", ".join(f"{s:.1f}" for s in one[way]["seconds"])]
        for number, one in enumerate(record["outcome"], 1)
        for way in ("together", "apart")
    ]
    return [("Wall time of every command.", ["repetition", "way", "seconds"], cells)]
