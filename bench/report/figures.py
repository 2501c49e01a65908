"""Training curves of one run and of many, and what all figures share.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.gates import Record
from bench.report.selection import variant_of

DPI = 110
# More panels than this are neither readable nor quickly drawn.
MOST_PANELS = 20
GREY = "#888888"
BLUE, ORANGE, GREEN = "#1f5fa8", "#d9730d", "#2a8a4a"

Epochs = Sequence[Mapping[str, Any]]


def new_figure(width: float, height: float, *, place_panels: bool = False) -> Any:
    """An empty matplotlib figure of that size in inches.

    The constrained layout engine takes a second for twenty panels; those place themselves.
    """
    from matplotlib.figure import Figure

    # A figure without pyplot draws with Agg and leaves no state behind.
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.set_layout_engine("none" if place_panels else "constrained")
    return figure


def save(figure: Any, path: Path) -> Path:
    """Write the figure as PNG, the same bytes for the same figure; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the library's version in it, equal figures are equal files.
    figure.savefig(path, metadata={"Software": None})
    return path


def _series(epochs: Epochs, key: str) -> list[float]:
    values = (epoch.get(key) for epoch in epochs)
    return [float(v) if isinstance(v, (int, float)) else math.nan for v in values]


def _epoch_axis(axes: Any, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, max(count, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(True, color="#dddddd", linewidth=0.6)


# --- one run ---------------------------------------------------------------------------------


def run_plot(record_training_epochs: list[dict[str, Any]], path: Path, title: str) -> Path:
    """Draw ``training_plot.png`` of one run: loss, and accuracy with macro-F1, over the epochs.

    Args:
        record_training_epochs: ``training.epochs`` of a record; one epoch is enough.
        path: the PNG to write; its folder is made.
        title: a line above, for example the variant and the data.

    Returns:
        ``path``. The best epoch is the first one with the highest validation macro-F1.
    """
    epochs = record_training_epochs
    figure = new_figure(10, 4.2)
    figure.suptitle(plain(title), fontsize=12)
    left, right = figure.subplots(1, 2)
    best = _best_index(epochs)
    _curves(left, epochs, LOSS, best)
    _curves(right, epochs, SHARES, best)
    left.set_title("Cross-entropy loss", fontsize=11)
    right.set_title("Accuracy and macro-F1", fontsize=11)
    right.set_ylim(-0.03, 1.03)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.legend(fontsize=9, loc="best")
    return save(figure, path)


LOSS = (("train_loss", "train", ORANGE, "--", "s"), ("valid_loss", "valid", BLUE, "-", "o"))
SHARES = (
    ("train_acc", "train accuracy", ORANGE, "--", "s"),
    ("valid_acc", "valid accuracy", BLUE, "-", "o"),
    ("valid_macro_f1", "valid macro-F1", GREEN, "-.", "^"),
)


def _curves(axes: Any, epochs: Epochs, lines: Sequence[tuple[str, ...]], best: int | None) -> None:
    numbers = [int(epoch.get("epoch", index + 1)) for index, epoch in enumerate(epochs)]
    # A marker for every epoch keeps a run of one epoch visible; hundreds would hide the line.
    every = max(1, len(numbers) // 25)
    if best is not None:
        axes.axvline(numbers[best], color=GREY, linewidth=1.2, linestyle=":", label="best epoch")
    for key, label, colour, style, marker in lines:
        axes.plot(
            numbers,
            _series(epochs, key),
            color=colour,
            linestyle=style,
            marker=marker,
            markevery=every,
            markersize=4.5,
            linewidth=1.5,
            label=label,
        )
    _epoch_axis(axes, max(numbers, default=1))


def _best_index(epochs: Epochs) -> int | None:
    scores = [-math.inf if math.isnan(v) else v for v in _series(epochs, "valid_macro_f1")]
    if not scores or max(scores) == -math.inf:
        return None
    return scores.index(max(scores))


def plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return " ".join(str(text).split()).replace("$", r"\$")


# --- all runs --------------------------------------------------------------------------------


def grid_of(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns that hold ``count`` panels, at most ``columns`` beside each other."""
    columns = min(columns, count)
    return math.ceil(count / columns), columns


def titled(text: str, records: Sequence[Record]) -> str:
    """A figure's title, which says so when a run's data are synthetic."""
    synthetic = any((record.get("data") or {}).get("synthetic") for record in records)
    return f"{text} (SYNTHETIC data)" if synthetic else text


def training_curves(records: Sequence[Record], path: Path, what: str) -> Path | None:
    """Small multiples of the training curves, one panel a run, on common axes.

    Args:
        what: "loss" or "accuracy".
    """
    runs = [r for r in records if (r.get("training") or {}).get("epochs")][:MOST_PANELS]
    if not runs:
        return None
    lines = LOSS if what == "loss" else SHARES
    rows, columns = grid_of(len(runs), 5)
    width, height = max(2.5 * columns + 0.5, 5.5), 2.3 * rows + 1.2
    figure = new_figure(width, height, place_panels=True)
    figure.subplots_adjust(
        left=0.5 / width, right=1 - 0.15 / width, bottom=0.85 / height, top=1 - 0.65 / height,
        wspace=0.08, hspace=0.3,
    )  # fmt: skip
    name = "Cross-entropy loss" if what == "loss" else "Accuracy and macro-F1"
    figure.suptitle(titled(f"{name} over the epochs", runs), fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    last = max(len(run["training"]["epochs"]) for run in runs)
    for axes, run in zip(grid.flat, runs, strict=False):
        epochs = run["training"]["epochs"]
        _curves(axes, epochs, lines, _best_index(epochs))
        axes.set_title(plain(variant_of(run)), fontsize=9, y=1.0)
        axes.tick_params(labelsize=8, labelbottom=True)
    _epoch_axis(grid[0, 0], last)
    if what == "accuracy":
        grid[0, 0].set_ylim(-0.03, 1.03)
    for axes in list(grid.flat)[len(runs) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=9, frameon=False)
    return save(figure, path)
