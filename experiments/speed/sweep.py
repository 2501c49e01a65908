"""A sweep of ten variants as one command, against the work in it that cannot be saved.

That work: each variant's training steps on a fixed batch and its validation and test forwards, at
speeds measured within the sweep itself (experiments/speed/paired.py), one decode of all images, one
import.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from experiments.commands import epoch_seconds, import_seconds, train, training_flags
from experiments.contenders.race import Worker
from experiments.pictures import pictures
from experiments.rows import Row, ratio_of, ratio_text
from experiments.suite import Json, Record, Tables, trace

PARAMETERS = {
    "variants": "all,baselines",
    "images": 2000,
    "image_size": 64,
    "batch_size": 32,
    "epochs": 3,
}
QUICK = {"variants": "MobileNetV3_Small,ResNet18", "images": 60, "epochs": 1, "batch_size": 8}
MOST = 1.08
REPETITIONS = 2


def measure(chosen: Record) -> Json:
    """Run and measure; a quick run once."""
    return {"outcome": [_measure(chosen) for _ in range(1 if chosen["quick"] else REPETITIONS)]}


def _measure(chosen: Record) -> Json:
    """One sweep; the decode and the imports right after it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "paired.json")
        through = ("experiments.speed.paired", str(file))
        ended = train(training_flags(chosen), through=through)
        paired = json.loads(file.read_text("utf8"))
    wall, beside = ended.seconds - paired["seconds"], paired["seconds"]
    trace(f"sweep: {wall:.0f} s, and {beside:.0f} s beside it")
    trainings = {
        record["variant"]["name"]: {
            **training,
            "memory_format": record["training"]["setup"]["memory_format"],
            "trained_s": trained_seconds(record, training),
        }
        for record, training in zip(ended.records, paired["trainings"], strict=True)
    }
    data_dir = str(pictures(chosen["images"]))
    job = {"image_size": chosen["image_size"], "batch_size": 2, "data_dir": data_dir}
    with Worker("decode", job) as worker:
        worker.ready()
        decode = worker.epoch()["seconds"]
    return {
        "wall_s": wall,
        "beside_s": beside,
        "decode_s": decode,
        "import_s": import_seconds(3),
        "parts": ended.records[0]["data"]["used"],
        "trainings": trainings,
        "costs": ended.costs,
    }


def trained_seconds(record: Record, training: Record) -> float:
    """Seconds of a run's training and validation, without those of the fixed batch.

    Args:
        record: of the run.
        training: what :class:`experiments.speed.paired.Paired` measured in it.
    """
    # The last of its evaluations is that of the test part.
    batches = -(-record["data"]["used"]["valid"] // training["batch"])
    valid = sum(training["forwards"][:-1]) * training["batch"] * batches
    return epoch_seconds(record) - sum(training["fixed"]) - valid


def per_image(training: Record) -> tuple[float, float]:
    """Seconds of an image in a training step and in a forward, on the fixed batch."""
    step = statistics.mean(training["fixed"]) / training["batch"]
    return step, statistics.mean(training["forwards"])


def limit(sweep: Record, epochs: int) -> dict[str, float]:
    """Seconds of the work of a sweep that cannot be saved.

    Args:
        sweep: its part of the outcome.
        epochs: of each variant.
    """
    parts = sweep["parts"]
    speeds = [per_image(training) for training in sweep["trainings"].values()]
    steps, forwards = map(sum, zip(*speeds, strict=True))
    return {
        "training steps": steps * epochs * parts["train"],
        "validation and test forwards": forwards * (epochs * parts["valid"] + parts["test"]),
        "one decode": sweep["decode_s"],
        "one import": statistics.median(sweep["import_s"]),
    }


def rows(record: Record) -> list[Row]:
    """Wall time ÷ limit, over all sweeps."""
    parameters, sweeps = record["parameters"], record["outcome"]
    walls = [sweep["wall_s"] for sweep in sweeps]
    least = [sum(limit(sweep, parameters["epochs"]).values()) for sweep in sweeps]
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


def details(record: Record) -> Tables:
    """The limit's parts, and every variant, of each sweep."""
    epochs, tables = record["parameters"]["epochs"], []
    for number, sweep in enumerate(record["outcome"], 1):
        summed = limit(sweep, epochs) | {"wall time of the command": sweep["wall_s"]}
        parts, cells = sweep["parts"], []
        for name, training in sweep["trainings"].items():
            step, forward = per_image(training)
            least = epochs * (parts["train"] * step + parts["valid"] * forward)
            # Seconds of the sweep's own steps ÷ those of the fixed batch, each after the other.
            ratio = ratio_text(ratio_of(training["fixed"], training["steps"]))
            trained = f"{training['trained_s']:.1f}"
            cells.append([name, f"{least:.1f}", trained, ratio.replace("rounds", "steps")])
        header = ["variant", "limit, s", "trained in, s", "a step ÷ that of the fixed batch"]
        tables += [
            (
                f"Sweep {number}: what the limit is made of. The command says, with "
                f"{sweep['beside_s']:.1f} s of measuring the limit in its training, validation and "
                f"test part, and its imports before that: {sweep['costs']}.",
                ["part", "seconds"],
                [[what, f"{seconds:.1f}"] for what, seconds in summed.items()],
            ),
            (f"Sweep {number}: training and validation of each variant.", header, cells),
        ]
    return tables
