"""Host memory of a sweep over 8,000 images: anonymous memory by epoch and variant.

Anonymous memory is what a process holds for itself; a mapped cache is not in it. It is read from
the process every half second, and every epoch is given its highest value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from experiments import figures
from experiments.commands import Ended, train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, Tables, trace

PARAMETERS = {
    "variants": ["MobileNetV3_Small", "EfficientNet_Lite0"],
    "images": [8000, 1000],
    "image_size": 96,
    "batch_size": 32,
    "epochs": 3,
    "seeds": 2,
}
QUICK = {
    "variants": ["MobileNetV3_Small"],
    "images": [120, 60],
    "image_size": 32,
    "batch_size": 8,
}
FIGURES = {"memory.png": ("Anonymous memory over the epochs of a sweep", figures.memory)}
MOST_GROWTH = 0.05
# Lists of paths and labels grow with the images; pixels must not come into it.
MOST_LOADED = 0.25
_EPOCH = re.compile(r"^(?P<variant>\S+)\s+epoch (?P<epoch>\d+)/\d+")


def measure(chosen: Record) -> Json:
    """Sweep over many and over few images."""
    outcome = []
    for images in chosen["images"]:
        arguments = training_flags({**chosen, "images": images}, seeds=chosen["seeds"])
        ended = train(arguments, watch_memory=True)
        outcome.append({"images": images, "epochs": by_epoch(ended), "seconds": ended.seconds})
        trace(f"memory: {images:,} images took {ended.seconds:.0f} s")
    return {"outcome": outcome}


def by_epoch(ended: Ended) -> list[Json]:
    """The highest anonymous memory of each epoch, from the lines that say when it ended."""
    epochs, begin = [], 0.0
    for end, line in ended.lines:
        match = _EPOCH.match(line)
        # What comes before a variant's first epoch (checks, decode, building) counts as its own.
        if match is None:
            continue
        before = [sample for sample in ended.memory if sample[0] < end]
        # An epoch between two samples has the one before it.
        inside = [sample for sample in before if begin <= sample[0]] or before[-1:]
        if inside:
            _, parent, whole = map(max, zip(*inside, strict=True))
            epoch = {"variant": match["variant"], "epoch": int(match["epoch"])}
            epochs.append(epoch | {"own_mb": parent, "with_children_mb": whole})
        begin = end
    return epochs


def growth(epochs: Sequence[Record], variants: int) -> tuple[float, float]:
    """Largest relative growth: from a run's second epoch to its last, and from the
    first seed's pass over all variants to the last one's.

    Args:
        epochs: of all runs, in order.
        variants: how many each pass has.
    """
    runs: list[list[float]] = []
    for epoch in epochs:
        if epoch["epoch"] == 1:
            runs.append([])
        runs[-1].append(epoch["with_children_mb"])
    # The first epoch of a sweep's first run still builds up what a process keeps for ever.
    within = max(run[-1] / run[min(1, len(run) - 1)] - 1 for run in runs)
    passes = [max(map(max, runs[n : n + variants])) for n in range(0, len(runs), variants)]
    return within, passes[-1] / passes[0] - 1


def rows(record: Record) -> list[Row]:
    """Growth over epochs, over passes and over the number of images."""
    parameters = record["parameters"]
    many, few = record["outcome"]
    count = len(parameters["variants"])
    image_mb = parameters["image_size"] ** 2 * 3 / 1e6
    pixels, extra = many["images"] * image_mb, (many["images"] - few["images"]) * image_mb
    made = (
        f"{many['images']:,} images at {parameters['image_size']} pixels ({pixels:,.0f} MB "
        f"decoded), {count} variants, {parameters['epochs']} epochs, {parameters['seeds']} seeds, "
        "process and children"
    )
    growths = [
        Row(
            bar,
            f"at most {100 * MOST_GROWTH:g} %",
            f"{100 * each:+.1f} %",
            each <= MOST_GROWTH,
            made,
        )
        for bar, each in zip(
            (
                "Growth of anonymous memory over epochs, second to last, worst run",
                "Growth of anonymous memory from the first to the last pass over all variants",
            ),
            growth(many["epochs"], count),
            strict=True,
        )
    ]
    most, least = (max(e["with_children_mb"] for e in case["epochs"]) for case in (many, few))
    loaded = Row(
        f"Peak anonymous memory with {many['images']:,} images, with {few['images']:,}: the "
        "decoded images are mapped, not loaded",
        f"differ by less than {100 * MOST_LOADED:g} % of the {extra:,.0f} MB more pixels",
        f"{most:,.0f} MB, {least:,.0f} MB ({most - least:+,.0f} MB)",
        most - least < MOST_LOADED * extra,
        made,
    )
    return [*growths, loaded]


def details(record: Record) -> Tables:
    """Every epoch."""
    cells = [
        [
            f"{case['images']:,}",
            epoch["variant"],
            str(epoch["epoch"]),
            f"{epoch['own_mb']:,.0f}",
            f"{epoch['with_children_mb']:,.0f}",
        ]
        for case in record["outcome"]
        for epoch in case["epochs"]
    ]
    header = ["images", "variant", "epoch", "process, MB", "with children, MB"]
    return [("Highest anonymous memory of each epoch, in order.", header, cells)]
