"""Verdicts on speeds: ratios of two models from one timing session, absolute ones like for like."""

from __future__ import annotations

import attrs

from bench.records.schema import lookup
from bench.report.analysis.metrics import gmacs, train_images_per_s
from bench.report.analysis.selection import Selection, distinct
from bench.report.analysis.timings import GUIDE_PIXELS
from bench.report.analysis.values import significant
from bench.report.claims.conditions import same, unstated
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
    Figure,
    Verdict,
    decide,
    differs_from,
    missing_reason,
    refusals,
    too_few,
)
from bench.report.claims.quantities import RATIO
from bench.report.claims.statements import Claim
from bench.report.claims.timings import (
    Timed,
    nearest,
    ordered,
    speed_exempt,
    timings_for,
    untimed_reason,
)

MOST_OTHERS = 3
# The ratio of two models is decided on another machine too.
_DEVICE = ("device", "device_name")


def judge_speed(claim: Claim, selection: Selection) -> Verdict:
    """Judge inference speed, latency or training speed, as a figure or as a ratio of two models."""
    return (judge_ratio if claim.form == RATIO else _judge_absolute)(claim, selection)


# --- ratios ----------------------------------------------------------------------------------


def judge_ratio(claim: Claim, selection: Selection) -> Verdict:
    """Decide a ratio on the machine at hand, from the rounds of sessions that timed both models."""
    timed = list(timings_for(claim, selection))
    if not timed:
        trained = _from_trainings(claim, selection)
        return trained or Verdict(NOT_MEASURED, untimed_reason(claim, selection))
    fitting = [each for each in timed if not each.differs(claim, _DEVICE)]
    if not fitting:
        first = ordered(timed)[0]
        reason = "; ".join(first.differs(claim, _DEVICE))
        return Verdict(NOT_COMPARABLE, f"conditions differ: {reason}", first.figure)
    first, *others = nearest(claim, fitting)
    verdict = decide(claim, first.figure, too_few(first.figure.count))
    words = {decide(claim, each.figure).word for each in (first, *others)}
    if {CONFIRMED, CONTRADICTED} <= words:
        reason = "the cases disagree, and the claim does not say which of them it means"
        verdict = Verdict(UNDECIDED, reason, first.figure)
    also = ", ".join(
        f"{each.figure.value()} ({each.figure.machine}, {each.settings()})"
        for each in others[:MOST_OTHERS]
    )
    more = f" and {len(others) - MOST_OTHERS} more" if len(others) > MOST_OTHERS else ""
    return verdict.noting(
        _elsewhere(claim, first),
        _left_open(claim, first),
        f"also {also}{more}" if others else "",
        first.marked(),
        _work(claim, selection),
        where=first.figure.machine,
    )


def _elsewhere(claim: Claim, timed: Timed) -> str:
    for key in ("device_name", "device"):
        stated = claim.conditions.get(key)
        if stated is not None and not same(key, stated, timed.facts[key]):
            return f"the claim is of {stated}: only the ratio is decided here, on this machine"
    return ""


def _left_open(claim: Claim, timed: Timed) -> str:
    needed = ("device", *claim.kind.needs)
    missing = unstated(claim.conditions, [key for key in needed if key != "device_name"])
    if not missing:
        return f"at {timed.settings()}"
    return f"the claim states no {', '.join(missing)}: decided at {timed.settings()}"


def _work(claim: Claim, selection: Selection) -> str:
    """Return how much more one model computes, which a ratio of speeds has to be read with."""
    counts = [
        gmacs(selection.chosen(name) or {}, GUIDE_PIXELS).number
        for name in (claim.variant, claim.against or "")
    ]
    if not counts[0] or not counts[1]:
        return ""
    times = significant(counts[0] / counts[1])
    where = f"at {GUIDE_PIXELS} pixels, counted here"
    return f"{claim.variant} needs {times} × the MACs of {claim.against} {where}"


def _from_trainings(claim: Claim, selection: Selection) -> Verdict | None:
    """Return the ratio of two trainings' speeds: one sample, so it decides nothing."""
    names = (claim.variant, claim.against or "")
    if claim.metric != "training_speed" or any(missing_reason(selection, name) for name in names):
        return None
    records = [selection.chosen(name) or {} for name in names]
    speed, base = map(train_images_per_s, records)
    if speed.number is None or base.number is None or dict(speed.setting) != dict(base.setting):
        return None
    machine = speed.place()
    ratio = speed.number / base.number
    figure = Figure(ratio, None, None, "1 training each", claim.unit, machine)
    differs = [
        text
        for record in records
        for text in differs_from(
            claim, record, speed_exempt(lookup(record, "training", "device"), _DEVICE)
        )
    ]
    few = "from one training each: no interval without timed steps"
    verdict = decide(claim, figure, few, refusals((), distinct(differs)))
    return verdict if differs else attrs.evolve(verdict, where=machine)


# --- absolute figures ------------------------------------------------------------------------


def _judge_absolute(claim: Claim, selection: Selection) -> Verdict:
    """Judge like for like only; else say what the ratio to the model beside it implies."""
    timed = nearest(claim, list(timings_for(claim, selection)))
    if not timed:
        return Verdict(NOT_MEASURED, untimed_reason(claim, selection))
    first = next((each for each in timed if not each.differs(claim)), timed[0])
    # A CPU's speed needs its threads too, whether or not the claim says "cpu".
    missing = unstated({"device": first.case.device, **claim.conditions}, claim.kind.needs)
    refused = refusals(missing, first.differs(claim))
    verdict = decide(claim, first.figure, too_few(first.figure.count), refused)
    if refused:
        return verdict.noting(_implied(claim, selection))
    return verdict.noting(f"at {first.settings()}", first.marked())


def _implied(claim: Claim, selection: Selection) -> str:
    ratio = claim.ratio()
    if ratio is None:
        return "no other model is stated beside it, so no ratio is implied"
    implied = f"the ratio to {ratio.against} that it implies, {ratio.figure()}"
    verdict = judge_ratio(ratio, selection)
    if verdict.figure is None:
        return f"{implied}, is {verdict.word} ({verdict.reason})"
    return f"{implied}, is {verdict.cell()}: {verdict.figure.value()}"
