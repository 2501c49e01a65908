"""Reliability diagrams: accuracy over confidence, a panel for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records.plot import BLUE, GREY, new_figure, plain, save
from bench.report.analysis.selection import distinct, variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.chapters.mistakes import calibration_of, predictions_of
from bench.report.render.figures import MOST_PANELS, grid_of, titled
from bench.stats.accuracy import wilson
from bench.stats.calibration import Calibration


def reliability_diagrams(records: Sequence[Record], path: Path) -> Path | None:
    """Accuracy with its 95 % interval over the mean confidence of each bin.

    The area of a point is its share of the images; on the dotted line confidence is accuracy.
    """
    runs = [run for run in records if predictions_of(run) is not None][:MOST_PANELS]
    if not runs:
        return None
    rows, columns = grid_of(len(runs), 5)
    width, height = max(2.3 * columns + 0.6, 5.5), 2.6 * rows + 1.2
    figure = new_figure(width, height, place_panels=True)
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.15 / width, bottom=0.55 / height, top=1 - 0.75 / height,
        wspace=0.08, hspace=0.4,
    )  # fmt: skip
    part = " or ".join(distinct(map(judged_part, runs)))
    figure.suptitle(titled(f"Accuracy over confidence, {part} part", runs), fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, run in zip(grid.flat, runs, strict=False):
        _panel(axes, calibration_of(run), variant_of(run))
    for axes in list(grid.flat)[len(runs) :]:
        axes.remove()
    grid[0, 0].set_xlim(-0.03, 1.03)
    grid[0, 0].set_ylim(-0.03, 1.03)
    for row in grid:
        row[0].set_ylabel("accuracy", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("confidence", fontsize=9)
    return save(figure, path)


def _panel(axes: Any, found: Calibration, name: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
    for one in found.bins:
        low, high = wilson(one.correct, one.images)
        axes.plot([one.confidence] * 2, [low, high], color=BLUE, linewidth=1.2, alpha=0.5)
    axes.scatter(
        [one.confidence for one in found.bins],
        [one.accuracy for one in found.bins],
        s=[12 + 180 * one.images / found.images for one in found.bins],
        color=BLUE,
        alpha=0.8,
        linewidths=0,
    )
    axes.set_title(f"{plain(name)}\nerror {100 * found.ece:.1f} points", fontsize=8, y=1.0)
    axes.tick_params(labelsize=8, labelbottom=True)
    axes.grid(True, color="#dddddd", linewidth=0.6)
