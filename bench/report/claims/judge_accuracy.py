"""Verdicts on accuracies: only from valid, trained runs on the data that the claim is about."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.report.analysis.matching import AccuracyPair, accuracy_pair, rankings
from bench.report.analysis.run_sets import has_accuracy, run_set, sweep_of
from bench.report.analysis.selection import Selection, seconds_of
from bench.report.analysis.timings import counted
from bench.report.analysis.validity import Record
from bench.report.chapters.attention import word
from bench.report.chapters.seeds import accuracy_of
from bench.report.claims.conditions import (
    OF_THE_MACHINE,
    differing,
    facts_of_run,
    has_reduction,
    unstated,
)
from bench.report.claims.judging import (
    NOT_COMPARABLE,
    NOT_MEASURED,
    Evidence,
    Figure,
    Verdict,
    decide,
    joined,
)
from bench.report.claims.quantities import DIFFERENCE
from bench.report.claims.statements import Claim


@attrs.frozen(eq=False)
class Runs:
    """The runs that a claim may be held against.

    Attributes:
        fitting: valid and trained, and under the claim's conditions.
        others: all that are valid and trained.
        differs: what the latest of the others differs in.
        absent: why there is neither.
    """

    fitting: tuple[Record, ...]
    others: tuple[Record, ...]
    differs: tuple[str, ...]
    absent: str


def judge_accuracy(claim: Claim, evidence: Evidence) -> Verdict:
    """Accuracy on the judged part, or its paired difference from another variant's."""
    return (_difference if claim.form == DIFFERENCE else _value)(claim, evidence)


def _value(claim: Claim, evidence: Evidence) -> Verdict:
    runs = runs_for(claim, claim.variant, evidence)
    if not runs.fitting and not runs.others:
        return Verdict(NOT_MEASURED, runs.absent)
    figure, part = _figure(claim, runs.fitting or runs.others)
    refused = _refusal(claim, runs)
    if refused:
        return Verdict(NOT_COMPARABLE, refused, figure)
    return _judged(claim, figure, part)


def _figure(claim: Claim, records: Sequence[Record]) -> tuple[Figure, str]:
    found = accuracy_of(Selection(records), claim.variant)
    if found is None:  # the records were chosen for having an accuracy
        raise ValueError(f"{claim.variant}: no accuracy in the runs chosen for {claim.id}")
    bounds = [None if bound is None else 100 * bound for bound in (found.low, found.high)]
    seeds = counted(len(found.shares.values), "seed")
    count = f"{found.count()}, {found.part}, {joined([seeds, found.folds])}"
    return Figure(100 * found.shares.mean, bounds[0], bounds[1], count, claim.unit), found.part


def _judged(claim: Claim, figure: Figure, part: str) -> Verdict:
    verdict = decide(
        claim, figure, "no interval: which images were classified correctly is unknown"
    )
    note = f"judged on the {part} part"
    if part != "test":
        note += ", which the best epoch was chosen on"
    return attrs.evolve(verdict, reason=joined([verdict.reason, note]))


def _difference(claim: Claim, evidence: Evidence) -> Verdict:
    one = runs_for(claim, claim.variant, evidence)
    two = runs_for(claim, claim.against or "", evidence)
    absent = [runs.absent for runs in (one, two) if not runs.fitting and not runs.others]
    if absent:
        return Verdict(NOT_MEASURED, joined(absent))
    refused = [_refusal(claim, runs) for runs in (one, two)]
    kept = [runs.fitting or runs.others for runs in (one, two)]
    pair, among = _pair(claim, kept, evidence.selection)
    figure = None
    if pair.found is not None:
        numbers = (100 * pair.found.difference, 100 * pair.found.low, 100 * pair.found.high)
        figure = Figure(*numbers, f"{pair.images()}, {pair.found.scope}", claim.unit)
    if any(refused):
        return Verdict(NOT_COMPARABLE, joined(list(dict.fromkeys(refused))), figure)
    if figure is None or pair.found is None:
        return Verdict(NOT_COMPARABLE, pair.refused.reason if pair.refused else "", figure)
    verdict = _judged(claim, figure, pair.part)
    said = f"{word(pair.found.verdict)} {among} ({pair.found.method})"
    return attrs.evolve(verdict, reason=joined([verdict.reason, said, pair.about]))


def _pair(
    claim: Claim, kept: Sequence[Sequence[Record]], selection: Selection
) -> tuple[AccuracyPair, str]:
    """The report's verdict on the two, or that of the latest sweep whose runs the claim may use.

    With the family that it was judged in.
    """
    names = (claim.variant, claim.against or "")
    sweeps = [{sweep_of(record) for record in records} for records in kept]
    for ranking in rankings(selection)[0]:
        used = {
            each.variant: {sweep_of(run) for run in each.runs.values()} for each in ranking.sets
        }
        if all(used.get(name, {None}) <= known for name, known in zip(names, sweeps, strict=True)):
            return accuracy_pair(selection, *names), "among all variants that are ranked with them"
    common = [record for record in kept[0] if sweep_of(record) in sweeps[1]]
    if common:
        found = selection.of_sweep(sweep_of(max(common, key=seconds_of)))
        return accuracy_pair(found, *names), "among all variants of their sweep"
    alone = Selection([*kept[0], *kept[1]])
    return accuracy_pair(alone, *names), "of these two alone, from different sweeps"


def _refusal(claim: Claim, runs: Runs) -> str:
    missing = unstated(claim.conditions, claim.kind.needs)
    parts = [f"unstated: {', '.join(missing)}"] if missing else []
    if not runs.fitting:
        parts.append(f"conditions differ: {', '.join(runs.differs)}")
    return joined(parts)


def runs_for(claim: Claim, variant: str, evidence: Evidence) -> Runs:
    """The variant's runs, by whether they were made as the claim says.

    Sweeps with an invalid or undertrained run are left out whole; where the latest is one of them,
    there is no run to judge.
    """
    selection, data = evidence.selection, evidence.claims.data
    judged = [record for record in selection.complete(variant) if has_accuracy(record)]
    if not judged:
        reason = evidence.absence(variant) or f"{variant} was not trained in these runs"
        return Runs((), (), (), reason)

    def differs(record: Record) -> list[str]:
        # A difference has one reduction where only one of the two models has any.
        spared = ["reduction"] * (claim.form == DIFFERENCE and not has_reduction(record))
        facts = facts_of_run(record, data)
        return differing(claim.conditions, facts, [*OF_THE_MACHINE, *spared])

    candidates = [record for record in judged if not differs(record)]
    latest = max(candidates or judged, key=seconds_of)
    absent = run_set(selection, variant, sweep_of(latest)).absent
    if absent:
        return Runs((), (), (), absent)
    sweeps = {sweep_of(record) for record in judged}
    whole = {sweep for sweep in sweeps if run_set(selection, variant, sweep).absent is None}
    fitting = tuple(record for record in candidates if sweep_of(record) in whole)
    others = tuple(record for record in judged if sweep_of(record) in whole)
    return Runs(fitting, others, tuple(differs(latest)), "")
