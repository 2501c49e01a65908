"""Confusion matrices of the part that models are judged on, all variants in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench.records.plot import new_figure, plain, save
from bench.report.analysis.selection import distinct, variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.render.figures import MOST_PANELS, grid_of, titled


def confusion_matrices(records: Sequence[Record], path: Path) -> Path | None:
    """One figure with a confusion matrix of the judged part for each run.

    Counts in the cells; colour is the share of the true class (rows).
    """
    runs = [r for r in records if confusion(r) is not None][:MOST_PANELS]
    if not runs:
        return None
    part = " or ".join(distinct(map(judged_part, runs)))
    most = max(len(run["data"]["classes"]) for run in runs)
    rows, columns = grid_of(len(runs), 4 if most > 5 else 5)
    side, names = max(2.2, 0.27 * most), _name_inches(runs)
    width, height = max((side + 0.2) * columns + names, 5.5), (side + 0.4) * rows + names + 0.75
    figure = new_figure(width, height, place_panels=True)
    figure.subplots_adjust(
        left=names / width, right=1 - 0.15 / width, bottom=names / height, top=1 - 0.95 / height,
        wspace=0.08, hspace=0.4 / side,
    )  # fmt: skip
    title = titled(f"Confusion matrices, {part} part", runs)
    figure.suptitle(f"{title}\nrows: true class, columns: predicted class", fontsize=12)
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, (axes, run) in enumerate(zip(grid.flat, runs, strict=False)):
        below = index // columns == rows - 1
        _matrix(axes, run, names_left=index % columns == 0, names_below=below)
    for axes in list(grid.flat)[len(runs) :]:
        axes.remove()
    return save(figure, path)


def _name_inches(runs: Sequence[Record]) -> float:
    """Room for the longest class name at the axes' font size."""
    return 0.35 + 0.055 * max(len(_short(name)) for run in runs for name in run["data"]["classes"])


def _short(name: Any) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= 30 else text[:29] + "…"


def confusion(record: Record) -> list[list[int]] | None:
    """Counts by true class (rows) and predicted class (columns), or None without predictions."""
    part = record.get(judged_part(record)) or {}
    labels, predictions = part.get("labels") or [], part.get("predictions") or []
    size = len((record.get("data") or {}).get("classes") or [])
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
    places = range(len(classes))
    # Ticks are what costs time in a figure of many panels: only where they carry names.
    axes.set_xticks(places if names_below else [], classes if names_below else [], rotation=90)
    axes.set_yticks(places if names_left else [], classes if names_left else [])
    axes.tick_params(labelsize=8, length=2)
    if len(classes) > 25:
        return
    size = 9 if len(classes) <= 5 else 7
    for row, column in product(places, places):
        if counts[row][column]:
            colour = "white" if shares[row][column] > 0.55 else "black"
            text = str(counts[row][column])
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
