"""Draws training_plot.png, the picture in a run's folder, and what all figures share.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DPI = 110
GREY = "#888888"
BLUE, ORANGE, GREEN = "#1f5fa8", "#d9730d", "#2a8a4a"

Epochs = Sequence[Mapping[str, Any]]


def new_figure(width: float, height: float, *, place_panels: bool = False) -> Any:
    """Return an empty matplotlib figure of that size in inches.

    The constrained layout engine takes a second for twenty panels, and half the time of a small
    figure; those place their panels themselves.
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


def series(epochs: Epochs, key: str) -> list[float]:
    """Return a column of the epochs; what is not a number is NaN, which a line leaves out."""
    values = (epoch.get(key) for epoch in epochs)
    return [float(v) if isinstance(v, (int, float)) else math.nan for v in values]


def epoch_axis(axes: Any, count: int) -> None:
    """Set whole epochs from 1 to ``count`` along the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, max(count, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(True, color="#dddddd", linewidth=0.6)


# --- one run ---------------------------------------------------------------------------------


def training_plot(epochs: Epochs, path: Path, title: str) -> Path:
    """Draw ``training_plot.png`` of one run: loss, and accuracy with macro-F1, over the epochs.

    Args:
        epochs: ``training.epochs`` of a record; one epoch is enough.
        path: the PNG to write; its folder is made.
        title: a line above, for example the variant and the data.

    Returns:
        ``path``. The best epoch is the first one with the highest validation macro-F1.
    """
    figure = new_figure(10, 4.2, place_panels=True)
    figure.suptitle(plain(title), fontsize=12)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.12, top=0.85, wspace=0.16)
    best = best_index(epochs)
    draw_curves(left, epochs, LOSS, best)
    draw_curves(right, epochs, SHARES, best)
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


def draw_curves(
    axes: Any, epochs: Epochs, lines: Sequence[tuple[str, ...]], best: int | None
) -> None:
    """Draw lines of (key, label, colour, style, marker) with the best epoch marked."""
    numbers = [int(epoch.get("epoch", index + 1)) for index, epoch in enumerate(epochs)]
    # A marker for every epoch keeps a run of one epoch visible; hundreds would hide the line.
    every = max(1, len(numbers) // 25)
    if best is not None:
        axes.axvline(numbers[best], color=GREY, linewidth=1.2, linestyle=":", label="best epoch")
    for key, label, colour, style, marker in lines:
        axes.plot(
            numbers,
            series(epochs, key),
            color=colour,
            linestyle=style,
            marker=marker,
            markevery=every,
            markersize=4.5,
            linewidth=1.5,
            label=label,
        )
    epoch_axis(axes, max(numbers, default=1))


def best_index(epochs: Epochs) -> int | None:
    """Return the index of the first epoch with the highest validation macro-F1."""
    scores = [-math.inf if math.isnan(v) else v for v in series(epochs, "valid_macro_f1")]
    if not scores or max(scores) == -math.inf:
        return None
    return scores.index(max(scores))


def plain(text: str) -> str:
    """Return text in which matplotlib finds no formula."""
    return " ".join(str(text).split()).replace("$", r"\$")
