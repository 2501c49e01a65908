"""Where models are wrong, and whether they know it: F1 of each class, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs

from bench.report.analysis.selection import Selection, caption, data_note, distinct, variant_of
from bench.report.analysis.validity import Record, judged_part
from bench.report.chapters.attention import p_text
from bench.report.render.markdown import Table, one_line
from bench.stats.calibration import BINS, DRAWS, Calibration, calibration
from bench.stats.classes import of_classes
from bench.stats.multiple import ALPHA, holm

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
    part = record.get(judged_part(record)) or {}
    found = [part.get(key) or [] for key in ("labels", "predictions", "confidences")]
    size = len((record.get("data") or {}).get("classes") or [])
    labels, predictions, confidences = found
    if not labels or len({len(one) for one in found}) > 1:
        return None
    if not all(isinstance(n, int) and 0 <= n < size for n in (*labels, *predictions)):
        return None
    if not all(isinstance(share, float) and 0 <= share <= 1.0001 for share in confidences):
        return None
    return Predictions(tuple(labels), tuple(predictions), tuple(confidences))


# --- classes ---------------------------------------------------------------------------------


def _classes_table(runs: Sequence[Record]) -> Table:
    by_run = {variant_of(run): _by_class(run) for run in runs}
    names = distinct(name for found in by_run.values() for name in found)
    # The classes that are worst on average stand first: they are what a reader looks for.
    worst = sorted(names, key=lambda name: (_mean([f[name]["f1"] for f in by_run.values()
                                                   if name in f]), name))  # fmt: skip
    rows = [
        [
            one_line(name),
            _images(by_run, name),
            *(_percent(found[name]["f1"]) if name in found else "n/a" for found in by_run.values()),
        ]
        for name in worst[:MOST_CLASSES]
    ]
    raw = [
        [variant_of(run), judged_part(run), *by_run[variant_of(run)][name].values()]
        for run in runs
        for name in by_run[variant_of(run)]
    ]
    parts = " or ".join(distinct(map(judged_part, runs)))
    left = len(worst) - MOST_CLASSES
    text = caption(
        data_note(runs),
        f"F1 (%) on the {parts} part of each variant's latest run; the classes that are worst on "
        "average first. Images: of that class in the part. Precision and recall are in the CSV."
        if runs
        else "No valid complete run has predictions.",
        f"{left} more classes are in the CSV." if left > 0 else "",
    )
    return Table(
        "classes", "F1 of each class", text, ["Class", "Images", *by_run], rows,
        (RAW_CLASSES, raw), csv=bool(rows),
    )  # fmt: skip


def _by_class(run: Record) -> dict[str, dict[str, Any]]:
    found = predictions_of(run)
    assert found is not None
    rows = of_classes(found.labels, found.predictions, run["data"]["classes"])
    return {row["class"]: row for row in rows}


def _images(by_run: dict[str, dict[str, dict[str, Any]]], name: str) -> str:
    counts = distinct(found[name]["images"] for found in by_run.values() if name in found)
    return " or ".join(map(str, sorted(counts)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


# --- calibration -----------------------------------------------------------------------------


def calibration_of(run: Record, variants: int = 1) -> Calibration:
    """Calibration of a run with whole predictions.

    Args:
        variants: how many are tested together: the smallest p value must survive the correction.
    """
    found = predictions_of(run)
    assert found is not None
    return _calibration(found, draws_for(variants))


def draws_for(variants: int) -> int:
    """Models by chance that so many tests need."""
    return max(DRAWS, DRAWS_PER_VARIANT * variants)


@lru_cache(maxsize=256)
def _calibration(found: Predictions, draws: int) -> Calibration:
    """Asked for by the table and by the figure."""
    pairs = zip(found.labels, found.predictions, strict=True)
    return calibration(found.confidences, [label == guess for label, guess in pairs], draws=draws)


def _calibration_table(runs: Sequence[Record]) -> Table:
    found = [calibration_of(run, len(runs)) for run in runs]
    adjusted = holm([one.p_value for one in found])
    rows, raw = [], []
    for run, one, p_value in zip(runs, found, adjusted, strict=True):
        assert p_value is not None
        verdict = verdict_of(one, p_value)
        rows.append(
            [
                variant_of(run),
                f"{one.images}, {judged_part(run)}",
                _percent(one.accuracy),
                _percent(one.confidence),
                _percent(one.ece),
                f"{_percent(one.by_chance)}, {_percent(one.by_chance_high)}",
                p_text(p_value),
                verdict,
            ]
        )
        values = attrs.asdict(one, filter=lambda field, _: field.name != "bins")
        raw.append([variant_of(run), judged_part(run), *values.values(), p_value, verdict])
    names = [field.name for field in attrs.fields(Calibration) if field.name != "bins"]
    text = caption(
        data_note(runs),
        f"Calibration error: the mean distance of confidence and accuracy over {BINS} bins of "
        "confidence (ECE). By chance: that of a perfectly calibrated model on so few images with "
        f"these confidences ({draws_for(len(runs)):,} draws). Declared where p, corrected for "
        f"{len(runs)} variant{'' if len(runs) == 1 else 's'}, is below {ALPHA:g}."
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
