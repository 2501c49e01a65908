"""The figures of a report: what is drawn, its caption, and what stands there instead."""

from __future__ import annotations

from collections.abc import Callable
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
from bench.report.analysis.validity import Record
from bench.report.render import confusion, figures, reliability, scatter
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
) -> dict[str, str]:
    """Draw the figures; the Markdown of each by name."""
    done: dict[str, str] = {}
    for figure in _figures(selection):
        path = figure.draw(folder / f"{figure.name}.png")
        title = translate(figure.title)
        text = f"### {title}\n\n"
        if path is None:
            text += translate(f"n/a ({figure.absent})")
        else:
            shown = escape(translate(figure.caption))
            text += f"![{escape(title)}](figures/{path.name})\n\n{shown}"
        done[figure.name] = text
    return done


def _figures(selection: Selection) -> list[Figure]:
    shown = selection.shown()
    note = caption(data_note(shown), run_note(selection))

    def runs_of(variant: str) -> list[Record]:
        return seeds.runs_of(selection, variant)

    left_out = len(shown) - figures.MOST_PANELS
    others = any(len(runs_of(variant_of(record))) > 1 for record in shown)
    best = "The dotted line marks the best epoch by validation macro-F1."
    pale = "Pale lines: the other seeds and folds." if others else ""
    more = f"The first {figures.MOST_PANELS} of {len(shown)} variants are drawn." * (left_out > 0)
    return [
        Figure(
            "accuracy-throughput",
            "Accuracy over throughput",
            caption(
                note,
                scatter.bars_note(selection),
                timing_note(selection.speeds()),
            ),
            "no valid complete run has both an accuracy and a timing at 224 pixels",
            lambda path: scatter.accuracy_vs_throughput(selection, path),
        ),
        Figure(
            "training-accuracy",
            "Training curves: accuracy and macro-F1",
            caption(note, best, pale, more),
            "no valid complete run has training epochs",
            lambda path: figures.training_curves(shown, path, "accuracy", runs_of),
        ),
        Figure(
            "training-loss",
            "Training curves: loss",
            caption(note, best, pale, more),
            "no valid complete run has training epochs",
            lambda path: figures.training_curves(shown, path, "loss", runs_of),
        ),
        Figure(
            "confusion-matrices",
            "Confusion matrices",
            caption(note, "Numbers: images; colour: share of the true class (row).", more),
            "no valid complete run has predictions",
            lambda path: confusion.confusion_matrices(shown, path),
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
            lambda path: reliability.reliability_diagrams(shown, path),
        ),
    ]
