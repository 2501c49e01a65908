"""Where models are wrong, and whether they know it: F1 of each class, and calibration."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, caption, data_note, distinct, variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.chapters.attention import p_text
from bench.report.render.markdown import Table, attributes, one_line
from bench.stats.calibration import BINS, DRAWS, Calibration, calibration
from bench.stats.classes import of_classes
from bench.stats.multiple import ALPHA, holm
from bench.system.digits import counted

RAW_CLASSES = ("variant", "part", "class", "images", "predicted", "precision", "recall", "f1")
CALIBRATION = (
    "Variant", "Images", "Accuracy (%)", "Mean confidence (%)", "Calibration error (points)",
    "By chance: mean, 95 % below", "p, Holm", "Verdict",
)  # fmt: skip
DRAWS_PER_VARIANT = 100
# A table of hundreds of classes tells a reader nothing; the CSV has all.
MOST_CLASSES = 40


def mistakes_tables(selection: Selection) -> list[Table]:
    """F1 of each class, and calibration, of the run that stands for each variant."""
    runs = [run for run in selection.shown() if predictions_of(run) is not None]
    return [_classes_table(runs), _calibration_table(runs)]


@attrs.frozen
class Predictions:
    """Of every image of the judged part: label, prediction, confidence of the prediction."""

    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    confidences: tuple[float, ...]


def predictions_of(record: Record) -> Predictions | None:
    """The predictions of a run's judged part, or None where they are not whole."""
    labels, guesses, confidences = (
        lookup(record, judged_part(record), key) or []
        for key in ("labels", "predictions", "confidences")
    )
    size = len(lookup(record, "data", "classes") or [])
    whole = (
        labels
        and len(labels) == len(guesses) == len(confidences)
        and all(isinstance(index, int) and 0 <= index < size for index in (*labels, *guesses))
        and all(isinstance(share, float) and 0 <= share <= 1.0001 for share in confidences)
    )
    return Predictions(tuple(labels), tuple(guesses), tuple(confidences)) if whole else None


# --- classes ---------------------------------------------------------------------------------


def _classes_table(runs: Sequence[Record]) -> Table:
    by_run = {variant_of(run): _by_class(run) for run in runs}
    classes = distinct(name for figures in by_run.values() for name in figures)

    def figures_of(name: str, key: str) -> list[Any]:
        return [figures[name][key] for figures in by_run.values() if name in figures]

    def mean_f1(name: str) -> float:
        scores = figures_of(name, "f1")
        return float(sum(scores) / len(scores))

    # The classes that are worst on average stand first: they are what a reader looks for.
    worst = sorted(classes, key=lambda name: (mean_f1(name), name))
    rows = [
        [
            one_line(name),
            " or ".join(map(str, sorted(set(figures_of(name, "images"))))),
            *(_percent(figures[name]["f1"]) if name in figures else "n/a"
              for figures in by_run.values()),
        ]
        for name in worst[:MOST_CLASSES]
    ]  # fmt: skip
    raw = [
        [variant_of(run), judged_part(run), *figures.values()]
        for run in runs
        for figures in by_run[variant_of(run)].values()
    ]
    more = len(worst) - MOST_CLASSES
    text = caption(
        data_note(runs),
        f"F1 (%) on the {parts_of(runs)} part of each variant's latest run; the classes that are "
        "worst on average first. Images: of that class in the part. Precision and recall are in "
        "the CSV."
        if runs
        else "No valid complete run has predictions.",
        f"{more} more classes are in the CSV." if more > 0 else "",
    )
    return Table(
        "classes", "F1 of each class", text, ["Class", "Images", *by_run], rows,
        (RAW_CLASSES, raw), csv=bool(rows),
    )  # fmt: skip


def parts_of(runs: Sequence[Record]) -> str:
    """``test``, or ``test or validation``: the parts that runs are judged on."""
    return " or ".join(distinct(map(judged_part, runs)))


def _by_class(run: Record) -> dict[str, dict[str, Any]]:
    predictions = predictions_of(run)
    assert predictions is not None
    rows = of_classes(predictions.labels, predictions.predictions, run["data"]["classes"])
    return {row["class"]: row for row in rows}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


# --- calibration -----------------------------------------------------------------------------


def calibration_of(run: Record, variants: int = 1) -> Calibration:
    """Calibration of a run with whole predictions.

    Args:
        variants: how many are tested together: the smallest p value must survive the correction.
    """
    predictions = predictions_of(run)
    assert predictions is not None
    return _calibration(predictions, draws_for(variants))


def draws_for(variants: int) -> int:
    """Models by chance that so many tests need."""
    return max(DRAWS, DRAWS_PER_VARIANT * variants)


# Both the table and the figure show it.
@lru_cache(maxsize=256)
def _calibration(found: Predictions, draws: int) -> Calibration:
    correct = list(map(operator.eq, found.labels, found.predictions))
    return calibration(found.confidences, correct, draws=draws)


def _calibration_table(runs: Sequence[Record]) -> Table:
    figures = [calibration_of(run, len(runs)) for run in runs]
    adjusted = holm([each.p_value for each in figures])
    names = [field.name for field in attrs.fields(Calibration) if field.name != "bins"]
    rows, raw = [], []
    for run, each, p_value in zip(runs, figures, adjusted, strict=True):
        assert p_value is not None
        variant, part, verdict = variant_of(run), judged_part(run), verdict_of(each, p_value)
        rows.append([
            variant,
            f"{each.images}, {part}",
            _percent(each.accuracy),
            _percent(each.confidence),
            _percent(each.ece),
            f"{_percent(each.by_chance)}, {_percent(each.by_chance_high)}",
            p_text(p_value),
            verdict,
        ])  # fmt: skip
        raw.append([variant, part, *attributes(each, names), p_value, verdict])
    text = caption(
        data_note(runs),
        f"Calibration error: the mean distance of confidence and accuracy over {BINS} bins of "
        "confidence (ECE). By chance: that of a perfectly calibrated model on so few images with "
        f"these confidences ({draws_for(len(runs)):,} draws). Declared where p, corrected for "
        f"{counted(len(runs), 'variant')}, is below {ALPHA:g}."
        if runs
        else "No valid complete run has confidences.",
    )
    return Table(
        "calibration", "Calibration", text, CALIBRATION, rows,
        (("variant", "part", *names, "p_holm", "verdict"), raw), csv=bool(rows),
    )  # fmt: skip


def verdict_of(found: Calibration, p_value: float) -> str:
    """``overconfident``, ``underconfident``, ``miscalibrated``, or that nothing could be shown."""
    if p_value >= ALPHA:
        return "no miscalibration shown"
    gap = found.confidence - found.accuracy
    # Too sure in some bins and not sure enough in others.
    if abs(gap) < found.ece / 2:
        return "miscalibrated"
    return "overconfident" if gap > 0 else "underconfident"
