"""Figures with a panel for each variant: training curves, confusion matrices, reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import attrs

from bench.records.plot import (
    BLUE,
    GREY,
    LOSS,
    SHARES,
    best_index,
    draw_curves,
    epoch_axis,
    new_figure,
    plain,
    save,
    series,
)
from bench.records.schema import lookup
from bench.report.analysis.selection import variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.chapters.mistakes import calibration_of, parts_of, predictions_of
from bench.stats.accuracy import wilson

# More panels than this are neither readable nor quickly drawn.
MOST_PANELS = 20
# Pale lines behind them, as a sample of all: more are one grey area.
MOST_PALE = 30
CURVES = {"loss": (LOSS, "Cross-entropy loss"), "accuracy": (SHARES, "Accuracy and macro-F1")}


@attrs.frozen
class Layout:
    """Sizes of a figure with panels, in inches.

    Attributes:
        panel: width and height of a panel with the space to the next.
        rest: width and height of what is around the panels.
        margins: left, bottom, top.
        row_gap: space between rows, relative to a panel's height.
        columns: panels beside each other, at most.
    """

    panel: tuple[float, float]
    rest: tuple[float, float]
    margins: tuple[float, float, float]
    row_gap: float
    least_width: float = 5.5
    columns: int = 5


def panels(
    runs: Sequence[Record], title: str, layout: Layout, *, common_axes: bool = True
) -> tuple[Any, Any]:
    """Return a titled figure and its grid of axes, one for each run."""
    columns = min(layout.columns, len(runs))
    rows = math.ceil(len(runs) / columns)
    width = max(layout.panel[0] * columns + layout.rest[0], layout.least_width)
    height = layout.panel[1] * rows + layout.rest[1]
    left, bottom, top = layout.margins
    figure = new_figure(width, height, place_panels=True)
    figure.subplots_adjust(
        left=left / width, right=1 - 0.15 / width, bottom=bottom / height, top=1 - top / height,
        wspace=0.08, hspace=layout.row_gap,
    )  # fmt: skip
    figure.suptitle(title, fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=common_axes, sharey=common_axes)
    for axes in list(grid.flat)[len(runs) :]:
        axes.remove()
    return figure, grid


def titled(text: str, records: Sequence[Record]) -> str:
    """A figure's title, which says so when a run's data are synthetic."""
    synthetic = any(lookup(record, "data", "synthetic") for record in records)
    return f"{text} (SYNTHETIC data)" if synthetic else text


# --- training curves -------------------------------------------------------------------------


def training_curves(
    records: Sequence[Record],
    path: Path,
    what: str,
    runs_of: Callable[[str], Sequence[Record]] = lambda variant: (),
) -> Path | None:
    """Small multiples of the training curves, one panel a variant, on common axes.

    Args:
        records: the run of each variant whose curves are drawn in full.
        what: "loss" or "accuracy".
        runs_of: all runs of a variant; those of other seeds and folds, a sample
            where they are many, are drawn pale behind.
    """
    runs = [run for run in records if _epochs(run)][:MOST_PANELS]
    if not runs:
        return None
    lines, name = (
        (LOSS, "Cross-entropy loss") if what == "loss" else (SHARES, "Accuracy and macro-F1")
    )
    layout = Layout((2.5, 2.3), (0.5, 1.2), (0.5, 0.85, 0.65), 0.3, least_width=6.8)
    figure, grid = panels(runs, titled(f"{name} over the epochs", runs), layout)
    last = 0
    for axes, run in zip(grid.flat, runs, strict=False):
        epochs = _epochs(run)
        others = [_epochs(other) for other in runs_of(variant_of(run)) if other is not run]
        others = list(filter(None, others))
        others = others[:: max(1, -(-len(others) // MOST_PALE))]
        for other, (key, _, colour, style, _) in product(others, lines):
            numbers = [int(epoch.get("epoch", index)) for index, epoch in enumerate(other, 1)]
            values = series(other, key)
            axes.plot(numbers, values, color=colour, linestyle=style, linewidth=0.8, alpha=0.35)
        last = max(last, *map(len, (epochs, *others)))
        draw_curves(axes, epochs, lines, best_index(epochs))
        axes.set_title(plain(variant_of(run)), fontsize=9, y=1.0)
        axes.tick_params(labelsize=8, labelbottom=True)
    epoch_axis(grid[0, 0], last)
    if what == "accuracy":
        grid[0, 0].set_ylim(-0.03, 1.03)
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=9, frameon=False)
    return save(figure, path)


def _epochs(record: Record) -> list[dict[str, Any]]:
    return lookup(record, "training", "epochs") or []


# --- confusion matrices ----------------------------------------------------------------------


def confusion_matrices(records: Sequence[Record], path: Path) -> Path | None:
    """One figure with a confusion matrix of the judged part for each run.

    Counts in the cells; colour is the share of the true class (rows).
    """
    runs = [run for run in records if confusion(run) is not None][:MOST_PANELS]
    if not runs:
        return None
    most = max(len(run["data"]["classes"]) for run in runs)
    side = max(2.2, 0.27 * most)
    # Room for the longest class name at the axes' font size.
    names = 0.35 + 0.055 * max(len(_short(name)) for run in runs for name in run["data"]["classes"])
    layout = Layout(
        (side + 0.2, side + 0.4), (names, names + 0.75), (names, names, 0.95), 0.4 / side,
        columns=4 if most > 5 else 5,
    )  # fmt: skip
    title = titled(f"Confusion matrices, {parts_of(runs)} part", runs)
    title += "\nrows: true class, columns: predicted class"
    figure, grid = panels(runs, title, layout, common_axes=False)
    rows, columns = grid.shape
    for index, (axes, run) in enumerate(zip(grid.flat, runs, strict=False)):
        row, column = divmod(index, columns)
        _matrix(axes, run, names_left=column == 0, names_below=row == rows - 1)
    return save(figure, path)


def _short(name: Any) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= 30 else text[:29] + "…"


def confusion(record: Record) -> list[list[int]] | None:
    """Counts by true class (rows) and predicted class (columns), or None without predictions."""
    labels, predictions = (
        lookup(record, judged_part(record), key) or [] for key in ("labels", "predictions")
    )
    size = len(lookup(record, "data", "classes") or [])
    if not labels or len(labels) != len(predictions):
        return None
    if not all(0 <= index < size for index in (*labels, *predictions)):
        return None
    counts = [[0] * size for _ in range(size)]
    for label, prediction in zip(labels, predictions, strict=True):
        counts[label][prediction] += 1
    return counts


def _matrix(axes: Any, run: Record, *, names_left: bool, names_below: bool) -> None:
    counts = confusion(run) or []
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    classes = [plain(_short(name)) for name in run["data"]["classes"]]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(plain(variant_of(run)), fontsize=9, y=1.0)
    indices = range(len(classes))
    # Ticks are what costs time in a figure of many panels: only where they carry names.
    axes.set_xticks(indices if names_below else [], classes if names_below else [], rotation=90)
    axes.set_yticks(indices if names_left else [], classes if names_left else [])
    axes.tick_params(labelsize=8, length=2)
    if len(classes) > 25:
        return
    size = 9 if len(classes) <= 5 else 7
    for row, column in product(indices, indices):
        if count := counts[row][column]:
            colour = "white" if shares[row][column] > 0.55 else "black"
            text = str(count)
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


# --- reliability diagrams --------------------------------------------------------------------


def reliability_diagrams(records: Sequence[Record], path: Path) -> Path | None:
    """Accuracy with its 95 % interval over the mean confidence of each bin.

    The area of a point is its share of the images; on the dotted line confidence is accuracy.
    """
    runs = [run for run in records if predictions_of(run) is not None][:MOST_PANELS]
    if not runs:
        return None
    layout = Layout((2.3, 2.6), (0.6, 1.2), (0.6, 0.55, 0.75), 0.4)
    title = titled(f"Accuracy over confidence, {parts_of(runs)} part", runs)
    figure, grid = panels(runs, title, layout)
    for axes, run in zip(grid.flat, runs, strict=False):
        _reliability(axes, run)
    grid[0, 0].set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    for row in grid:
        row[0].set_ylabel("accuracy", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("confidence", fontsize=9)
    return save(figure, path)


def _reliability(axes: Any, run: Record) -> None:
    found = calibration_of(run)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
    for each in found.bins:
        bounds = wilson(each.correct, each.images)
        axes.plot([each.confidence] * 2, bounds, color=BLUE, linewidth=1.2, alpha=0.5)
    points = [
        (each.confidence, each.accuracy, 12 + 180 * each.images / found.images)
        for each in found.bins
    ]
    confidences, accuracies, areas = zip(*points, strict=True)
    axes.scatter(confidences, accuracies, s=areas, color=BLUE, alpha=0.8, linewidths=0)
    axes.set_title(
        f"{plain(variant_of(run))}\nerror {100 * found.ece:.1f} points", fontsize=8, y=1.0
    )
    axes.tick_params(labelsize=8, labelbottom=True)
    axes.grid(True, color="#dddddd", linewidth=0.6)
