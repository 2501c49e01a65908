"""Steady training epochs of ours against the same step on a fixed batch, for those of the ten
variants that the training race does not have: it makes the same comparison.
"""

from __future__ import annotations

import functools

from experiments import figures
from experiments.contenders.race import (
    FIXED,
    OURS,
    QUICK_RACE,
    entry,
    race_all,
)
from experiments.rows import Row
from experiments.speed.training import race_row
from experiments.suite import Record

RESUMES = True
FIGURES = {"limit.png": ("Speed of training relative to the fixed batch", figures.relative)}
CONTENDERS = (OURS, FIXED)
PARAMETERS = {
    "repetitions": 6,
    "steady_epochs": 1,
    "image_size": 224,
    "entries": [
        entry("EfficientNetV2_S_CA", 16, 64),
        entry("EfficientNetV2_S_ECA", 16, 64),
        entry("EfficientNetV2_S_BoTLinear", 16, 64),
        entry("EfficientNetV2_S_Hybrid", 16, 64),
        entry("EfficientNet_Lite0_CA", 32, 128),
        entry("EfficientNet_Lite0", 32, 128),
    ],
}
QUICK = QUICK_RACE
measure = functools.partial(race_all, CONTENDERS)


def rows(record: Record) -> list[Row]:
    """One row for each variant."""
    return [race_row(record, model, CONTENDERS) for model in record["outcome"]]
