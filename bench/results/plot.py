"""Draws training_plot.png, the picture in a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def training_plot(epochs: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Loss, and accuracy with macro-F1, over epochs; the best epoch (first highest F1) is marked.

    Args:
        epochs: rows of ``training.epochs`` of a record.
        path: of the PNG.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    numbers = [row["epoch"] for row in epochs]
    best = max(epochs, key=lambda row: (row["valid_macro_f1"], -row["epoch"]))["epoch"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axis, names in ((left, ("train_loss", "valid_loss")), (right, ("train_acc", "valid_acc"))):
        for name in names:
            label = {"train": "training", "valid": "validation"}[name.partition("_")[0]]
            axis.plot(numbers, [row[name] for row in epochs], marker="o", markersize=4, label=label)
    right.plot(
        numbers,
        [row["valid_macro_f1"] for row in epochs],
        marker="s",
        markersize=4,
        linestyle="--",
        label="validation macro-F1",
    )
    left.set_ylabel("cross-entropy")
    right.set_ylabel("accuracy and macro-F1")
    right.set_ylim(0, 1.02)
    for axis in (left, right):
        axis.axvline(best, color="grey", linestyle=":", label=f"best epoch ({best})")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120, metadata={"Software": None})
