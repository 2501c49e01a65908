"""Verdicts on accuracies: only from valid, trained runs on the data that the claim is about."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.report.analysis.matching import AccuracyPair, accuracy_pair, rankings
from bench.report.analysis.run_sets import has_accuracy, run_set, sweep_of
from bench.report.analysis.seeds import accuracy_of
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.validity import Record
from bench.report.chapters.attention import word
from bench.report.claims.conditions import OF_THE_MACHINE, unstated
from bench.report.claims.judging import (
    NOT_COMPARABLE,
    NOT_MEASURED,
    Figure,
    Verdict,
    decide,
    differs_from,
    joined,
    missing_reason,
    refusals,
)
from bench.report.claims.quantities import DIFFERENCE
from bench.report.claims.statements import Claim
from bench.system.digits import counted


@attrs.frozen(eq=False)
class Runs:
    """The runs that a claim may be held against.

    Attributes:
        records: valid and trained, under the claim's conditions where there are such.
        differs: what the latest differs in where there are none.
        missing_reason: why there is no record.
    """

    records: Sequence[Record] = ()
    differs: Sequence[str] = ()
    missing_reason: str = ""

    def refusals(self, claim: Claim) -> list[str]:
        """Return why they are not comparable with the claim."""
        return refusals(unstated(claim.conditions, claim.kind.needs), self.differs)


def judge_accuracy(claim: Claim, selection: Selection) -> Verdict:
    """Judge accuracy on the judged part, or its paired difference from another variant's."""
    return (_difference if claim.form == DIFFERENCE else _value)(claim, selection)


def _value(claim: Claim, selection: Selection) -> Verdict:
    runs = runs_for(claim, claim.variant, selection)
    if not runs.records:
        return Verdict(NOT_MEASURED, runs.missing_reason)
    found = accuracy_of(Selection(runs.records), claim.variant)
    if found is None:  # the records were chosen for having an accuracy
        raise ValueError(f"{claim.variant}: no accuracy in the runs chosen for {claim.id}")
    seeds = counted(len(found.shares.values), "seed")
    figure = Figure(
        100 * found.shares.mean,
        None if found.low is None else 100 * found.low,
        None if found.high is None else 100 * found.high,
        f"{found.count()}, {found.part}, {joined(seeds, found.folds)}",
        claim.unit,
    )
    return _decide(claim, figure, found.part, runs.refusals(claim))


def _decide(claim: Claim, figure: Figure, part: str, refused: Sequence[str]) -> Verdict:
    few = "no interval: which images were classified correctly is unknown"
    verdict = decide(claim, figure, few, refused)
    if refused:
        return verdict
    chosen = "" if part == "test" else ", which the best epoch was chosen on"
    return verdict.noting(f"judged on the {part} part{chosen}")


def _difference(claim: Claim, selection: Selection) -> Verdict:
    runs = [runs_for(claim, name, selection) for name in (claim.variant, claim.against or "")]
    if not all(each.records for each in runs):
        return Verdict(NOT_MEASURED, joined(*(each.missing_reason for each in runs)))
    pair, family = _pair(claim, [each.records for each in runs], selection)
    refused = distinct(joined(*each.refusals(claim)) or None for each in runs)
    found = pair.found
    if found is None:
        refused = refused or [pair.refused.reason if pair.refused else ""]
        return Verdict(NOT_COMPARABLE, joined(*refused))
    numbers = (100 * found.difference, 100 * found.low, 100 * found.high)
    figure = Figure(*numbers, f"{pair.images()}, {found.scope}", claim.unit)
    verdict = _decide(claim, figure, pair.part, refused)
    if refused:
        return verdict
    return verdict.noting(f"{word(found.verdict)} {family} ({found.method})", pair.about)


def _pair(
    claim: Claim, records: Sequence[Sequence[Record]], selection: Selection
) -> tuple[AccuracyPair, str]:
    """Return the report's verdict on the two, or that of the latest sweep with runs of both.

    With the family that it was judged in.
    """
    names = (claim.variant, claim.against or "")
    sweeps = [{sweep_of(record) for record in runs} for runs in records]
    for ranking in rankings(selection)[0]:
        ranked = {
            each.variant: {sweep_of(run) for run in each.runs.values()} for each in ranking.sets
        }
        if all(ranked.get(name, {None}) <= ids for name, ids in zip(names, sweeps, strict=True)):
            return accuracy_pair(selection, *names), "among all variants that are ranked with them"
    common = [record for record in records[0] if sweep_of(record) in sweeps[1]]
    if common:
        sweep = selection.of_sweep(sweep_of(max(common, key=seconds_of)))
        return accuracy_pair(sweep, *names), "among all variants of their sweep"
    alone = Selection([*records[0], *records[1]])
    return accuracy_pair(alone, *names), "of these two alone, from different sweeps"


def runs_for(claim: Claim, variant: str, selection: Selection) -> Runs:
    """Return the variant's runs that were made as the claim says, or else all that can be judged.

    Sweeps with an invalid or undertrained run are left out whole; where the latest is one of them,
    there is no run to judge.
    """
    judged = [record for record in selection.complete(variant) if has_accuracy(record)]
    if not judged:
        reason = missing_reason(selection, variant)
        return Runs(missing_reason=reason or f"{variant} was not trained in these runs")
    differs = {id(run): differs_from(claim, run, OF_THE_MACHINE) for run in judged}
    candidates = [run for run in judged if not differs[id(run)]] or judged
    latest = max(candidates, key=seconds_of)
    absent = run_set(selection, variant, sweep_of(latest)).absent
    if absent:
        return Runs(missing_reason=absent)
    whole = [run for run in candidates if not run_set(selection, variant, sweep_of(run)).absent]
    return Runs(whole, differs[id(latest)])
