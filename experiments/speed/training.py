"""Training epochs of ours, of timm's procedure and of the bare step, in turn on the same files.

timm's procedure is timed with its defaults (contiguous format, default allocator) and with its best
settings (channels-last, allocator set by the environment), and these beside ours in the same
environment. Otherwise ours and the fixed batch run as the harness runs: they are given none. The
first epoch of ours hashes the files, builds the cache and measures a step; it is shown
apart from the steady ones.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import attrs

from experiments.record import Record, Row
from experiments.speed import figures
from experiments.speed.common import head, speed_row
from experiments.speed.pictures import pictures
from experiments.speed.race import (
    BEST,
    FIXED,
    FIXED_TOO,
    OURS,
    OURS_TOO,
    TIMM,
    Entry,
    Kept,
    race,
    steady,
)
from experiments.speed.turns import FINER

RESUMES = True
NAME = "training"
CONTENDERS = (OURS, OURS_TOO, FIXED, FIXED_TOO, TIMM, BEST)
REPETITIONS = 6
STEADY_EPOCHS = 2
IMAGE_SIZE = 224
VALID_IMAGES = 10
ENTRIES = (
    Entry("MobileNetV3_Small", 32, 384),
    Entry("ResNet18", 32, 96),
    Entry("EfficientNetV2_S", 16, 64),
    # Six contenders of EfficientNet-Lite0 at this batch do not fit in 24 GB.
    Entry("ResNet18_Hybrid", 32, 96),
)
LEAST = {(OURS, FIXED): 0.95}
LEAST_OF = {
    "MobileNetV3_Small": {(OURS, TIMM): 1.8, (OURS_TOO, BEST): 1.4},
    "ResNet18": {(OURS, TIMM): 1.05, (OURS_TOO, BEST): 1.0},
    "EfficientNetV2_S": {(OURS, TIMM): 1.25, (OURS_TOO, BEST): 1.08},
}
# What of ours is compared with whom, in words.
AGAINST = (
    (OURS, FIXED, "ours ÷ the fixed batch"),
    (OURS, TIMM, "ours ÷ timm's procedure, its defaults"),
    (OURS_TOO, BEST, "ours ÷ timm's procedure, its best settings, both in its environment"),
    (OURS, BEST, "ours as it comes ÷ timm's procedure, its best settings"),
    # What no handling of data can pass.
    (FIXED, TIMM, "the fixed batch ÷ timm's procedure, its defaults"),
    (FIXED, BEST, "the fixed batch ÷ timm's procedure, its best settings"),
    (FIXED, FIXED_TOO, "the fixed batch ÷ itself (A/A)"),
)


def run(quick: bool, keep: Path | None = None) -> dict[str, Any]:
    """Race all models; ``quick``: MobileNetV3-Small at 32 pixels, 64 images, once."""
    repetitions, size = (1, 32) if quick else (REPETITIONS, IMAGE_SIZE)
    entries = (Entry("MobileNetV3_Small", 16, 64),) if quick else ENTRIES
    parameters = {
        "repetitions": repetitions,
        "steady_epochs": STEADY_EPOCHS,
        "image_size": size,
        "entries": [attrs.asdict(entry) for entry in entries],
        "contenders": list(CONTENDERS),
        "timm_workers": 4,
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
    """Each model against each of the others, steady epochs."""
    found = []
    for one in record["outcome"]:
        made = (
            f"steady epochs of {one['images']} images, batch {one['batch_size']}, "
            f"{record['parameters']['image_size']} pixels, ours {_format(one)}"
        )
        bars = {} if one["variant"] in FINER else LEAST
        bars = {**bars, **LEAST_OF.get(one["variant"], {})}
        for ours, theirs, words in AGAINST:
            least = bars.get((ours, theirs))
            bar = f"{one['variant']}: {words}"
            found.append(speed_row(bar, steady(one, ours), steady(one, theirs), least, made))
    return found


def _format(one: Record) -> str:
    return one["memory_format"].replace("_", "-")


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): images/s of every epoch, over the processes."""
    cells = []
    for one in record["outcome"]:
        for name, processes in one["seconds"].items():
            by_epoch = [
                _spread([one["images"] / seconds for seconds in epochs])
                for epochs in zip(*processes, strict=True)
            ]
            faults = statistics.median(each[-1] for each in one["faults"][name])
            cells.append([one["variant"], name, *by_epoch, f"{faults:,.0f}"])
    epochs = [f"epoch {number}" for number in range(2, record["parameters"]["steady_epochs"] + 2)]
    header = ["model", "contender", "epoch 1 (cold)", *epochs, "page faults a step"]
    return [("Images/s of training by epoch: median (range) over processes.", header, cells)]


def _spread(speeds: list[float]) -> str:
    return f"{statistics.median(speeds):.1f} ({min(speeds):.1f}–{max(speeds):.1f})"


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
