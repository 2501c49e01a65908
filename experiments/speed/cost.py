"""What a run takes as it grows: wall time of whole commands over images, epochs and variants."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.record import Record, Row, trace
from experiments.speed import figures
from experiments.speed.commands import Done, epoch_seconds, run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "cost"
NAMES = (
    "MobileNetV3_Small", "EfficientNet_Lite0", "ResNet18", "EfficientNet_Lite0_CA",
    "ResNet18_Hybrid", "EfficientNetV2_S", "EfficientNetV2_S_ECA", "EfficientNetV2_S_CA",
    "EfficientNetV2_S_BoTLinear", "EfficientNetV2_S_Hybrid",
)  # fmt: skip
IMAGE_SIZE = 64
BATCH_SIZE = 32
# (images, epochs, variants) of each command, by what grows.
GROWING = {
    "images": tuple((images, 2, 1) for images in (500, 1000, 2000, 4000, 8000)),
    "epochs": tuple((1000, epochs, 1) for epochs in (1, 2, 4, 8)),
    "variants": tuple((300, 1, variants) for variants in (1, 2, 4, 7, 10)),
}
QUICK = {
    "images": ((60, 1, 1), (120, 1, 1)),
    "epochs": ((60, 1, 1), (60, 2, 1)),
    "variants": ((60, 1, 1), (60, 1, 2)),
}


def run(quick: bool) -> dict[str, Any]:
    """Run all commands, each with an empty cache; ``quick``: the smallest, at batch 8."""
    growing = QUICK if quick else GROWING
    batch = 8 if quick else BATCH_SIZE
    record = head(NAME, quick, {"image_size": IMAGE_SIZE, "batch_size": batch})
    outcome: dict[str, list[dict[str, Any]]] = {}
    # The first command of all reads the libraries' files from the disk; it is not counted.
    with tempfile.TemporaryDirectory() as cache:
        _command(pictures(60), *QUICK["images"][0][1:], batch, Path(cache))
    for what, cases in growing.items():
        outcome[what] = []
        for images, epochs, count in cases:
            data_dir = pictures(images)
            with tempfile.TemporaryDirectory() as cache:
                done = _command(data_dir, epochs, count, batch, Path(cache))
            outcome[what].append(
                {
                    "images": images,
                    "epochs": epochs,
                    "variants": count,
                    "wall_s": done.seconds,
                    "training_s": sum(map(epoch_seconds, done.records)),
                }
            )
            trace(f"{images:,} images, {epochs} epochs, {count} variants: {done.seconds:.1f} s")
    return {**record, "outcome": outcome}


def _command(data_dir: Path, epochs: int, count: int, batch: int, cache: Path) -> Done:
    return run_bench(
        [
            "--variants", ",".join(NAMES[:count]), "--data-dir", str(data_dir),
            "--image-size", str(IMAGE_SIZE), "--batch-size", str(batch),
            "--epochs", str(epochs), "--patience", str(epochs),
        ],
        cache=cache,
    )  # fmt: skip


def line(cases: list[dict[str, Any]], what: str) -> tuple[float, float]:
    """Least-squares line of wall time over what grows: seconds for nothing, seconds for one."""
    slope, start = np.polyfit([one[what] for one in cases], [one["wall_s"] for one in cases], 1)
    return float(start), float(slope)


def rows(record: Record) -> list[Row]:
    """One line through the commands of each kind; for variants they differ in size, so none."""
    found = []
    for what, each in (("images", "1,000 images"), ("epochs", "epoch")):
        cases = record["outcome"][what]
        start, slope = line(cases, what)
        per = 1000 * slope if what == "images" else slope
        fixed = {"images": f"{cases[0]['epochs']} epochs", "epochs": f"{cases[0]['images']} images"}
        found.append(
            Row(
                f"Cost over {what}",
                "informs",
                f"{start:.1f} s + {per:.2f} s for each {each}",
                None,
                f"whole commands, {NAMES[0]} at {record['parameters']['image_size']} pixels, "
                f"{fixed[what]}, empty cache, --no-timing",
            )
        )
    return found


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every command."""
    keys = ("images", "epochs", "variants")
    cells = [
        [what, *(f"{one[key]:,}" for key in keys), f"{one['wall_s']:.1f}",
         f"{one['training_s']:.1f}", f"{one['wall_s'] - one['training_s']:.1f}"]
        for what, cases in record["outcome"].items()
        for one in cases
    ]  # fmt: skip
    header = ["grows", *keys, "wall time, s", "training, s", "all else, s"]
    caption = f"Every command; variants are the first of {', '.join(NAMES)}."
    return [(caption, header, cells)]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Wall time over images, epochs and variants, as (what is seen, file)."""
    return [
        (f"Wall time over {what}", figures.cost(record, what, folder / f"cost_{what}.png"))
        for what in record["outcome"]
    ]
