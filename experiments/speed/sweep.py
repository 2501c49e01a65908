"""A sweep of ten variants as one command, against the work in it that cannot be saved.

That work: each variant's training steps on a fixed batch and its validation and test forwards, at
the speeds measured in the same run (half of them before the command, half after it), one decode of
all images, one import.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from experiments.record import Record, Row, trace
from experiments.speed.commands import epoch_seconds, import_seconds, run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker
from experiments.speed.race import FIXED

NAME = "sweep"
VARIANTS = "all,baselines"
IMAGES = 2000
IMAGE_SIZE = 64
BATCH_SIZE = 32
EPOCHS = 3
# Steps and forwards of one measurement of a fixed batch, after as many that warm up.
STEPS, FORWARDS = 25, 6
MOST = 1.08
REPETITIONS = 2


def run(quick: bool) -> dict[str, Any]:
    """Run and measure; ``quick``: two variants, 60 images, one epoch."""
    asked = "MobileNetV3_Small,ResNet18" if quick else VARIANTS
    images, epochs, batch = (60, 1, 8) if quick else (IMAGES, EPOCHS, BATCH_SIZE)
    parameters = {
        "variants": asked,
        "images": images,
        "image_size": IMAGE_SIZE,
        "batch_size": batch,
        "epochs": epochs,
        "steps_measured": STEPS,
        "forwards_measured": FORWARDS,
    }
    record = head(NAME, quick, parameters)
    data_dir = pictures(images)
    names = _names(asked)
    formats = dict.fromkeys(names, "channels_last")
    before = {name: _speeds(name, batch, formats[name]) for name in names}
    trace("limit measured, first half")
    arguments = [
        "--variants", asked, "--data-dir", str(data_dir), "--image-size", str(IMAGE_SIZE),
        "--batch-size", str(batch), "--epochs", str(epochs), "--patience", str(epochs),
    ]  # fmt: skip
    walls = []
    for _ in range(1 if quick else REPETITIONS):
        with tempfile.TemporaryDirectory() as cache:
            done = run_bench(arguments, cache=Path(cache))
        walls.append(done.seconds)
        trace(f"sweep: {done.seconds:.0f} s")
    for one in done.records:
        name, chosen = one["variant"]["name"], one["training"]["setup"]["memory_format"]
        if formats[name] != chosen:
            # The limit is that of the same step: both halves are measured in its format.
            formats[name] = chosen
            before[name] = _speeds(name, batch, chosen)
    after = {name: _speeds(name, batch, formats[name]) for name in names}
    record["outcome"] = {
        "wall_s": statistics.mean(walls),
        "walls_s": walls,
        "decode_s": _decode(data_dir),
        "import_s": import_seconds(3),
        "parts": done.records[0]["data"]["used"],
        "seconds_per_image": {name: [before[name], after[name]] for name in names},
        "trained_s": {r["variant"]["name"]: epoch_seconds(r) for r in done.records},
        "memory_format": formats,
        "costs": done.costs,
    }
    return record


def _names(asked: str) -> list[str]:
    import variants

    return [variant.name for variant in variants.select([asked])]


def _speeds(variant: str, batch_size: int, memory_format: str) -> dict[str, float]:
    """Seconds an image of training steps and of forwards on a fixed batch."""
    job = {
        "kind": FIXED,
        "variant": variant,
        "batch_size": batch_size,
        "image_size": IMAGE_SIZE,
        "images": STEPS * batch_size,
        "valid_images": FORWARDS * batch_size,
        "memory_format": memory_format,
    }
    with Worker(job) as worker:
        worker.ready()
        worker.epoch()
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


def limit(record: Record) -> dict[str, Any]:
    """Seconds of the work that cannot be saved: ``steps``, ``forwards``, ``decode``, ``import``."""
    outcome, epochs = record["outcome"], record["parameters"]["epochs"]
    parts = outcome["parts"]
    speeds = outcome["seconds_per_image"].values()
    step = sum(statistics.mean(half["step"] for half in halves) for halves in speeds)
    forward = sum(statistics.mean(half["forward"] for half in halves) for halves in speeds)
    return {
        "training steps": step * epochs * parts["train"],
        "validation and test forwards": forward * (epochs * parts["valid"] + parts["test"]),
        "one decode": outcome["decode_s"],
        "one import": statistics.median(outcome["import_s"]),
    }


def rows(record: Record) -> list[Row]:
    """Wall time ÷ limit."""
    parameters, wall = record["parameters"], record["outcome"]["wall_s"]
    least = sum(limit(record).values())
    return [
        Row(
            f"Sweep of {len(record['outcome']['seconds_per_image'])} variants: wall time ÷ its "
            "limit",
            f"at most {MOST:g}",
            f"{wall / least:.3f} ({wall:.1f} s ÷ {least:.1f} s)",
            wall / least <= MOST,
            f"{parameters['images']:,} images at {parameters['image_size']} pixels, "
            f"{parameters['epochs']} epochs, batch {parameters['batch_size']}, --no-timing, empty "
            f"cache{_each(record)}",
        )
    ]


def _each(record: Record) -> str:
    walls = record["outcome"].get("walls_s") or []
    if len(walls) < 2:
        return ""
    return f"; the mean of {len(walls)} sweeps: {', '.join(f'{one:.1f} s' for one in walls)}"


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): the limit's parts, and every variant."""
    outcome, parameters = record["outcome"], record["parameters"]
    summed = [[what, f"{seconds:.1f}"] for what, seconds in limit(record).items()]
    summed.append(["wall time of the command", f"{outcome['wall_s']:.1f}"])
    parts, cells = outcome["parts"], []
    for name, (before, after) in outcome["seconds_per_image"].items():
        expected = [
            parameters["epochs"] * (parts["train"] * h["step"] + parts["valid"] * h["forward"])
            for h in (before, after)
        ]
        took = outcome["trained_s"].get(name)
        cells.append(
            [name, *(f"{s:.1f}" for s in expected), "–" if took is None else f"{took:.1f}"]
        )
    header = ["variant", "limit, measured before, s", "limit, measured after, s", "trained in, s"]
    return [
        (
            f"What the limit is made of. The command says: {outcome['costs']}.",
            ["part", "seconds"],
            summed,
        ),
        ("Training and validation of each variant.", header, cells),
    ]
