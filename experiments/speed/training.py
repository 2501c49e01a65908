"""Training epochs of ours, of timm's procedure and of the bare step, in turn on the same files.

timm's procedure is timed with its defaults (contiguous format, default allocator) and with its best
settings (channels-last, allocator set by the environment), and these beside ours in the same
environment. Otherwise ours and the fixed batch run as the harness runs: they are given none. The
first epoch of ours hashes the files, builds the cache and measures a step; it is shown
apart from the steady ones.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping

from experiments import figures
from experiments.contenders.race import (
    BEST,
    FIXED,
    FIXED_TOO,
    OURS,
    OURS_TOO,
    QUICK_RACE,
    TIMM,
    entry,
    race_all,
    steady,
)
from experiments.rows import Row, speed_row
from experiments.speed.turns import FINER
from experiments.suite import Record, Tables

RESUMES = True
FIGURES = {
    "training.png": ("Speed of training relative to the fixed batch", figures.relative),
    "training_epochs.png": (
        "Images/s of training by epoch; the first one is cold",
        figures.epochs,
    ),
}
CONTENDERS = (OURS, OURS_TOO, FIXED, FIXED_TOO, TIMM, BEST)
PARAMETERS = {
    "repetitions": 6,
    "steady_epochs": 2,
    "image_size": 224,
    "entries": [
        entry("MobileNetV3_Small", 32, 384),
        entry("ResNet18", 32, 96),
        entry("EfficientNetV2_S", 16, 64),
        # Six contenders of EfficientNet-Lite0 at this batch do not fit in 24 GB.
        entry("ResNet18_Hybrid", 32, 96),
    ],
    "contenders": list(CONTENDERS),
    "timm_workers": 4,
}
QUICK = QUICK_RACE
measure = functools.partial(race_all, CONTENDERS)
LEAST_OF_FIXED = 0.95
LEAST = {
    "MobileNetV3_Small": {(OURS, TIMM): 1.8, (OURS_TOO, BEST): 1.4},
    "ResNet18": {(OURS, TIMM): 1.05, (OURS_TOO, BEST): 1.0},
    "EfficientNetV2_S": {(OURS, TIMM): 1.25, (OURS_TOO, BEST): 1.08},
}
# What of ours is compared with whom, in words.
AGAINST = {
    (OURS, FIXED): "ours ÷ the fixed batch",
    (OURS, TIMM): "ours ÷ timm's procedure, its defaults",
    (OURS_TOO, BEST): "ours ÷ timm's procedure, its best settings, both in its environment",
    (OURS, BEST): "ours as it comes ÷ timm's procedure, its best settings",
    # What no handling of data can pass.
    (FIXED, TIMM): "the fixed batch ÷ timm's procedure, its defaults",
    (FIXED, BEST): "the fixed batch ÷ timm's procedure, its best settings",
    (FIXED, FIXED_TOO): "the fixed batch ÷ itself (A/A)",
}


def rows(record: Record) -> list[Row]:
    """Each model against each of the others, steady epochs."""
    return [
        race_row(record, model, pair, f", ours {model['memory_format'].replace('_', '-')}")
        for model in record["outcome"]
        for pair in AGAINST
    ]


def race_row(record: Record, model: Record, pair: tuple[str, str], more: str = "") -> Row:
    """Two contenders that trained one model, steady epochs.

    Args:
        record: of the race.
        model: its part of the outcome.
        pair: of :data:`AGAINST`.
        more: how it was made besides.
    """
    variant = model["variant"]
    bars: Mapping[tuple[str, str], float] = LEAST.get(variant, {})
    if variant not in FINER:
        bars = {**bars, (OURS, FIXED): LEAST_OF_FIXED}
    ours, theirs = (steady(model, name) for name in pair)
    made = (
        f"steady epochs of {model['images']} images, batch {model['batch_size']}, "
        f"{record['parameters']['image_size']} pixels{more}"
    )
    return speed_row(f"{variant}: {AGAINST[pair]}", ours, theirs, bars.get(pair), made)


def details(record: Record) -> Tables:
    """Images/s of every epoch, over the processes."""
    cells = []
    for model in record["outcome"]:
        for name, processes in model["seconds"].items():
            speeds = [
                [model["images"] / seconds for seconds in epoch]
                for epoch in zip(*processes, strict=True)
            ]
            by_epoch = [
                f"{statistics.median(each):.1f} ({min(each):.1f}–{max(each):.1f})"
                for each in speeds
            ]
            faults = statistics.median(each[-1] for each in model["faults"][name])
            cells.append([model["variant"], name, *by_epoch, f"{faults:,.0f}"])
    epochs = [f"epoch {number}" for number in range(2, record["parameters"]["steady_epochs"] + 2)]
    header = ["model", "contender", "epoch 1 (cold)", *epochs, "page faults a step"]
    return [("Images/s of training by epoch: median (range) over processes.", header, cells)]
