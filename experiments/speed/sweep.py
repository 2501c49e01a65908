"""A sweep of ten variants as one command, against the work in it that cannot be saved.

That work: each variant's training steps on a fixed batch and its validation and test forwards, at
speeds measured within the sweep itself (experiments/speed/paired.py), one decode of all images, one
import.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.stats.timing import Ratio
from experiments.record import Record, Row, trace
from experiments.speed.commands import epoch_seconds, import_seconds, run_bench
from experiments.speed.common import head, ratio_of, ratio_text
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker

NAME = "sweep"
VARIANTS = "all,baselines"
IMAGES = 2000
IMAGE_SIZE = 64
BATCH_SIZE = 32
EPOCHS = 3
MOST = 1.08
REPETITIONS = 2


def run(quick: bool) -> dict[str, Any]:
    """Run and measure; ``quick``: two variants, 60 images, one epoch, once."""
    asked = "MobileNetV3_Small,ResNet18" if quick else VARIANTS
    images, epochs, batch = (60, 1, 8) if quick else (IMAGES, EPOCHS, BATCH_SIZE)
    parameters = {
        "variants": asked,
        "images": images,
        "image_size": IMAGE_SIZE,
        "batch_size": batch,
        "epochs": epochs,
    }
    record = head(NAME, quick, parameters)
    data_dir = pictures(images)
    arguments = [
        "--variants", asked, "--data-dir", str(data_dir), "--image-size", str(IMAGE_SIZE),
        "--batch-size", str(batch), "--epochs", str(epochs), "--patience", str(epochs),
    ]  # fmt: skip
    record["outcome"] = [_measure(arguments, data_dir) for _ in range(1 if quick else REPETITIONS)]
    return record


def _measure(arguments: list[str], data_dir: Path) -> dict[str, Any]:
    """One sweep; the decode and the imports right after it."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "paired.json"
        through = ("experiments.speed.paired", str(told))
        done = run_bench(arguments, cache=Path(folder) / "cache", through=through)
        found = json.loads(told.read_text("utf8"))
    trace(f"sweep: {done.seconds - found['seconds']:.0f} s, and {found['seconds']:.0f} s beside it")
    trainings = {}
    for record, own in zip(done.records, found["trainings"], strict=True):
        trainings[record["variant"]["name"]] = {
            **own,
            "memory_format": record["training"]["setup"]["memory_format"],
            "trained_s": trained_seconds(record, own),
        }
    return {
        "wall_s": done.seconds - found["seconds"],
        "beside_s": found["seconds"],
        "decode_s": _decode(data_dir),
        "import_s": import_seconds(3),
        "parts": done.records[0]["data"]["used"],
        "trainings": trainings,
        "costs": done.costs,
    }


def trained_seconds(record: Mapping[str, Any], own: Mapping[str, Any]) -> float:
    """Seconds of a run's training and validation, without those of the fixed batch.

    Args:
        record: of the run.
        own: what :class:`experiments.speed.paired.Paired` found in it.
    """
    # The last of its evaluations is that of the test part.
    batches = -(-record["data"]["used"]["valid"] // own["batch"])
    valid = sum(own["forwards"][:-1]) * own["batch"] * batches
    return epoch_seconds(record) - sum(own["fixed"]) - valid


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


def per_image(training: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of an image in a training step and in a forward, on the fixed batch."""
    step = statistics.mean(training["fixed"]) / training["batch"]
    return step, statistics.mean(training["forwards"])


def limit(one: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """Seconds of the work of a sweep that cannot be saved.

    Args:
        one: the sweep's part of the outcome.
        epochs: of each variant.
    """
    parts = one["parts"]
    found = [per_image(training) for training in one["trainings"].values()]
    forwards = epochs * parts["valid"] + parts["test"]
    return {
        "training steps": sum(step for step, _ in found) * epochs * parts["train"],
        "validation and test forwards": sum(forward for _, forward in found) * forwards,
        "one decode": one["decode_s"],
        "one import": statistics.median(one["import_s"]),
    }


def steps_ratio(training: Mapping[str, Any]) -> Ratio:
    """Seconds of the sweep's own steps ÷ those of the fixed batch, each after the other."""
    return ratio_of(training["fixed"], training["steps"])


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
            f"Sweep of {len(sweeps[0]['trainings'])} variants: wall time ÷ its limit",
            f"at most {MOST:g}",
            f"{ratio:.3f}: {each}",
            ratio <= MOST,
            f"{parameters['images']:,} images at {parameters['image_size']} pixels, "
            f"{parameters['epochs']} epochs, batch {parameters['batch_size']}, --no-timing, empty "
            "cache; the limit measured within, step by step",
        )
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): the limit's parts, and every variant, of each sweep."""
    epochs, found = record["parameters"]["epochs"], []
    for number, one in enumerate(record["outcome"], 1):
        summed = [[what, f"{seconds:.1f}"] for what, seconds in limit(one, epochs).items()]
        summed.append(["wall time of the command", f"{one['wall_s']:.1f}"])
        parts, cells = one["parts"], []
        for name, training in one["trainings"].items():
            step, forward = per_image(training)
            least = epochs * (parts["train"] * step + parts["valid"] * forward)
            ratio = ratio_text(steps_ratio(training)).replace("rounds", "steps")
            cells.append([name, f"{least:.1f}", f"{training['trained_s']:.1f}", ratio])
        header = ["variant", "limit, s", "trained in, s", "a step ÷ that of the fixed batch"]
        found += [
            (
                f"Sweep {number}: what the limit is made of. The command says, with "
                f"{one['beside_s']:.1f} s of measuring the limit in its training, validation and "
                f"test part, and its imports before that: {one['costs']}.",
                ["part", "seconds"],
                summed,
            ),
            (f"Sweep {number}: training and validation of each variant.", header, cells),
        ]
    return found
