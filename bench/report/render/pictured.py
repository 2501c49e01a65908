"""The figures of a report: what is drawn, its caption, and what stands there instead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs

from bench.report.analysis import seeds
from bench.report.analysis.selection import (
    Selection,
    caption,
    data_note,
    run_note,
    timing_note,
    variant_of,
)
from bench.report.render import figures, scatter
from bench.report.render.markdown import escape
from bench.stats.calibration import BINS


@attrs.frozen
class Figure:
    """A picture to draw to a path, or the reason that stands where there is nothing to draw."""

    name: str
    title: str
    caption: str
    absent: str
    draw: Callable[[Path], Path | None]


def draw_figures(
    selection: Selection, folder: Path, translate: Callable[[str], str] = str
) -> list[str]:
    """Draw the figures; the Markdown of each."""
    blocks = []
    for figure in _figures(selection):
        path, title = figure.draw(folder / f"{figure.name}.png"), translate(figure.title)
        text = translate(f"n/a ({figure.absent})")
        if path is not None:
            shown = escape(translate(figure.caption))
            text = f"![{escape(title)}](figures/{path.name})\n\n{shown}"
        blocks.append(f"### {title}\n\n{text}")
    return blocks


def _figures(selection: Selection) -> list[Figure]:
    shown = selection.shown()
    runs_of = partial(seeds.runs_of, selection)
    note = caption(data_note(shown), run_note(selection))
    left_out = len(shown) - figures.MOST_PANELS
    more = f"The first {figures.MOST_PANELS} of {len(shown)} variants are drawn." * (left_out > 0)
    several = any(len(runs_of(variant_of(record))) > 1 for record in shown)
    curves = caption(
        note,
        "The dotted line marks the best epoch by validation macro-F1.",
        "Pale lines: the other seeds and folds." if several else "",
        more,
    )
    return [
        Figure(
            "accuracy-throughput",
            "Accuracy over throughput",
            caption(note, scatter.bars_note(selection), timing_note(selection.speeds())),
            "no valid complete run has both an accuracy and a timing at 224 pixels",
            partial(scatter.accuracy_vs_throughput, selection),
        ),
        Figure(
            "training-accuracy",
            "Training curves: accuracy and macro-F1",
            curves,
            "no valid complete run has training epochs",
            partial(figures.training_curves, shown, what="accuracy", runs_of=runs_of),
        ),
        Figure(
            "training-loss",
            "Training curves: loss",
            curves,
            "no valid complete run has training epochs",
            partial(figures.training_curves, shown, what="loss", runs_of=runs_of),
        ),
        Figure(
            "confusion-matrices",
            "Confusion matrices",
            caption(note, "Numbers: images; colour: share of the true class (row).", more),
            "no valid complete run has predictions",
            partial(figures.confusion_matrices, shown),
        ),
        Figure(
            "reliability",
            "Reliability diagrams",
            caption(
                note,
                f"Accuracy with its 95 % interval in each of {BINS} bins of confidence; the area "
                "of a point is its share of the images. Below the dotted line a model is "
                "overconfident.",
                more,
            ),
            "no valid complete run has confidences",
            partial(figures.reliability_diagrams, shown),
        ),
    ]
