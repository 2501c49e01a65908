"""Host memory of a sweep over 8,000 images: anonymous memory by epoch and variant.

Anonymous memory is what a process holds for itself; a mapped cache is not in it. It is read from
the process every half second, and every epoch is given its highest value.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.record import Record, Row, trace
from experiments.speed import figures
from experiments.speed.commands import Done, run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "memory"
VARIANTS = ("MobileNetV3_Small", "EfficientNet_Lite0")
IMAGES, FEW = 8000, 1000
IMAGE_SIZE = 96
BATCH_SIZE = 32
EPOCHS = 3
SEEDS = 2
MOST_GROWTH = 0.05
# Lists of paths and labels grow with the images; pixels must not come into it.
MOST_LOADED = 0.25
_EPOCH = re.compile(r"^(?P<variant>\S+)\s+epoch (?P<epoch>\d+)/\d+")


def run(quick: bool) -> dict[str, Any]:
    """Sweep over many and over few images; ``quick``: 120 and 60, one variant at 32 pixels."""
    names = VARIANTS[:1] if quick else VARIANTS
    sizes, pixels, batch = ((120, 60), 32, 8) if quick else ((IMAGES, FEW), IMAGE_SIZE, BATCH_SIZE)
    parameters = {
        "variants": list(names),
        "images": list(sizes),
        "image_size": pixels,
        "batch_size": batch,
        "epochs": EPOCHS,
        "seeds": SEEDS,
    }
    record = head(NAME, quick, parameters)
    outcome = []
    for images in sizes:
        with tempfile.TemporaryDirectory() as cache:
            done = run_bench(
                [
                    "--variants", ",".join(names), "--data-dir", str(pictures(images)),
                    "--image-size", str(pixels), "--batch-size", str(batch),
                    "--epochs", str(EPOCHS), "--patience", str(EPOCHS), "--seeds", str(SEEDS),
                ],
                cache=Path(cache),
                watch_memory=True,
            )  # fmt: skip
        outcome.append({"images": images, "epochs": by_epoch(done), "seconds": done.seconds})
        trace(f"memory: {images:,} images took {done.seconds:.0f} s")
    return {**record, "outcome": outcome}


def by_epoch(done: Done) -> list[dict[str, Any]]:
    """The highest anonymous memory of each epoch, from the lines that say when it ended."""
    found, begin = [], 0.0
    for end, line in done.lines:
        match = _EPOCH.match(line)
        # What comes before a variant's first epoch (checks, decode, building) counts as its own.
        if match is None:
            continue
        inside = [sample for sample in done.memory if begin <= sample[0] < end]
        # An epoch between two samples has the one before it.
        inside = inside or [sample for sample in done.memory if sample[0] < end][-1:]
        if inside:
            found.append(
                {
                    "variant": match["variant"],
                    "epoch": int(match["epoch"]),
                    "own_mb": max(sample[1] for sample in inside),
                    "with_children_mb": max(sample[2] for sample in inside),
                }
            )
        begin = end
    return found


def growth(epochs: Sequence[Record], variants: int, key: str) -> tuple[float, float]:
    """Largest relative growth: from a run's second epoch to its last, and from the
    first seed's pass over all variants to the last one's.

    Args:
        epochs: of all runs, in order.
        variants: how many each pass has.
        key: which memory.
    """
    runs: list[list[float]] = []
    for one in epochs:
        if one["epoch"] == 1:
            runs.append([])
        runs[-1].append(one[key])
    # The first epoch of a sweep's first run still builds up what a process keeps for ever.
    within = max(run[-1] / run[min(1, len(run) - 1)] - 1 for run in runs)
    passes = [max(map(max, runs[n : n + variants])) for n in range(0, len(runs), variants)]
    return within, passes[-1] / passes[0] - 1


def rows(record: Record) -> list[Row]:
    """Growth over epochs, over passes and over the number of images."""
    parameters = record["parameters"]
    many, few = record["outcome"]
    count = len(parameters["variants"])
    within, between = growth(many["epochs"], count, "with_children_mb")
    peaks = [max(one["with_children_mb"] for one in case["epochs"]) for case in (many, few)]
    image_mb = parameters["image_size"] ** 2 * 3 / 1e6
    pixels, extra = many["images"] * image_mb, (many["images"] - few["images"]) * image_mb
    made = (
        f"{many['images']:,} images at {parameters['image_size']} pixels ({pixels:,.0f} MB "
        f"decoded), {count} variants, {parameters['epochs']} epochs, {parameters['seeds']} seeds, "
        "process and children"
    )
    required = f"at most {100 * MOST_GROWTH:g} %"
    return [
        Row(
            "Growth of anonymous memory over epochs, second to last, worst run",
            required,
            f"{100 * within:+.1f} %",
            within <= MOST_GROWTH,
            made,
        ),
        Row(
            "Growth of anonymous memory from the first to the last pass over all variants",
            required,
            f"{100 * between:+.1f} %",
            between <= MOST_GROWTH,
            made,
        ),
        Row(
            f"Peak anonymous memory with {many['images']:,} images, with {few['images']:,}: the "
            "decoded images are mapped, not loaded",
            f"differ by less than {100 * MOST_LOADED:g} % of the {extra:,.0f} MB more pixels",
            f"{peaks[0]:,.0f} MB, {peaks[1]:,.0f} MB ({peaks[0] - peaks[1]:+,.0f} MB)",
            peaks[0] - peaks[1] < MOST_LOADED * extra,
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every epoch."""
    cells = [
        [
            f"{case['images']:,}",
            one["variant"],
            str(one["epoch"]),
            f"{one['own_mb']:,.0f}",
            f"{one['with_children_mb']:,.0f}",
        ]
        for case in record["outcome"]
        for one in case["epochs"]
    ]
    header = ["images", "variant", "epoch", "process, MB", "with children, MB"]
    return [("Highest anonymous memory of each epoch, in order.", header, cells)]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Memory over the sweep, as (what is seen, file)."""
    path = figures.memory(record, folder / "memory.png")
    return [("Anonymous memory over the epochs of a sweep", path)]
