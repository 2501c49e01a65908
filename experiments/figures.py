"""Pictures of the experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.records.plot import BLUE, GREEN, GREY, ORANGE, new_figure, save
from experiments.contenders.race import BEST, FIXED, FIXED_TOO, OURS, OURS_TOO, TIMM, steady
from experiments.rows import clopper_pearson, ratio_of
from experiments.suite import Record

COLOURS = (ORANGE, BLUE, GREEN)
COLOUR_OF = {OURS: BLUE, OURS_TOO: BLUE, FIXED: GREY, FIXED_TOO: GREY, TIMM: ORANGE, BEST: GREEN}
MARKER_OF = {OURS: "o", OURS_TOO: "D", FIXED: "|", FIXED_TOO: "x", TIMM: "s", BEST: "^"}
PALE_GREEN = "#e6efe6"


def _label(axes: Any, xlabel: str = "", ylabel: str = "", grid: str = "both") -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(True, axis=grid, color="#dddddd", linewidth=0.6)


def _band(axes: Any, low: float, high: float, middle: float, **style: Any) -> None:
    axes.axhspan(low, high, color=PALE_GREEN, **style)
    axes.axhline(middle, color=GREY, linewidth=0.8)


def _line(axes: Any, values: Sequence[float], **style: Any) -> None:
    axes.plot(range(1, len(values) + 1), values, markersize=4, **style)


def device(record: Record) -> str:
    """``AMD EPYC, 2 cores, float32``."""
    machine = record["machine"]
    return f"{machine['cpu_model']}, {machine['cores']} cores, float32"


def _save(figure: Any, record: Record, path: Path) -> None:
    """Name the device above the picture, and write it."""
    quick = ", QUICK RUN" if record.get("quick") else ""
    figure.suptitle(f"{device(record)}{quick}", fontsize=9)
    save(figure, path)


# --- calibration -----------------------------------------------------------------------------


def power(record: Record, path: Path) -> None:
    """Share of sessions that declare a planted slowdown: a panel a scenario, a line a rounds."""
    figure = new_figure(10, 6)
    panels = figure.subplots(2, 3, sharex=True, sharey=True).flat
    for axes, scenario in zip(panels, record["parameters"]["scenarios"], strict=True):
        cases = [case for case in record["outcome"] if case["scenario"] == scenario["name"]]
        for case, colour in zip(cases, COLOURS, strict=True):
            sizes = [100 * planted["slowdown"] for planted in case["planted"]]
            counts = [planted["slower"] for planted in case["planted"]]
            label = f"{case['rounds']} rounds"
            _rates(axes, sizes, counts, case["sessions"], color=colour, label=label)
        axes.set_title(scenario["name"], fontsize=10)
        axes.set_ylim(-3, 103)
        _label(axes)
    figure.supxlabel("planted slowdown, %", fontsize=10)
    figure.supylabel("declared slower, % of sessions", fontsize=10)
    figure.axes[0].legend(fontsize=8, loc="lower right")
    save(figure, path)


def coverage(record: Record, path: Path) -> None:
    """How often the two timing intervals hold the truth, by scenario and rounds."""
    scenarios = [scenario["name"] for scenario in record["parameters"]["scenarios"]]
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title in ((left, "ratio of two variants"), (right, "median of one variant")):
        _band(axes, 93, 97, 95)
        for step, rounds in enumerate(record["parameters"]["rounds"]):
            cases = [case for case in record["outcome"] if case["rounds"] == rounds]
            places = [scenarios.index(case["scenario"]) + 0.2 * (step - 1) for case in cases]
            counts = [
                case["planted"][0]["holds_truth"] if axes is left else case["median_holds_truth"]
                for case in cases
            ]
            style = {"color": COLOURS[step], "label": f"{rounds} rounds", "linestyle": "none"}
            _rates(axes, places, counts, cases[0]["sessions"], **style)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(scenarios)), [name.replace(" ", "\n") for name in scenarios])
        axes.tick_params(labelsize=8)
    figure.supylabel("interval holds the truth, % of sessions", fontsize=10)
    left.legend(fontsize=8, loc="lower left")
    save(figure, path)


def accuracy_coverage(record: Record, path: Path) -> None:
    """Exact coverage of the Wilson interval over true accuracies, a line for each size."""
    figure = new_figure(10, 3.6)
    axes = figure.subplots()
    axes.axhspan(93, 97, color=PALE_GREEN)
    for case, colour in zip(record["outcome"]["wilson"], COLOURS, strict=False):
        shares = 100 * np.array([case["accuracies"], case["coverage"]])
        axes.plot(*shares, color=colour, linewidth=1.2, label=f"{case['images']:,} images")
    _label(axes, "true accuracy, %", "interval holds it, %")
    axes.legend(fontsize=8)
    save(figure, path)


def _rates(
    axes: Any, places: Sequence[float], counts: Sequence[int], total: int, **style: Any
) -> None:
    """Counts of a total in percent with their exact 95 % intervals as bars."""
    rates = 100 * np.array(counts) / total
    low, high = 100 * np.array([clopper_pearson(count, total) for count in counts]).T
    errors = np.maximum(0.0, [rates - low, high - rates])
    common = {"marker": "o", "markersize": 3.5, "linewidth": 1.2, "capsize": 2}
    axes.errorbar(places, rates, yerr=errors, **common, **style)


# --- speed -----------------------------------------------------------------------------------


def relative(record: Record, path: Path) -> None:
    """Speed of each contender in per cent of the fixed batch's, with 95 % intervals, by model."""
    outcome = record["outcome"]
    figure = new_figure(9, 1.5 + 0.5 * len(outcome))
    axes = figure.subplots()
    axes.axvline(100, color=GREY, linewidth=1.2, label=FIXED)
    shown = [name for name in outcome[0]["seconds"] if name != FIXED]
    places = np.arange(len(outcome))
    for step, name in enumerate(shown):
        ratios = [ratio_of(steady(model, name), steady(model, FIXED)) for model in outcome]
        middle, low, high = (
            100 * np.array([(r.ratio, r.low or r.ratio, r.high or r.ratio) for r in ratios]).T
        )
        axes.errorbar(
            middle,
            places + 0.2 * (step - (len(shown) - 1) / 2),
            xerr=[middle - low, high - middle],
            color=COLOUR_OF[name],
            marker=MARKER_OF[name],
            linestyle="none",
            markersize=5,
            capsize=3,
            label=name,
        )
    axes.set_yticks(places, [model["variant"] for model in outcome])
    axes.set_ylim(len(outcome) - 0.5, -0.5)
    xlabel = "speed of steady training epochs, % of the fixed batch (95 % interval)"
    _label(axes, xlabel, "model", grid="x")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    _save(figure, record, path)


def epochs(record: Record, path: Path) -> None:
    """Images/s by epoch, a panel for each model."""
    outcome = record["outcome"]
    columns = min(2, len(outcome))
    lines = -(-len(outcome) // columns)
    figure = new_figure(9, 0.8 + 2.6 * lines)
    figure.subplots(lines, columns)
    for axes, model in zip(figure.axes, outcome, strict=False):
        for name in model["seconds"]:
            speeds = model["images"] / np.median(model["seconds"][name], axis=0)
            style = {"color": COLOUR_OF[name], "marker": MARKER_OF[name], "linewidth": 1.2}
            _line(axes, speeds, label=name, **style)
        axes.set_title(f"{model['variant']}, batch {model['batch_size']}", fontsize=10)
        axes.set_ylim(bottom=0)
        _label(axes, "epoch (1: cold)")
    for axes in figure.axes[len(outcome) :]:
        axes.set_axis_off()
    figure.supylabel("training, images/s", fontsize=10)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, loc="outside lower center", ncols=3)
    _save(figure, record, path)


def memory(record: Record, path: Path) -> None:
    """Highest anonymous memory of every epoch of the sweeps, in order."""
    figure = new_figure(9, 3.8)
    axes = figure.subplots()
    for case, colour in zip(record["outcome"], (BLUE, ORANGE), strict=False):
        values = [epoch["with_children_mb"] for epoch in case["epochs"]]
        _line(axes, values, color=colour, marker="o", label=f"{case['images']:,} images")
    longest = max((case["epochs"] for case in record["outcome"]), key=len)
    names = [f"{epoch['variant']}\nepoch {epoch['epoch']}" for epoch in longest]
    axes.set_xticks(range(1, len(names) + 1), names, fontsize=7, rotation=60, ha="right")
    axes.set_ylim(bottom=0)
    _label(axes, "epochs of the sweep, in order", "anonymous memory, MB")
    axes.legend(fontsize=8)
    _save(figure, record, path)


def differences(record: Record, path: Path) -> None:
    """Difference of macro-F1 of every seed, and the mean's interval, by data set."""
    figure = new_figure(9, 3.4)
    axes = figure.subplots()
    margin = record["parameters"]["margin_points"]
    _band(axes, -margin, margin, 0, label=f"±{margin:g} points")
    for (name, scores), colour in zip(record["outcome"].items(), (BLUE, ORANGE), strict=False):
        points = 100 * np.subtract(scores["ours"], scores["plain"])
        _line(axes, points, color=colour, marker="o", linestyle="none", label=name)
    _label(axes, "pair of runs (one seed each)", "macro-F1, ours − plain, points", grid="y")
    axes.legend(fontsize=8)
    _save(figure, record, path)


def cost(record: Record, path: Path, *, what: str) -> None:
    """Wall time of commands over what grows, and the part of it that is training."""
    cases = record["outcome"][what]
    figure = new_figure(6.5, 3.6)
    axes = figure.subplots()
    places = [case[what] for case in cases]
    for key, label, colour in (
        ("wall_s", "whole command", BLUE),
        ("training_s", "training and validation", ORANGE),
    ):
        axes.plot(places, [case[key] for case in cases], color=colour, marker="o", label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _label(axes, what, "wall time, s")
    axes.legend(fontsize=8)
    _save(figure, record, path)
