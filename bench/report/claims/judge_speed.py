"""Verdicts on speeds: ratios of two models from one timing session, absolute ones like for like."""

from __future__ import annotations

import attrs

from bench.report.analysis.metrics import gmacs, train_images_per_s
from bench.report.analysis.selection import distinct
from bench.report.analysis.validity import Record
from bench.report.analysis.values import significant
from bench.report.claims.conditions import (
    OF_THE_WEIGHTS,
    differing,
    facts_of_run,
    has_reduction,
    same,
    unstated,
)
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
    Evidence,
    Figure,
    Verdict,
    decide,
    joined,
)
from bench.report.claims.quantities import RATIO
from bench.report.claims.statements import Claim
from bench.report.claims.timings import (
    GUIDE_PIXELS,
    Timed,
    like,
    ordered,
    timings_for,
    why_none,
)

MOST_OTHERS = 3


def judge_speed(claim: Claim, evidence: Evidence) -> Verdict:
    """Inference speed, latency or training speed, as a figure or as a ratio of two models."""
    return (judge_ratio if claim.form == RATIO else _judge_absolute)(claim, evidence)


# --- ratios ----------------------------------------------------------------------------------


def judge_ratio(claim: Claim, evidence: Evidence) -> Verdict:
    """Decide a ratio on the machine at hand, from the rounds of sessions that timed both models."""
    timed = list(timings_for(claim, evidence))
    if not timed:
        trained = _from_trainings(claim, evidence)
        return trained or Verdict(NOT_MEASURED, why_none(claim, evidence))
    fitting = [one for one in timed if not _differs(claim, one)]
    if not fitting:
        nearest = ordered(timed)[0]
        reason = joined(_differs(claim, nearest))
        return Verdict(NOT_COMPARABLE, f"conditions differ: {reason}", nearest.figure)
    first, *others = ordered(like(claim, fitting))
    verdict = decide(claim, first.figure, first.few())
    words = {decide(claim, one.figure).word for one in (first, *others)}
    reason = verdict.reason
    if {CONFIRMED, CONTRADICTED} <= words:
        reason = "the cases disagree, and the claim does not say which of them it means"
        verdict = attrs.evolve(verdict, word=UNDECIDED)
    more = f" and {len(others) - MOST_OTHERS} more" if len(others) > MOST_OTHERS else ""
    also = ", ".join(_brief(one) for one in others[:MOST_OTHERS]) + more
    parts = [
        reason,
        _elsewhere(claim, first),
        _left_open(claim, first),
        f"also {also}" if others else "",
        _marked(first),
        _work(claim, evidence),
    ]
    return attrs.evolve(verdict, reason=joined(parts), where=first.figure.machine)


def _differs(claim: Claim, one: Timed) -> list[str]:
    """Stated conditions that forbid a comparison; another machine does not forbid a ratio."""
    without = [*OF_THE_WEIGHTS, "device", "device_name"]
    without += ["threads"] * (one.case.device != "cpu")
    return differing(claim.conditions, one.facts, without)


def _elsewhere(claim: Claim, one: Timed) -> str:
    stated = [
        str(claim.conditions[key])
        for key in ("device_name", "device")
        if key in claim.conditions and not same(key, claim.conditions[key], one.facts[key])
    ]
    if not stated:
        return ""
    return f"the claim is of {stated[0]}: only the ratio is decided here, on this machine"


def _left_open(claim: Claim, one: Timed) -> str:
    needed = ("device", *claim.kind.needs)
    missing = unstated(claim.conditions, [key for key in needed if key != "device_name"])
    if not missing:
        return f"at {one.settings()}"
    return f"the claim states no {', '.join(missing)}: decided at {one.settings()}"


def _marked(one: Timed) -> str:
    return f"marked: {', '.join(one.marks)}" if one.marks else ""


def _brief(one: Timed) -> str:
    return f"{one.figure.value()} ({one.figure.machine}, {one.settings()})"


def _work(claim: Claim, evidence: Evidence) -> str:
    """How much more one model computes, which a ratio of speeds has to be read with."""
    counts = []
    for name in (claim.variant, claim.against or ""):
        record = evidence.selection.chosen(name)
        counts.append(gmacs(record, GUIDE_PIXELS).number if record else None)
    if not counts[0] or not counts[1]:
        return ""
    times = significant(counts[0] / counts[1])
    where = f"at {GUIDE_PIXELS} pixels, counted here"
    return f"{claim.variant} needs {times} × the MACs of {claim.against} {where}"


def _from_trainings(claim: Claim, evidence: Evidence) -> Verdict | None:
    """The ratio of two trainings' speeds: one sample, so it decides nothing."""
    names = (claim.variant, claim.against or "")
    if claim.metric != "training_speed" or any(map(evidence.absence, names)):
        return None
    records = [evidence.selection.chosen(name) for name in names]
    one, two = (train_images_per_s(record or {}) for record in records)
    if one.number is None or two.number is None or dict(one.setting) != dict(two.setting):
        return None
    machine = one.place()
    figure = Figure(one.number / two.number, None, None, "1 training each", claim.unit, machine)
    differs = [text for record in records for text in _training_differs(claim, record or {})]
    if differs:
        reason = f"conditions differ: {', '.join(distinct(differs))}"
        return Verdict(NOT_COMPARABLE, reason, figure)
    verdict = decide(claim, figure, "from one training each: no interval without timed steps")
    return attrs.evolve(verdict, where=machine)


def _training_differs(claim: Claim, record: Record) -> list[str]:
    facts = facts_of_run(record, {})
    without = [*OF_THE_WEIGHTS, "device", "device_name"]
    without += ["threads"] * (facts["device"] != "cpu")
    without += ["reduction"] * (not has_reduction(record))
    return differing(claim.conditions, facts, without)


# --- absolute figures ------------------------------------------------------------------------


def _judge_absolute(claim: Claim, evidence: Evidence) -> Verdict:
    """Like for like only; else what the ratio to the model beside it says."""
    timed = list(timings_for(claim, evidence))
    if not timed:
        return Verdict(NOT_MEASURED, why_none(claim, evidence))
    kept = ordered(like(claim, timed))
    exact = [one for one in kept if not _all_differing(claim, one)]
    first = (exact or kept)[0]
    # A CPU's speed needs its threads too, whether or not the claim says "cpu".
    missing = unstated({"device": first.case.device, **claim.conditions}, claim.kind.needs)
    if exact and not missing:
        verdict = decide(claim, first.figure, first.few())
        parts = [verdict.reason, f"at {first.settings()}", _marked(first)]
        return attrs.evolve(verdict, reason=joined(parts))
    parts = [f"unstated: {', '.join(missing)}"] if missing else []
    differs = _all_differing(claim, first)
    if differs:
        parts.append(f"conditions differ: {', '.join(differs)}")
    return Verdict(NOT_COMPARABLE, joined([*parts, _implied(claim, evidence)]), first.figure)


def _all_differing(claim: Claim, one: Timed) -> list[str]:
    without = [*OF_THE_WEIGHTS] + ["threads"] * (one.case.device != "cpu")
    return differing(claim.conditions, one.facts, without)


def _implied(claim: Claim, evidence: Evidence) -> str:
    ratio = claim.ratio()
    if ratio is None:
        return "no other model is stated beside it, so no ratio is implied"
    said = f"the ratio to {ratio.against} that it implies, {ratio.figure()}"
    found = judge_ratio(ratio, evidence)
    if found.figure is None:
        return f"{said}, is {found.word} ({found.reason})"
    return f"{said}, is {found.cell()}: {found.figure.value()}"
