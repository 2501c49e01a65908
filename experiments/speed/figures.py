"""Pictures of the speed experiments; each names the device in its title."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records.plot import BLUE, GREEN, GREY, ORANGE, new_figure, save
from experiments.record import Record
from experiments.speed.common import device, ratio_of
from experiments.speed.race import BEST, FIXED, FIXED_TOO, OURS, OURS_TOO, TIMM, steady

COLOURS = {OURS: BLUE, OURS_TOO: BLUE, FIXED: GREY, FIXED_TOO: GREY, TIMM: ORANGE, BEST: GREEN}
MARKERS = {OURS: "o", OURS_TOO: "D", FIXED: "|", FIXED_TOO: "x", TIMM: "s", BEST: "^"}
GRID = {"color": "#dddddd", "linewidth": 0.6}


def relative(record: Record, contenders: Sequence[str], reference: str, path: Path) -> Path:
    """Speed of each contender in per cent of the reference's, with 95 % intervals, by model."""
    outcome = record["outcome"]
    figure = new_figure(9, 1.5 + 0.5 * len(outcome))
    axes = figure.subplots()
    axes.axvline(100, color=GREY, linewidth=1.2, label=reference)
    shown = [name for name in contenders if name != reference]
    for step, name in enumerate(shown):
        ratios = [ratio_of(steady(one, name), steady(one, reference)) for one in outcome]
        middles = [100 * ratio.ratio for ratio in ratios]
        below = [100 * (ratio.ratio - (ratio.low or ratio.ratio)) for ratio in ratios]
        above = [100 * ((ratio.high or ratio.ratio) - ratio.ratio) for ratio in ratios]
        axes.errorbar(
            middles,
            [place + 0.2 * (step - (len(shown) - 1) / 2) for place in range(len(outcome))],
            xerr=[below, above],
            color=COLOURS[name],
            marker=MARKERS[name],
            linestyle="none",
            markersize=5,
            capsize=3,
            label=name,
        )
    axes.set_yticks(range(len(outcome)), [one["variant"] for one in outcome])
    axes.set_ylim(len(outcome) - 0.5, -0.5)
    axes.set_xlabel("speed of steady training epochs, % of the fixed batch (95 % interval)")
    axes.set_ylabel("model")
    axes.grid(True, axis="x", **GRID)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return _titled(figure, record, path)


def epochs(record: Record, contenders: Sequence[str], path: Path) -> Path:
    """Images/s by epoch, a panel for each model."""
    outcome = record["outcome"]
    columns = min(2, len(outcome))
    lines = -(-len(outcome) // columns)
    figure = new_figure(9, 0.8 + 2.6 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, one in zip(panels, outcome, strict=False):
        for name in contenders:
            epochs_seconds = zip(*one["seconds"][name], strict=True)
            speeds = [one["images"] / statistics.median(each) for each in epochs_seconds]
            axes.plot(
                range(1, len(speeds) + 1),
                speeds,
                color=COLOURS[name],
                marker=MARKERS[name],
                markersize=4,
                linewidth=1.2,
                label=name,
            )
        axes.set_title(f"{one['variant']}, batch {one['batch_size']}", fontsize=10)
        axes.set_xlabel("epoch (1: cold)")
        axes.set_ylim(bottom=0)
        axes.grid(True, **GRID)
    for axes in list(figure.axes)[len(outcome) :]:
        axes.set_axis_off()
    figure.supylabel("training, images/s", fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3)
    return _titled(figure, record, path)


def memory(record: Record, path: Path) -> Path:
    """Highest anonymous memory of every epoch of the sweeps, in order."""
    figure = new_figure(9, 3.8)
    axes = figure.subplots()
    for case, colour in zip(record["outcome"], (BLUE, ORANGE), strict=False):
        values = [one["with_children_mb"] for one in case["epochs"]]
        label = f"{case['images']:,} images"
        places = range(1, len(values) + 1)
        axes.plot(places, values, color=colour, marker="o", markersize=4, label=label)
    longest = max(record["outcome"], key=lambda case: len(case["epochs"]))["epochs"]
    names = [f"{one['variant']}\nepoch {one['epoch']}" for one in longest]
    axes.set_xticks(range(1, len(names) + 1), names, fontsize=7, rotation=60, ha="right")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epochs of the sweep, in order")
    axes.set_ylabel("anonymous memory, MB")
    axes.grid(True, **GRID)
    axes.legend(fontsize=8)
    return _titled(figure, record, path)


def differences(record: Record, path: Path) -> Path:
    """Difference of macro-F1 of every seed, and the mean's interval, by data set."""
    figure = new_figure(9, 3.4)
    axes = figure.subplots()
    margin = record["parameters"]["margin_points"]
    axes.axhspan(-margin, margin, color="#e6efe6", label=f"±{margin:g} points")
    axes.axhline(0, color=GREY, linewidth=0.8)
    for (name, found), colour in zip(record["outcome"].items(), (BLUE, ORANGE), strict=False):
        pairs = zip(found["ours"], found["plain"], strict=True)
        points = [100 * (ours - plain) for ours, plain in pairs]
        axes.plot(
            range(1, len(points) + 1),
            points,
            color=colour,
            marker="o",
            linestyle="none",
            markersize=4,
            label=name,
        )
    axes.set_xlabel("pair of runs (one seed each)")
    axes.set_ylabel("macro-F1, ours − plain, points")
    axes.grid(True, axis="y", **GRID)
    axes.legend(fontsize=8)
    return _titled(figure, record, path)


def cost(record: Record, what: str, path: Path) -> Path:
    """Wall time of commands over what grows, and the part of it that is training."""
    cases = record["outcome"][what]
    figure = new_figure(6.5, 3.6)
    axes = figure.subplots()
    for key, label, colour in (
        ("wall_s", "whole command", BLUE),
        ("training_s", "training and validation", ORANGE),
    ):
        places = [one[what] for one in cases]
        axes.plot(places, [one[key] for one in cases], color=colour, marker="o", label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(what)
    axes.set_ylabel("wall time, s")
    axes.grid(True, **GRID)
    axes.legend(fontsize=8)
    return _titled(figure, record, path)


def _titled(figure: Any, record: Record, path: Path) -> Path:
    quick = ", QUICK RUN" if record.get("quick") else ""
    figure.suptitle(f"{device(record)}{quick}", fontsize=9)
    return save(figure, path)
