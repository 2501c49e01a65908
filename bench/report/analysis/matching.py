"""Which runs of two variants may be compared, and the one verdict on each pair of accuracies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import attrs
import numpy as np

from bench.config.options import flag_of, options
from bench.report.analysis.run_sets import RunSet, broken, has_accuracy, run_set, sweep_of
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.timings import counted
from bench.report.analysis.validity import Record, judged_accuracy
from bench.report.render.markdown import one_line
from bench.stats.multiple import shared_ranks
from bench.stats.multireader import FEWEST_SEEDS, table_of, unit_numbers
from bench.stats.pairs import VARIANTS, PairVerdict, judge_pairs

# --- may two runs be compared? ---------------------------------------------------------------


@attrs.frozen
class Refusal:
    """Why two runs are not compared; ``data``: they saw other images or another size of them."""

    reason: str
    data: bool = False


def refusal(one: RunSet, two: RunSet) -> Refusal | None:
    """What two variants' runs differ in, apart from the variant itself."""
    first, second = one.first, two.first
    for what, key in (("data", "fingerprint"), ("config", "image_size")):
        pair = [(record.get(what) or {}).get(key) for record in (first, second)]
        if pair[0] != pair[1]:
            named = "image sizes" if key == "image_size" else "data fingerprints"
            values = f"{one.variant} {_short(pair[0])}, {two.variant} {_short(pair[1])}"
            return Refusal(f"{named} differ: {values}", data=True)
    if one.part != two.part:
        return Refusal(
            f"parts differ: {one.variant} {one.part}, {two.variant} {two.part}", data=True
        )
    theirs = dict(settings(second))
    differing = [
        f"{name} {value} and {theirs.get(name)}"
        for name, value in settings(first)
        if theirs.get(name) != value
    ]
    return Refusal(f"settings differ: {'; '.join(differing)}") if differing else None


def _short(value: Any) -> str:
    return one_line(value)[:12]


def settings(record: Record) -> list[tuple[str, str]]:
    """What the training of two runs must share: all options but seeds, paths and measuring."""
    config, training = record.get("config") or {}, record.get("training") or {}
    found = [
        # Records from before there was an option did what its default does.
        (flag_of(field.name), one_line(config.get(field.name, field.default)))
        for field in options()
        if field.metadata["compared"]
    ]
    weights = training.get("initial_weights")
    start = "not recorded" if weights is None else "random" if weights == "random" else "pretrained"
    loader = (record.get("data") or {}).get("loader", 1)
    return [
        *found,
        ("image loader", one_line(loader)),
        ("mixed precision", one_line(training.get("amp"))),
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
        """The other against the variant."""
        found = None if self.found is None else self.found.turned()
        return attrs.evolve(self, variant=self.other, other=self.variant, found=found)

    def images(self) -> str:
        """``23 test images``, with the number of groups, seeds or folds where there are several."""
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
    _known: Mapping[tuple[str, str], AccuracyPair] = attrs.field(init=False, repr=False)

    @_known.default
    def _by_names(self) -> dict[tuple[str, str], AccuracyPair]:
        found = {(pair.variant, pair.other): pair for pair in self.pairs}
        return {**found, **{(two, one): pair.turned() for (one, two), pair in found.items()}}

    def pair(self, one: str, two: str) -> AccuracyPair:
        """One against two; KeyError where one of them is not ranked here."""
        return self._known[one, two]

    def verdict(self, one: str, two: str) -> str:
        """``better``, ``worse``, ``tie`` or ``not compared``: one against two."""
        found = self._known.get((one, two))
        return "not compared" if found is None else found.verdict

    @property
    def names(self) -> list[str]:
        """The variants, best measured first."""
        return [each.variant for each in self.sets]

    def ranks(self) -> dict[str, int]:
        """Rank of each variant that is judged against another; ties share one."""
        judged = [
            name
            for name in self.names
            if any(name != other and self.pair(name, other).found for other in self.names)
        ]
        return shared_ranks(judged, lambda one, two: self.verdict(one, two) == "better")

    def tied_with(self, name: str) -> list[str]:
        """The variants that cannot be told from one."""
        return [
            other for other in self.names if other != name and self.verdict(name, other) == "tie"
        ]

    def median_detectable(self) -> float | None:
        """Minimum detectable difference of the median pair, a fraction; None without a pair."""
        found = [pair.found.minimum_detectable for pair in self.pairs if pair.found]
        return statistics.median(found) if found else None


def rankings(selection: Selection) -> tuple[list[Ranking], dict[str, str]]:
    """The rankings of a report, largest first, and why a variant is in none.

    Variants that differ in data, image size or settings are ranked apart.
    """
    found: tuple[list[Ranking], dict[str, str]] = selection.once(
        "rankings", "", lambda: _rankings(selection)
    )
    return found


def _rankings(selection: Selection) -> tuple[list[Ranking], dict[str, str]]:
    groups: list[list[RunSet]] = []
    left_out: dict[str, str] = {}
    for name in selection.variants():
        found = run_set(selection, name)
        reason = broken(selection, name) or found.absent
        if reason:
            left_out[name] = reason.removeprefix(f"{name}: ").removeprefix(f"{name}, ")
            continue
        fitting = (group for group in groups if _comparable(group[0], found))
        group = next(fitting, None)
        if group is None:
            groups.append([found])
        else:
            group.append(found)
    ranked = []
    for group in sorted(groups, key=len, reverse=True):
        ranking, alone = _ranking(group), _without_partner(group)
        if ranking.scope == VARIANTS and alone:
            reason = f"shares fewer than {FEWEST_SEEDS} seeds with each of the others"
            left_out |= {each.variant: reason for each in alone}
            ranking = _ranking([each for each in group if each not in alone])
        ranked.append(ranking)
    return sorted(ranked, key=lambda one: len(one.sets), reverse=True), left_out


def _without_partner(group: Sequence[RunSet]) -> list[RunSet]:
    """Those of which no other has the seeds that a verdict about variants needs."""
    seeds = [{seed for seed, _ in each.runs} for each in group]
    return [
        each
        for number, each in enumerate(group)
        if all(
            len(seeds[number] & other) < FEWEST_SEEDS
            for place, other in enumerate(seeds)
            if place != number
        )
    ]


def _comparable(one: RunSet, two: RunSet) -> bool:
    return refusal(one, two) is None and bool(set(one.runs) & set(two.runs))


def _ranking(sets: Sequence[RunSet]) -> Ranking:
    ordered = sorted(sets, key=lambda each: -mean_accuracy(each))
    hits = {each.variant: each.pooled(list(each.runs)) for each in ordered}
    correct, images = table_of(hits)
    groups = {image: unit for each in ordered for image, unit in each.units().items()}
    judged = judge_pairs(correct, unit_numbers(images, groups))
    seeds = list(dict.fromkeys(seed for by_seed in hits.values() for seed in by_seed))
    pairs = []
    for (i, one), (j, two) in combinations(enumerate(ordered), 2):
        found = judged.pairs.get((i, j))
        pair = AccuracyPair(one.variant, two.variant, part=one.part, about=judged.reason)
        if found is None:
            reason = _apart(one, two)
            pairs.append(attrs.evolve(pair, refused=Refusal(reason)))
            continue
        both = tuple(seeds[place] for place in found.seeds)
        folds = {fold for seed, fold in one.runs if seed in both and (seed, fold) in two.runs}
        notes = tuple(text for each in (one, two) if (text := _lacking(each, seeds)))
        pair = attrs.evolve(pair, found=found, seeds=both, folds=len(folds), notes=notes)
        pairs.append(pair)
    return Ranking(tuple(ordered), tuple(pairs), judged.scope, judged.reason)


def _lacking(runs: RunSet, seeds: Sequence[Any]) -> str:
    own = {seed for seed, _ in runs.runs}
    lacking = [str(seed) for seed in seeds if seed not in own]
    if not lacking:
        return ""
    return (
        f"{runs.variant} has no run with seed {', '.join(lacking)}: its pairs rest on the seeds "
        "that both have"
    )


def _apart(one: RunSet, two: RunSet) -> str:
    """Why a pair of a ranking has no verdict."""
    common = {seed for seed, _ in one.runs} & {seed for seed, _ in two.runs}
    if not common:
        return _seeds_apart(one, two)
    if len(common) < FEWEST_SEEDS and max(len(each.runs) for each in (one, two)) > 1:
        return (
            f"the two share {counted(len(common), 'seed')}, verdicts about variants need "
            f"{FEWEST_SEEDS}"
        )
    return "the two share no evaluated image"


def _seeds_apart(one: RunSet, two: RunSet) -> str:
    seeds = [", ".join(map(str, distinct(k[0] for k in each.runs))) for each in (one, two)]
    return f"no run with the same seed and fold: seeds {seeds[0]} and {seeds[1]}"


def ranking_of(selection: Selection, variant: str, other: str) -> Ranking | None:
    """The ranking in which both stand.

    Where their latest runs cannot be compared, that of the latest sweep that trained both.
    """
    refused: Ranking | None = None
    for found in (selection, *_common_sweep(selection, variant, other)):
        for ranking in rankings(found)[0]:
            if variant in ranking.names and other in ranking.names:
                if ranking.pair(variant, other).found is not None:
                    return ranking
                refused = refused or ranking
    return refused


def accuracy_pair(selection: Selection, variant: str, other: str) -> AccuracyPair:
    """The verdict on two variants: that of :func:`ranking_of`."""
    ranking = ranking_of(selection, variant, other)
    if ranking is not None:
        return ranking.pair(variant, other)
    one, two = run_set(selection, variant), run_set(selection, other)
    pair = AccuracyPair(variant, other, notes=(*one.left_out, *two.left_out))
    absent = one.absent or two.absent
    if absent:
        return attrs.evolve(pair, refused=Refusal(absent))
    reasons = (broken(selection, name) for name in (variant, other))
    unusable = next((reason for reason in reasons if reason), None)
    if unusable:
        return attrs.evolve(pair, refused=Refusal(unusable))
    refused = refusal(one, two) or Refusal(_apart(one, two))
    return attrs.evolve(pair, refused=refused)


def _common_sweep(selection: Selection, variant: str, other: str) -> list[Selection]:
    """The runs of the latest sweep that trained both, where it is not the only one."""
    theirs = {sweep_of(record) for record in selection.complete(other) if has_accuracy(record)}
    common = [
        record
        for record in selection.complete(variant)
        if has_accuracy(record) and sweep_of(record) in theirs
    ]
    if not common or len({sweep_of(record) for record in selection.records}) == 1:
        return []
    latest = sweep_of(max(common, key=seconds_of))
    return [selection.of_sweep(latest)]


# --- accuracy of one variant -----------------------------------------------------------------


def shares(runs: RunSet) -> list[float]:
    """Accuracy of each seed, 0..1, over all of its folds."""
    pooled = [hits for hits in runs.pooled(list(runs.runs)).values() if hits]
    if pooled:
        return [sum(hits.values()) / len(hits) for hits in pooled]
    found = [judged_accuracy(record) for record in runs.runs.values()]
    return [each.share for each in found if each is not None]


def mean_accuracy(runs: RunSet) -> float:
    """Mean over the seeds, 0..1."""
    return float(np.mean(shares(runs)))
