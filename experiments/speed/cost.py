"""What a run takes as it grows: wall time of whole commands over images, epochs and variants."""

from __future__ import annotations

import functools

import numpy as np

from experiments import figures
from experiments.commands import Ended, epoch_seconds, train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, Tables, trace

NAMES = (
    "MobileNetV3_Small", "EfficientNet_Lite0", "ResNet18", "EfficientNet_Lite0_CA",
    "ResNet18_Hybrid", "EfficientNetV2_S", "EfficientNetV2_S_ECA", "EfficientNetV2_S_CA",
    "EfficientNetV2_S_BoTLinear", "EfficientNetV2_S_Hybrid",
)  # fmt: skip
PARAMETERS = {"image_size": 64, "batch_size": 32}
QUICK = {"batch_size": 8}
# (images, epochs, variants) of each command, by what grows.
KEYS = ("images", "epochs", "variants")
GROWING = {
    "images": [(images, 2, 1) for images in (500, 1000, 2000, 4000, 8000)],
    "epochs": [(1000, epochs, 1) for epochs in (1, 2, 4, 8)],
    "variants": [(300, 1, variants) for variants in (1, 2, 4, 7, 10)],
}
FIGURES = {
    f"cost_{what}.png": (f"Wall time over {what}", functools.partial(figures.cost, what=what))
    for what in GROWING
}
QUICK_GROWING = {
    "images": [(60, 1, 1), (120, 1, 1)],
    "epochs": [(60, 1, 1), (60, 2, 1)],
    "variants": [(60, 1, 1), (60, 1, 2)],
}


def measure(chosen: Record) -> Json:
    """Run all commands, each with an empty cache; a quick run the smallest."""
    outcome: dict[str, list[Json]] = {}
    # The first command of all reads the libraries' files from the disk; it is not counted.
    _command(chosen, (60, 1, 1))
    for what, cases in (QUICK_GROWING if chosen["quick"] else GROWING).items():
        outcome[what] = []
        for case in cases:
            ended = _command(chosen, case)
            training = sum(map(epoch_seconds, ended.records))
            seconds = {"wall_s": ended.seconds, "training_s": training}
            outcome[what].append(dict(zip(KEYS, case, strict=True)) | seconds)
            trace("{:,} images, {} epochs, {} variants: {:.1f} s".format(*case, ended.seconds))
    return {"outcome": outcome}


def _command(chosen: Record, case: tuple[int, int, int]) -> Ended:
    images, epochs, count = case
    grown = {**chosen, "images": images, "epochs": epochs, "variants": NAMES[:count]}
    return train(training_flags(grown))


def line(cases: list[Json], what: str) -> tuple[float, float]:
    """Least-squares line of wall time over what grows: seconds for nothing, seconds for one."""
    slope, start = np.polyfit([case[what] for case in cases], [case["wall_s"] for case in cases], 1)
    return float(start), float(slope)


def rows(record: Record) -> list[Row]:
    """One line through the commands of each kind; for variants they differ in size, so none."""
    result = []
    for what, other, number, unit in (
        ("images", "epochs", 1000, "1,000 images"),
        ("epochs", "images", 1, "epoch"),
    ):
        cases = record["outcome"][what]
        start, slope = line(cases, what)
        result.append(
            Row(
                f"Cost over {what}",
                "informs",
                f"{start:.1f} s + {number * slope:.2f} s for each {unit}",
                None,
                f"whole commands, {NAMES[0]} at {record['parameters']['image_size']} pixels, "
                f"{cases[0][other]} {other}, empty cache, --no-timing",
            )
        )
    return result


def details(record: Record) -> Tables:
    """Every command."""
    cells = [
        [what, *(f"{case[key]:,}" for key in KEYS), f"{case['wall_s']:.1f}",
         f"{case['training_s']:.1f}", f"{case['wall_s'] - case['training_s']:.1f}"]
        for what, cases in record["outcome"].items()
        for case in cases
    ]  # fmt: skip
    header = ["grows", *KEYS, "wall time, s", "training, s", "all else, s"]
    return [(f"Every command; variants are the first of {', '.join(NAMES)}.", header, cells)]
