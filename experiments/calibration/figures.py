"""Pictures of the calibration: power curves and coverage, each rate with its exact interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records.plot import BLUE, GREEN, GREY, ORANGE, new_figure, save
from experiments.calibration.common import clopper_pearson
from experiments.record import Record

COLOURS = (ORANGE, BLUE, GREEN)


def power(record: Record, path: Path) -> Path:
    """Share of sessions that declare a planted slowdown: a panel a scenario, a line a rounds."""
    scenarios = [scenario["name"] for scenario in record["parameters"]["scenarios"]]
    figure = new_figure(10, 6)
    panels = figure.subplots(2, 3, sharex=True, sharey=True).flat
    for axes, name in zip(panels, scenarios, strict=True):
        cases = [case for case in record["outcome"] if case["scenario"] == name]
        for case, colour in zip(cases, COLOURS, strict=True):
            sizes = [100 * planted["slowdown"] for planted in case["planted"]]
            counts = [planted["slower"] for planted in case["planted"]]
            label = f"{case['rounds']} rounds"
            _rates(axes, sizes, counts, [case["sessions"]] * len(counts), colour, label, "-")
        axes.set_title(name, fontsize=10)
        axes.set_ylim(-3, 103)
        axes.grid(True, color="#dddddd", linewidth=0.6)
    figure.supxlabel("planted slowdown, %", fontsize=10)
    figure.supylabel("declared slower, % of sessions", fontsize=10)
    figure.axes[0].legend(fontsize=8, loc="lower right")
    return save(figure, path)


def coverage(record: Record, path: Path) -> Path:
    """How often the two timing intervals hold the truth, by scenario and rounds."""
    scenarios = [scenario["name"] for scenario in record["parameters"]["scenarios"]]
    figure = new_figure(10, 4)
    for axes, (title, count_of) in zip(
        figure.subplots(1, 2, sharey=True),
        (
            ("ratio of two variants", lambda case: case["planted"][0]["holds_truth"]),
            ("median of one variant", lambda case: case["median_holds_truth"]),
        ),
        strict=True,
    ):
        axes.axhspan(93, 97, color="#e6efe6")
        axes.axhline(95, color=GREY, linewidth=0.8)
        for step, (rounds, colour) in enumerate(
            zip(record["parameters"]["rounds"], COLOURS, strict=True)
        ):
            cases = [case for case in record["outcome"] if case["rounds"] == rounds]
            places = [scenarios.index(case["scenario"]) + 0.2 * (step - 1) for case in cases]
            counts = [count_of(case) for case in cases]
            totals = [case["sessions"] for case in cases]
            _rates(axes, places, counts, totals, colour, f"{rounds} rounds", "none")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(scenarios)), [name.replace(" ", "\n") for name in scenarios])
        axes.tick_params(labelsize=8)
    figure.supylabel("interval holds the truth, % of sessions", fontsize=10)
    figure.axes[0].legend(fontsize=8, loc="lower left")
    return save(figure, path)


def accuracy_coverage(record: Record, path: Path) -> Path:
    """Exact coverage of the Wilson interval over true accuracies, a line for each size."""
    figure = new_figure(10, 3.6)
    axes = figure.subplots()
    axes.axhspan(93, 97, color="#e6efe6")
    for case, colour in zip(record["outcome"]["wilson"], COLOURS, strict=False):
        axes.plot(
            [100 * accuracy for accuracy in case["accuracies"]],
            [100 * share for share in case["coverage"]],
            color=colour,
            linewidth=1.2,
            label=f"{case['images']:,} images",
        )
    axes.set_xlabel("true accuracy, %")
    axes.set_ylabel("interval holds it, %")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8)
    return save(figure, path)


def _rates(
    axes: Any,
    places: Sequence[float],
    counts: Sequence[int],
    totals: Sequence[int],
    colour: str,
    label: str,
    line: str,
) -> None:
    """Rates in percent with their exact 95 % intervals as bars."""
    rates = [100 * count / total for count, total in zip(counts, totals, strict=True)]
    bounds = [clopper_pearson(*pair) for pair in zip(counts, totals, strict=True)]
    below = [rate - 100 * low for rate, (low, _) in zip(rates, bounds, strict=True)]
    above = [100 * high - rate for rate, (_, high) in zip(rates, bounds, strict=True)]
    axes.errorbar(
        places,
        rates,
        yerr=[[max(0.0, x) for x in below], [max(0.0, x) for x in above]],
        color=colour,
        label=label,
        linestyle=line,
        marker="o",
        markersize=3.5,
        linewidth=1.2,
        capsize=2,
    )
