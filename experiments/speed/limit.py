"""Steady training epochs of ours against the same step on a fixed batch, for those of the ten
variants that the training race does not have: it makes the same comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from experiments.record import Record, Row
from experiments.speed import figures
from experiments.speed.common import head, speed_row
from experiments.speed.pictures import pictures
from experiments.speed.race import FIXED, OURS, Entry, Kept, race, steady
from experiments.speed.turns import FINER

RESUMES = True
NAME = "limit"
CONTENDERS = (OURS, FIXED)
REPETITIONS = 6
STEADY_EPOCHS = 1
IMAGE_SIZE = 224
VALID_IMAGES = 10
LEAST = 0.95
ENTRIES = (
    Entry("EfficientNetV2_S_CA", 16, 64),
    Entry("EfficientNetV2_S_ECA", 16, 64),
    Entry("EfficientNetV2_S_BoTLinear", 16, 64),
    Entry("EfficientNetV2_S_Hybrid", 16, 64),
    Entry("EfficientNet_Lite0_CA", 32, 128),
    Entry("EfficientNet_Lite0", 32, 128),
)


def run(quick: bool, keep: Path | None = None) -> dict[str, Any]:
    """Race them; ``quick``: MobileNetV3-Small at 32 pixels, 64 images, once."""
    repetitions, size = (1, 32) if quick else (REPETITIONS, IMAGE_SIZE)
    entries = (Entry("MobileNetV3_Small", 16, 64),) if quick else ENTRIES
    parameters = {
        "repetitions": repetitions,
        "steady_epochs": STEADY_EPOCHS,
        "image_size": size,
        "entries": [attrs.asdict(entry) for entry in entries],
    }
    record = head(NAME, quick, parameters)
    kept = Kept(keep, record)
    record["outcome"] = [
        race(
            entry,
            CONTENDERS,
            data_dir=pictures({"train": entry.images, "valid": VALID_IMAGES}),
            image_size=size,
            repetitions=repetitions,
            steady_epochs=STEADY_EPOCHS,
            kept=kept,
            # One thread suffers less from whatever runs beside a quick run.
            threads=1 if quick else None,
        )
        for entry in entries
    ]
    return record


def rows(record: Record) -> list[Row]:
    """One row for each variant."""
    return [
        speed_row(
            f"{one['variant']}: ours ÷ the fixed batch",
            steady(one, OURS),
            steady(one, FIXED),
            None if one["variant"] in FINER else LEAST,
            f"steady epochs of {one['images']} images, batch {one['batch_size']}, "
            f"{record['parameters']['image_size']} pixels",
        )
        for one in record["outcome"]
    ]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Speeds relative to the limit, as (what is seen, file)."""
    path = figures.relative(record, CONTENDERS, FIXED, folder / "limit.png")
    return [("Speed of training relative to the fixed batch", path)]
