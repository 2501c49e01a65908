"""Which runs of two variants may be compared, and the one verdict on each pair of accuracies."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import attrs
import numpy as np

from bench.config.options import flag_of, options
from bench.records.schema import lookup
from bench.report.analysis.run_sets import RunSet, broken, has_accuracy, run_set, sweep_of
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.timings import counted
from bench.report.analysis.validity import Record, judged_accuracy, once, units_of_all
from bench.report.render.markdown import one_line
from bench.stats.multiple import Family
from bench.stats.multireader import FEWEST_SEEDS, table_of, unit_numbers
from bench.stats.pairs import VARIANTS, PairVerdict, judge_pairs

# --- may two runs be compared? ---------------------------------------------------------------


@attrs.frozen
class Refusal:
    """Why two runs are not compared; ``data``: they saw other images or another size of them."""

    reason: str
    data: bool = False


def refusal(one: RunSet, two: RunSet) -> Refusal | None:
    """Return what two variants' runs differ in, apart from the variant itself."""
    first, second = one.first, two.first
    shared = {
        "data fingerprints": [lookup(run, "data", "fingerprint") for run in (first, second)],
        "image sizes": [lookup(run, "config", "image_size") for run in (first, second)],
        "parts": [one.part, two.part],
    }
    for name, values in shared.items():
        if values[0] != values[1]:
            short = [one_line(value)[:12] for value in values]
            reason = f"{name} differ: {one.variant} {short[0]}, {two.variant} {short[1]}"
            return Refusal(reason, data=True)
    others = dict(settings(second))
    differing = [
        f"{name} {value} and {others.get(name)}"
        for name, value in settings(first)
        if others.get(name) != value
    ]
    return Refusal(f"settings differ: {'; '.join(differing)}") if differing else None


def settings(record: Record) -> list[tuple[str, str]]:
    """Return what the training of two runs must share: all but seeds, paths and measuring."""
    config = record.get("config") or {}
    shared = [
        # Records from before there was an option did what its default does.
        (flag_of(field.name), one_line(config.get(field.name, field.default)))
        for field in options()
        if field.metadata["compared"]
    ]
    weights = lookup(record, "training", "initial_weights")
    start = "not recorded" if weights is None else "random" if weights == "random" else "pretrained"
    return [
        *shared,
        ("image loader", one_line((record.get("data") or {}).get("loader", 1))),
        ("mixed precision", one_line(lookup(record, "training", "amp"))),
        ("initial weights", start),
    ]


# --- accuracy --------------------------------------------------------------------------------


@attrs.frozen
class AccuracyPair:
    """Accuracy of a variant against another's, or why there is no comparison.

    Attributes:
        seeds: that both have.
        folds: of a seed, pooled.
        found: the one verdict on the pair, the same wherever it is shown.
        about: why the verdict is not about the variants, or "".
        notes: runs that were left out, with the reason.
    """

    variant: str
    other: str
    part: str = ""
    seeds: tuple[Any, ...] = ()
    folds: int = 0
    found: PairVerdict | None = None
    about: str = ""
    refused: Refusal | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``tie``, or ``not compared``."""
        return "not compared" if self.found is None else self.found.verdict

    def turned(self) -> AccuracyPair:
        """Return the other against the variant."""
        found = None if self.found is None else self.found.turned()
        return attrs.evolve(self, variant=self.other, other=self.variant, found=found)

    def images(self) -> str:
        """Return ``23 test images``, with numbers of groups, seeds or folds above one."""
        if self.found is None:
            return ""
        text = counted(self.found.images, f"{self.part} image")
        if self.found.units < self.found.images:
            text += f" in {counted(self.found.units, 'group')}"
        if len(self.seeds) > 1:
            text += f", {len(self.seeds)} seeds"
        return text + (f", {self.folds} folds" if self.folds > 1 else "")


@attrs.frozen(eq=False)
class Ranking:
    """Variants whose accuracies may be compared: same data, size, part and settings.

    Attributes:
        sets: the runs of each, best measured first.
        pairs: all pairs, judged together.
        scope: what the verdicts are about: ``trained models`` or ``variants``.
        about: why it is not the variants, or "".
    """

    sets: tuple[RunSet, ...]
    pairs: tuple[AccuracyPair, ...]
    scope: str
    about: str
    _family: Family[str, AccuracyPair] = attrs.field(init=False, repr=False)

    @_family.default
    def _by_names(self) -> Family[str, AccuracyPair]:
        return Family({(pair.variant, pair.other): pair for pair in self.pairs}, "not compared")

    def pair(self, one: str, two: str) -> AccuracyPair:
        """Return one against two; KeyError where one of them is not ranked here."""
        pair = self._family.pair(one, two)
        if pair is None:
            raise KeyError((one, two))
        return pair

    def verdict(self, one: str, two: str) -> str:
        """Return ``better``, ``worse``, ``tie`` or ``not compared``: one against two."""
        return self._family.verdict(one, two)

    @property
    def names(self) -> list[str]:
        """The variants, best measured first."""
        return [runs.variant for runs in self.sets]

    def ranks(self) -> dict[str, int]:
        """Return rank of each variant that is judged against another; ties share one."""
        judged = {name for pair in self.pairs if pair.found for name in (pair.variant, pair.other)}
        return self._family.ranks([name for name in self.names if name in judged], "better")

    def tied_with(self, name: str) -> list[str]:
        """Return the variants that cannot be told from one."""
        return [other for other in self.names if self.verdict(name, other) == "tie"]

    def median_detectable(self) -> float | None:
        """Return the median pair's minimum detectable difference, a fraction; None without one."""
        detectable = [pair.found.minimum_detectable for pair in self.pairs if pair.found]
        return statistics.median(detectable) if detectable else None


@once
def rankings(selection: Selection) -> tuple[list[Ranking], dict[str, str]]:
    """Return the rankings of a report, largest first, and why a variant is in none.

    Variants that differ in data, image size or settings are ranked apart.
    """
    groups: list[list[RunSet]] = []
    left_out: dict[str, str] = {}
    for name in selection.variants():
        runs = run_set(selection, name)
        reason = broken(selection, name) or runs.absent
        if reason:
            left_out[name] = reason.removeprefix(f"{name}: ").removeprefix(f"{name}, ")
            continue
        for group in groups:
            if refusal(group[0], runs) is None and set(group[0].runs) & set(runs.runs):
                group.append(runs)
                break
        else:
            groups.append([runs])
    ranked = []
    for group in sorted(groups, key=len, reverse=True):
        ranking, alone = _ranking(group), _without_partner(group)
        if ranking.scope == VARIANTS and alone:
            reason = f"shares fewer than {FEWEST_SEEDS} seeds with each of the others"
            left_out |= {runs.variant: reason for runs in alone}
            ranking = _ranking([runs for runs in group if runs not in alone])
        ranked.append(ranking)
    return sorted(ranked, key=lambda ranking: len(ranking.sets), reverse=True), left_out


def _without_partner(group: Sequence[RunSet]) -> list[RunSet]:
    """Return those of which no other has the seeds that a verdict about variants needs."""
    return [
        runs
        for runs in group
        if all(
            len(set(runs.seeds) & set(other.seeds)) < FEWEST_SEEDS
            for other in group
            if other is not runs
        )
    ]


def _ranking(sets: Sequence[RunSet]) -> Ranking:
    ordered = sorted(sets, key=lambda runs: -mean_accuracy(runs))
    correct, images = table_of({runs.variant: runs.hits_by_seed() for runs in ordered})
    groups = units_of_all(record for runs in ordered for record in runs.runs.values())
    judged = judge_pairs(correct, unit_numbers(images, groups))
    seeds = list(dict.fromkeys(seed for runs in ordered for seed in runs.seeds))
    pairs = []
    for (i, one), (j, two) in combinations(enumerate(ordered), 2):
        pair = AccuracyPair(one.variant, two.variant, part=one.part, about=judged.reason)
        found = judged.pairs.get((i, j))
        if found is None:
            pairs.append(attrs.evolve(pair, refused=Refusal(_apart(one, two))))
            continue
        both = tuple(seeds[index] for index in found.seeds)
        folds = {fold for seed, fold in set(one.runs) & set(two.runs) if seed in both}
        notes = tuple(text for runs in (one, two) if (text := _lacking(runs, seeds)))
        pairs.append(attrs.evolve(pair, found=found, seeds=both, folds=len(folds), notes=notes))
    return Ranking(tuple(ordered), tuple(pairs), judged.scope, judged.reason)


def _lacking(runs: RunSet, seeds: Sequence[Any]) -> str:
    lacking = ", ".join(str(seed) for seed in seeds if seed not in runs.seeds)
    if not lacking:
        return ""
    return (
        f"{runs.variant} has no run with seed {lacking}: its pairs rest on the seeds that both have"
    )


def _apart(one: RunSet, two: RunSet) -> str:
    """Return why a pair of a ranking has no verdict."""
    common = set(one.seeds) & set(two.seeds)
    if not common:
        seeds = [", ".join(map(str, distinct(runs.seeds))) for runs in (one, two)]
        return f"no run with the same seed and fold: seeds {' and '.join(seeds)}"
    if len(common) < FEWEST_SEEDS and max(len(one.runs), len(two.runs)) > 1:
        return (
            f"the two share {counted(len(common), 'seed')}, verdicts about variants need "
            f"{FEWEST_SEEDS}"
        )
    return "the two share no evaluated image"


def ranking_of(selection: Selection, variant: str, other: str) -> Ranking | None:
    """Return the ranking in which both stand.

    Where their latest runs cannot be compared, that of the latest sweep that trained both.
    """
    refused: Ranking | None = None
    for records in (selection, *_common_sweep(selection, variant, other)):
        for ranking in rankings(records)[0]:
            if variant in ranking.names and other in ranking.names:
                if ranking.pair(variant, other).found is not None:
                    return ranking
                refused = refused or ranking
    return refused


def accuracy_pair(selection: Selection, variant: str, other: str) -> AccuracyPair:
    """Return the verdict on two variants: that of :func:`ranking_of`."""
    ranking = ranking_of(selection, variant, other)
    if ranking is not None:
        return ranking.pair(variant, other)
    one, two = run_set(selection, variant), run_set(selection, other)
    absent = one.absent or two.absent or broken(selection, variant) or broken(selection, other)
    refused = Refusal(absent) if absent else refusal(one, two) or Refusal(_apart(one, two))
    return AccuracyPair(variant, other, refused=refused, notes=(*one.left_out, *two.left_out))


def _common_sweep(selection: Selection, variant: str, other: str) -> list[Selection]:
    """Return the runs of the latest sweep that trained both, where it is not the only one."""
    sweeps = {sweep_of(record) for record in selection.complete(other) if has_accuracy(record)}
    common = [
        record
        for record in selection.complete(variant)
        if has_accuracy(record) and sweep_of(record) in sweeps
    ]
    if not common or len({sweep_of(record) for record in selection.records}) == 1:
        return []
    return [selection.of_sweep(sweep_of(max(common, key=seconds_of)))]


# --- accuracy of one variant -----------------------------------------------------------------


def shares(runs: RunSet) -> list[float]:
    """Return accuracy of each seed, 0..1, over all of its folds."""
    pooled = [hits for hits in runs.hits_by_seed().values() if hits]
    if pooled:
        return [sum(hits.values()) / len(hits) for hits in pooled]
    accuracies = map(judged_accuracy, runs.runs.values())
    return [accuracy.share for accuracy in accuracies if accuracy is not None]


def mean_accuracy(runs: RunSet) -> float:
    """Return mean over the seeds, 0..1."""
    return float(np.mean(shares(runs)))
