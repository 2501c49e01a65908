"""Training curves of many runs, one panel each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.records.plot import (
    LOSS,
    SHARES,
    Epochs,
    best_index,
    draw_curves,
    epoch_axis,
    new_figure,
    plain,
    save,
    series,
)
from bench.report.analysis.selection import variant_of
from bench.report.analysis.validity import Record

# More panels than this are neither readable nor quickly drawn.
MOST_PANELS = 20
# Pale lines behind them, as a sample of all: more are one grey area.
MOST_PALE = 30


def grid_of(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns that hold ``count`` panels, at most ``columns`` beside each other."""
    columns = min(columns, count)
    return math.ceil(count / columns), columns


def titled(text: str, records: Sequence[Record]) -> str:
    """A figure's title, which says so when a run's data are synthetic."""
    synthetic = any((record.get("data") or {}).get("synthetic") for record in records)
    return f"{text} (SYNTHETIC data)" if synthetic else text


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
    runs = [r for r in records if (r.get("training") or {}).get("epochs")][:MOST_PANELS]
    if not runs:
        return None
    lines = LOSS if what == "loss" else SHARES
    rows, columns = grid_of(len(runs), 5)
    width, height = max(2.5 * columns + 0.5, 6.8), 2.3 * rows + 1.2
    figure = new_figure(width, height, place_panels=True)
    figure.subplots_adjust(
        left=0.5 / width, right=1 - 0.15 / width, bottom=0.85 / height, top=1 - 0.65 / height,
        wspace=0.08, hspace=0.3,
    )  # fmt: skip
    name = "Cross-entropy loss" if what == "loss" else "Accuracy and macro-F1"
    figure.suptitle(titled(f"{name} over the epochs", runs), fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    last = 0
    for axes, run in zip(grid.flat, runs, strict=False):
        epochs = run["training"]["epochs"]
        others = [
            other["training"]["epochs"]
            for other in runs_of(variant_of(run))
            if other is not run and (other.get("training") or {}).get("epochs")
        ]
        others = others[:: max(1, -(-len(others) // MOST_PALE))]
        for other in others:
            _draw_pale(axes, other, lines)
        last = max(last, *(len(one) for one in (epochs, *others)))
        draw_curves(axes, epochs, lines, best_index(epochs))
        axes.set_title(plain(variant_of(run)), fontsize=9, y=1.0)
        axes.tick_params(labelsize=8, labelbottom=True)
    epoch_axis(grid[0, 0], last)
    if what == "accuracy":
        grid[0, 0].set_ylim(-0.03, 1.03)
    for axes in list(grid.flat)[len(runs) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=9, frameon=False)
    return save(figure, path)


def _draw_pale(axes: Any, epochs: Epochs, lines: Sequence[tuple[str, ...]]) -> None:
    for key, _, colour, style, _ in lines:
        numbers = [int(epoch.get("epoch", place)) for place, epoch in enumerate(epochs, 1)]
        axes.plot(
            numbers, series(epochs, key), color=colour, linestyle=style, linewidth=0.8, alpha=0.35
        )
