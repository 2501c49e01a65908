"""What the page's charts are drawn from: plain values, as they go into the page as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.matching import Ranking, rankings
from bench.report.analysis.metrics import GUIDE_PIXELS, gmacs
from bench.report.analysis.pareto import front, too_few_images
from bench.report.analysis.ranking import named
from bench.report.analysis.run_sets import usable
from bench.report.analysis.seeds import SeedAccuracy, accuracy_of, macro_f1_of, runs_of
from bench.report.analysis.selection import Selection, variant_of
from bench.report.analysis.speeds import TimingSession, main_cases
from bench.report.analysis.timings import CaseKey
from bench.report.analysis.validity import Record, judged_part
from bench.report.analysis.values import significant
from bench.report.chapters.recommend import largest_session, ranking_basis
from bench.report.chapters.speed import location
from bench.report.render.figures import confusion
from bench.report.render.markdown import one_line

CURVES = ("train_loss", "valid_loss", "train_acc", "valid_acc", "valid_macro_f1")
# A matrix of more can neither be read nor drawn in time.
MOST_CLASSES = 200
SPEED_WORDS = {"faster": "better", "slower": "worse", "tie": "tie"}

Cost = dict[str, Any]


def page_data(selection: Selection) -> dict[str, Any]:
    """``axes``, ``variants`` with their accuracy and costs, ``curves`` and ``confusion``.

    Accuracies are percentages with ``low`` and ``high``, the 95 % interval of the mean over the
    seeds; where there is none, ``range`` is true of several seeds, whose least and most they are
    then. A variant has a ``rank``, or a ``reason`` why it is not compared with the others. A cost
    has ``value`` and ``text``, and ``low`` and ``high``, None where there is no interval. An axis
    has the ``front``: the variants that no other beats in accuracy and in that cost by a declared
    difference; where it is empty, ``no_front`` says why. ``scope`` is what the verdicts on accuracy
    are about. What is no finite number is None: JSON knows no NaN.
    """
    ranked, left_out = rankings(selection)
    ranking = ranked[0] if ranked else None
    axes = _axes(selection)
    reasons = {
        name: left_out.get(name) or "other data or settings than the ranked ones"
        for name in selection.variants()
        if ranking is None or name not in ranking.names
    }
    ranks = ranking.ranks() if ranking is not None and len(ranking.sets) > 1 else {}
    variants = [
        {
            **_variant(selection, name, axes),
            "rank": ranks.get(name),
            "tied": named(ranking.tied_with(name), len(ranks) - 1)
            if ranking is not None and name in ranks
            else None,
            "reason": one_line(reasons.get(name, "")),
        }
        for name in selection.variants()
    ]
    shown = selection.shown()
    data = {
        "axes": [
            {"key": key, "label": label, **_front(ranking, axis)}
            for key, label, axis in axes
            if any(key in variant["costs"] for variant in variants)
        ],
        "scope": "" if ranking is None else ranking_basis(ranking),
        "variants": variants,
        "curves": [curves for run in shown if (curves := _curves(run)) is not None],
        "confusion": [matrix for run in shown if (matrix := _confusion(run)) is not None],
    }
    return finite(data)


def finite(value: Any) -> Any:
    """The same without NaN and infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- axes ------------------------------------------------------------------------------------


@attrs.frozen
class Axis:
    """A cost that variants may be drawn over.

    Attributes:
        of: the cost of a variant, or none.
        verdict: ``better``, ``worse`` or ``tie``: cheaper, as far as it is declared.
    """

    of: Callable[[str], Cost | None]
    verdict: Callable[[str, str], str]


def _axes(selection: Selection) -> list[tuple[str, str, Axis]]:
    axes = []
    session = largest_session(selection)
    if session is not None:
        axes = [
            (f"ms{number}", f"ms an image: {case.label()}", _timed_axis(session, case))
            for number, case in enumerate(main_cases(session))
        ]
    counted = (
        ("gmacs", f"GMACs at {GUIDE_PIXELS} pixels", _gmacs),
        ("size_mb", "Size of the weights (MB)", lambda record: _count(record, "size_mb")),
        ("parameters", "Parameters (the run's head)", lambda record: _count(record, "parameters")),
    )
    axes += [(key, label, _counted_axis(selection, get)) for key, label, get in counted]
    return [*axes, ("minutes", "Training minutes (one run)", _minutes_axis(selection))]


def _timed_axis(session: TimingSession, case: CaseKey) -> Axis:
    standing = session.standing(case)

    def of(name: str) -> Cost | None:
        place, scale = location(session, case, name), 1000 / case.batch_size
        if place is None:
            return None
        low, high = (None if bound is None else scale * bound for bound in (place.low, place.high))
        return _cost(scale * place.median, low, high)

    def verdict(one: str, two: str) -> str:
        return SPEED_WORDS.get(standing.verdict(one, two), "not compared")

    return Axis(of, verdict)


def _cost(value: float, low: float | None = None, high: float | None = None) -> Cost:
    text = f"{value:,.0f}" if value >= 1e5 else significant(value)
    if low is not None and high is not None:
        text += f" [{significant(low)}–{significant(high)}]"
    return {"value": value, "low": low, "high": high, "text": text}


def _counted_axis(selection: Selection, get: Callable[[Record], float | None]) -> Axis:
    numbers = {name: get(usable(selection, name) or {}) for name in selection.variants()}

    def of(name: str) -> Cost | None:
        value = numbers.get(name)
        return None if value is None else _cost(value)

    def verdict(one: str, two: str) -> str:
        first, second = numbers.get(one), numbers.get(two)
        if first is None or second is None:
            return "not compared"
        return "tie" if first == second else "better" if first < second else "worse"

    return Axis(of, verdict)


def _minutes_axis(selection: Selection) -> Axis:
    def of(name: str) -> Cost | None:
        training = (usable(selection, name) or {}).get("training") or {}
        features = lookup(training, "setup", "features") or {}
        if training.get("seconds") is None or features.get("train_batches_read"):
            return None
        return _cost(training["seconds"] / 60)

    # One run of each: no difference of minutes is declared, so none takes a variant off the front.
    return Axis(of, lambda one, two: "tie")


def _gmacs(record: Record) -> float | None:
    return gmacs(record, GUIDE_PIXELS).number


def _count(record: Record, key: str) -> float | None:
    value = lookup(record, "counts", key)
    return None if value is None else float(value)


def _front(ranking: Ranking | None, axis: Axis) -> dict[str, Any]:
    if ranking is None:
        return {"front": [], "no_front": "no accuracies that may be compared"}
    names = [name for name in ranking.names if axis.of(name) is not None]
    if not names:
        return {"front": [], "no_front": "no compared variant has this cost"}
    few = too_few_images(ranking.median_detectable()) if len(names) > 1 else None
    if few is not None:
        return {"front": [], "no_front": few}
    return {"front": list(front(names, ranking.verdict, axis.verdict).names), "no_front": ""}


# --- variants --------------------------------------------------------------------------------


def _variant(
    selection: Selection, name: str, axes: Sequence[tuple[str, str, Axis]]
) -> dict[str, Any]:
    run = usable(selection, name)
    valid = [run for run in runs_of(selection, name) if selection.invalid(run) is None]
    f1 = macro_f1_of(valid)
    costs = {key: cost for key, _, axis in axes if (cost := axis.of(name)) is not None}
    return {
        "name": name,
        "accuracy": _accuracy(accuracy_of(selection, name)),
        "macro_f1": None if f1 is None else {"value": f1.mean, "text": f1.text()},
        "costs": costs if run is not None else {},
    }


def _accuracy(accuracy: SeedAccuracy | None) -> dict[str, Any] | None:
    if accuracy is None:
        return None
    shares = accuracy.shares
    several = len(shares.values) > 1
    low, high = accuracy.bar if several else (accuracy.low, accuracy.high)
    return {
        "value": 100 * shares.mean,
        "low": None if low is None else 100 * low,
        "high": None if high is None else 100 * high,
        "range": several and accuracy.low is None,
        "part": accuracy.part,
        "images": accuracy.images,
        "seeds": len(shares.values),
        "undertrained": accuracy.undertrained,
    }


# --- runs ------------------------------------------------------------------------------------


def _curves(run: Record) -> dict[str, Any] | None:
    epochs = lookup(run, "training", "epochs")
    if not epochs:
        return None
    return {
        "name": variant_of(run),
        "best": lookup(run, "training", "best_epoch"),
        "epoch": [epoch.get("epoch", place) for place, epoch in enumerate(epochs, 1)],
        **{key: [epoch.get(key) for epoch in epochs] for key in CURVES},
    }


def _confusion(run: Record) -> dict[str, Any] | None:
    counts = confusion(run)
    if counts is None:
        return None
    classes = [one_line(name) for name in run["data"]["classes"]]
    return {
        "name": variant_of(run),
        "classes": classes,
        "counts": counts if len(classes) <= MOST_CLASSES else None,
        "part": judged_part(run),
        "worst": most_confused(classes, counts),
    }


def most_confused(
    classes: Sequence[str], counts: Sequence[Sequence[int]], most: int = 8
) -> list[dict[str, Any]]:
    """The pairs of classes that were mistaken for each other most often, in one direction each."""
    pairs: list[dict[str, Any]] = [
        {"true": classes[row], "predicted": classes[column], "images": count, "of": sum(line)}
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    ]
    pairs.sort(key=lambda pair: (-pair["images"], pair["true"], pair["predicted"]))
    return pairs[:most]
