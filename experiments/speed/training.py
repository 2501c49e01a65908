"""Training epochs of ours, of timm's procedure and of the bare step, in turn on the same files.

timm's procedure is timed with its defaults (contiguous format, default allocator) and with its best
settings (channels-last, allocator set by the environment). Ours and the fixed batch run as the
harness runs: they are given no environment. The first epoch of ours hashes the files, builds the
cache and measures the memory format; it is shown apart from the steady ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from experiments.speed import figures
from experiments.speed.common import Record, Row, head, speed_row
from experiments.speed.pictures import pictures
from experiments.speed.race import BEST, FIXED, OURS, TIMM, Entry, race, steady

NAME = "training"
CONTENDERS = (OURS, FIXED, TIMM, BEST)
ROUNDS = 7
IMAGE_SIZE = 224
VALID_IMAGES = 10
ENTRIES = (
    Entry("MobileNetV3_Small", 32, 576),
    Entry("ResNet18", 32, 128),
    Entry("EfficientNetV2_S", 16, 64),
    Entry("EfficientNet_Lite0_CA", 32, 256),
)
LEAST = {FIXED: 0.95}
LEAST_OF = {
    "MobileNetV3_Small": {TIMM: 1.8, BEST: 1.4},
    "ResNet18": {TIMM: 1.05, BEST: 1.0},
    "EfficientNetV2_S": {TIMM: 1.25, BEST: 1.08},
}
AGAINST = {
    FIXED: "the fixed batch",
    TIMM: "timm's procedure, its defaults",
    BEST: "timm's procedure, its best settings",
}


def run(quick: bool) -> dict[str, Any]:
    """Race all models; ``quick``: MobileNetV3-Small at 32 pixels, 64 images, two rounds."""
    rounds, size = (2, 32) if quick else (ROUNDS, IMAGE_SIZE)
    entries = (Entry("MobileNetV3_Small", 16, 64),) if quick else ENTRIES
    parameters = {
        "rounds": rounds,
        "image_size": size,
        "entries": [attrs.asdict(entry) for entry in entries],
        "contenders": list(CONTENDERS),
        "timm_workers": 4,
    }
    record = head(NAME, quick, parameters)
    record["outcome"] = [
        race(
            entry,
            CONTENDERS,
            data_dir=pictures({"train": entry.images, "valid": VALID_IMAGES}),
            image_size=size,
            rounds=rounds,
            # One thread suffers less from whatever runs beside a quick run.
            threads=1 if quick else None,
        )
        for entry in entries
    ]
    return record


def rows(record: Record) -> list[Row]:
    """Each model against each of the others, steady epochs."""
    found = []
    for one in record["outcome"]:
        made = (
            f"steady epochs of {one['images']} images, batch {one['batch_size']}, "
            f"{record['parameters']['image_size']} pixels, ours {_format(one)}"
        )
        for contender, words in AGAINST.items():
            least = {**LEAST, **LEAST_OF.get(one["variant"], {})}.get(contender)
            bar = f"{one['variant']}: ours ÷ {words}"
            ours, theirs = steady(one, OURS), steady(one, contender)
            found.append(speed_row(bar, ours, theirs, least, made))
    return found


def _format(one: Record) -> str:
    return one["memory_format"].replace("_", "-")


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): images/s of the first, the third and all steady epochs."""
    cells = []
    for one in record["outcome"]:
        for name, seconds in one["seconds"].items():
            speeds = [one["images"] / s for s in seconds]
            ordered = sorted(speeds[1:])
            third = f"{speeds[2]:.1f}" if len(speeds) > 2 else "–"
            middle = ordered[len(ordered) // 2]
            spread = f"{middle:.1f} ({ordered[0]:.1f}–{ordered[-1]:.1f})"
            cells.append([one["variant"], name, f"{speeds[0]:.1f}", third, spread])
    header = ["model", "contender", "epoch 1 (cold)", "epoch 3", "steady: median (range)"]
    return [("Images/s of training by epoch.", header, cells)]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Speeds relative to the limit, and by epoch, as (what is seen, file)."""
    return [
        (
            "Speed of training relative to the fixed batch",
            figures.relative(record, CONTENDERS, FIXED, folder / "training.png"),
        ),
        (
            "Images/s of training by epoch; the first one is cold",
            figures.epochs(record, CONTENDERS, folder / "training_epochs.png"),
        ),
    ]
