"""A sweep of ten variants as one command, against the work in it that cannot be saved.

That work: each variant's training steps on a fixed batch and its validation and test forwards, at
the speeds measured while the sweep was paused in the training of that variant
(:mod:`experiments.speed.slices`), one decode of all images, one import.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from experiments.record import Record, Row, trace
from experiments.speed.commands import epoch_seconds, import_seconds, run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker
from experiments.speed.race import FIXED
from experiments.speed.slices import EVERY_S, Slices, speeds

NAME = "sweep"
VARIANTS = "all,baselines"
IMAGES = 2000
IMAGE_SIZE = 64
BATCH_SIZE = 32
EPOCHS = 3
# Steps and forwards of a fixed batch in one pause, after steps that warm up.
STEPS, WARM_STEPS, FORWARDS = 8, 2, 6
MOST = 1.08
REPETITIONS = 2


def run(quick: bool) -> dict[str, Any]:
    """Run and measure; ``quick``: two variants, 60 images, two epochs, once."""
    asked = "MobileNetV3_Small,ResNet18" if quick else VARIANTS
    images, epochs, batch = (60, 2, 8) if quick else (IMAGES, EPOCHS, BATCH_SIZE)
    parameters = {
        "variants": asked,
        "images": images,
        "image_size": IMAGE_SIZE,
        "batch_size": batch,
        "epochs": epochs,
        "steps_measured": STEPS,
        "forwards_measured": FORWARDS,
        "pause_every_s": EVERY_S,
    }
    record = head(NAME, quick, parameters)
    data_dir = pictures(images)
    arguments = [
        "--variants", asked, "--data-dir", str(data_dir), "--image-size", str(IMAGE_SIZE),
        "--batch-size", str(batch), "--epochs", str(epochs), "--patience", str(epochs),
    ]  # fmt: skip
    record["outcome"] = [
        _measure(arguments, batch, data_dir) for _ in range(1 if quick else REPETITIONS)
    ]
    return record


def _measure(arguments: list[str], batch: int, data_dir: Path) -> dict[str, Any]:
    """One sweep with its pauses; the decode and the imports right after it."""

    def make(variant: str, memory_format: str) -> Worker:
        return _fixed(variant, batch, memory_format)

    def measure(worker: Worker) -> dict[str, float]:
        return _speeds(worker, batch)

    slices = Slices(make, measure)
    with tempfile.TemporaryDirectory() as cache:
        done = run_bench(arguments, cache=Path(cache), slices=slices)
    trace(f"sweep: {done.seconds:.0f} s, and {slices.paused_s:.0f} s of pauses")
    formats = {
        one["variant"]["name"]: one["training"]["setup"]["memory_format"] for one in done.records
    }
    measured, late = {}, []
    for name, memory_format in formats.items():
        found = speeds(slices.found, name)
        if found is None:
            # Its epochs were too short for a pause.
            late.append(name)
            with make(name, memory_format) as worker:
                found = measure(worker)
        measured[name] = found
    paused = slices.paused_in
    return {
        "wall_s": done.seconds,
        "paused_s": slices.paused_s,
        "decode_s": _decode(data_dir),
        "import_s": import_seconds(3),
        "parts": done.records[0]["data"]["used"],
        "seconds_per_image": measured,
        "measured_afterwards": late,
        "slices": [attrs.asdict(one) for one in slices.found],
        # The pauses lie between the first epoch's end and the last one's begin.
        "trained_s": {
            name: epoch_seconds(one) - paused.get(name, 0.0)
            for one in done.records
            if (name := one["variant"]["name"])
        },
        "memory_format": formats,
        "costs": done.costs,
    }


def _fixed(variant: str, batch_size: int, memory_format: str) -> Worker:
    """A fixed batch's process that has done an epoch."""
    worker = Worker(
        {
            "kind": FIXED,
            "variant": variant,
            "batch_size": batch_size,
            "image_size": IMAGE_SIZE,
            "images": (WARM_STEPS + STEPS) * batch_size,
            "unmeasured": WARM_STEPS,
            "valid_images": FORWARDS * batch_size,
            "memory_format": memory_format,
        }
    )
    worker.ready()
    worker.epoch()
    return worker


def _speeds(worker: Worker, batch_size: int) -> dict[str, float]:
    """Seconds an image of training steps and of forwards, from one epoch of a fixed batch."""
    found = worker.epoch()
    return {
        "step": found["seconds"] / found["images"],
        "forward": found["valid_seconds"] / (FORWARDS * batch_size),
    }


def _decode(data_dir: Path) -> float:
    job = {
        "kind": "decode",
        "variant": "ResNet18",
        "batch_size": 2,
        "image_size": IMAGE_SIZE,
        "data_dir": str(data_dir),
    }
    with Worker(job) as worker:
        worker.ready()
        return worker.epoch()["seconds"]


def limit(one: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """Seconds of the work of a sweep that cannot be saved.

    Args:
        one: the sweep's part of the outcome.
        epochs: of each variant.
    """
    parts, found = one["parts"], one["seconds_per_image"].values()
    step = sum(each["step"] for each in found)
    forward = sum(each["forward"] for each in found)
    return {
        "training steps": step * epochs * parts["train"],
        "validation and test forwards": forward * (epochs * parts["valid"] + parts["test"]),
        "one decode": one["decode_s"],
        "one import": statistics.median(one["import_s"]),
    }


def rows(record: Record) -> list[Row]:
    """Wall time ÷ limit, over all sweeps."""
    parameters, sweeps = record["parameters"], record["outcome"]
    walls = [one["wall_s"] for one in sweeps]
    least = [sum(limit(one, parameters["epochs"]).values()) for one in sweeps]
    ratio = sum(walls) / sum(least)
    each = ", ".join(
        f"{wall / limit:.3f} ({wall:.1f} s ÷ {limit:.1f} s)"
        for wall, limit in zip(walls, least, strict=True)
    )
    return [
        Row(
            f"Sweep of {len(sweeps[0]['seconds_per_image'])} variants: wall time ÷ its limit",
            f"at most {MOST:g}",
            f"{ratio:.3f} ({each})" if len(sweeps) > 1 else each,
            ratio <= MOST,
            f"{parameters['images']:,} images at {parameters['image_size']} pixels, "
            f"{parameters['epochs']} epochs, batch {parameters['batch_size']}, --no-timing, empty "
            f"cache; the limit measured in {sum(len(one['slices']) for one in sweeps)} pauses of "
            f"{'these sweeps' if len(sweeps) > 1 else 'this sweep'}",
        )
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): the limit's parts, and every variant, of each sweep."""
    epochs, found = record["parameters"]["epochs"], []
    for number, one in enumerate(record["outcome"], 1):
        summed = [[what, f"{seconds:.1f}"] for what, seconds in limit(one, epochs).items()]
        summed.append(["wall time of the command", f"{one['wall_s']:.1f}"])
        parts, cells = one["parts"], []
        for name, speed in one["seconds_per_image"].items():
            own = [each for each in one["slices"] if each["variant"] == name]
            steps = [epochs * parts["train"] * each["step"] for each in own]
            least = epochs * (parts["train"] * speed["step"] + parts["valid"] * speed["forward"])
            spread = f"{min(steps):.1f}–{max(steps):.1f}" if steps else "–"
            cells.append(
                [name, f"{least:.1f}", spread, str(len(own)), f"{one['trained_s'][name]:.1f}"]
            )
        header = ["variant", "limit, s", "its steps, least–most, s", "pauses", "trained in, s"]
        found += [
            (
                f"Sweep {number}: what the limit is made of. The command says, with "
                f"{one['paused_s']:.1f} s of pauses in its training: {one['costs']}.",
                ["part", "seconds"],
                summed,
            ),
            (f"Sweep {number}: training and validation of each variant.", header, cells),
        ]
    return found
