"""Variants by accuracy: ranks that ties share, and what each cannot be told from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import numpy as np

from bench.report.gates import judged_accuracy
from bench.report.markdown import Table
from bench.report.matching import AccuracyPair, adjusted, compare_sets, refusal
from bench.report.pairs import broken
from bench.report.runsets import RunSet, run_set
from bench.report.selection import Selection, caption, distinct
from bench.report.timed import counted
from bench.stats.accuracy import wilson
from bench.stats.multiple import ALPHA, shared_ranks

_FLIPPED = {"better": "worse", "worse": "better"}


@attrs.frozen
class Ranking:
    """Variants whose accuracies may be compared: same data, size, part and settings.

    Attributes:
        sets: the runs of each, best measured first.
        pairs: all pairs, p values corrected for all of them.
    """

    sets: tuple[RunSet, ...]
    pairs: tuple[AccuracyPair, ...]
    _verdicts: Mapping[tuple[str, str], str] = attrs.field(factory=dict)

    def verdict(self, one: str, two: str) -> str:
        """``better``, ``worse``, ``tie`` or ``not compared``: one against two."""
        if (one, two) in self._verdicts:
            return self._verdicts[one, two]
        found = self._verdicts.get((two, one), "not compared")
        return _FLIPPED.get(found, found)

    @property
    def names(self) -> list[str]:
        """The variants, best measured first."""
        return [each.variant for each in self.sets]

    def ranks(self) -> dict[str, int]:
        """Rank of each variant; ties share one."""
        return shared_ranks(self.names, lambda one, two: self.verdict(one, two) == "better")

    def tied_with(self, name: str) -> list[str]:
        """The variants that cannot be told from one."""
        return [
            other
            for other in self.names
            if other != name and self.verdict(name, other) not in ("better", "worse")
        ]


def rankings(selection: Selection) -> tuple[list[Ranking], dict[str, str]]:
    """The rankings of a report, largest first, and why a variant is in none.

    Variants that differ in data, image size or settings are ranked apart.
    """
    if selection not in _KNOWN:
        _KNOWN[selection] = _rankings(selection)
    return _KNOWN[selection]


_KNOWN: WeakKeyDictionary[Selection, tuple[list[Ranking], dict[str, str]]] = WeakKeyDictionary()


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
    return [_ranking(group) for group in sorted(groups, key=len, reverse=True)], left_out


def _comparable(one: RunSet, two: RunSet) -> bool:
    return refusal(one, two) is None and bool(set(one.runs) & set(two.runs))


def _ranking(sets: Sequence[RunSet]) -> Ranking:
    ordered = sorted(sets, key=lambda each: -mean_accuracy(each))
    number = len(ordered) * (len(ordered) - 1) // 2
    pairs = adjusted([compare_sets(one, two, number) for one, two in combinations(ordered, 2)])
    verdicts = {(pair.variant, pair.other): pair.verdict for pair in pairs}
    return Ranking(tuple(ordered), tuple(pairs), verdicts)


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


def accuracy_text(runs: RunSet) -> str:
    """``90.0 [82.1–94.6], n 120``, or mean and range over seeds."""
    found = shares(runs)
    mean = f"{100 * mean_accuracy(runs):.1f}"
    if len(found) > 1:
        return f"{mean} (range {100 * min(found):.1f}–{100 * max(found):.1f}, {len(found)} seeds)"
    total = images(runs)
    if not total:
        return mean
    low, high = wilson(round(found[0] * total), total)
    folds = counted(len(runs.runs), "fold") if len(runs.runs) > 1 else ""
    return f"{mean} [{100 * low:.1f}–{100 * high:.1f}], n {total}{', ' * bool(folds)}{folds}"


def images(runs: RunSet) -> int:
    """Distinct images evaluated."""
    pooled = runs.pooled(list(runs.runs)).values()
    known = {name for hits in pooled for name in hits}
    if known:
        return len(known)
    found = judged_accuracy(runs.first)
    return (found.total or 0) if found else 0


# --- table -----------------------------------------------------------------------------------

RAW = ("set", "variant", "rank", "part", "accuracy", "seeds", "folds", "images", "reason")


def ranking_table(selection: Selection) -> Table:
    """All variants by accuracy with shared ranks; who takes no rank stands last with the reason."""
    found, left_out = rankings(selection)
    several = len(found) > 1
    rows: list[list[str]] = []
    raw: list[list[Any]] = []
    for number, ranking in enumerate(found, start=1):
        ranks = ranking.ranks()
        for each in ranking.sets:
            tied = named(ranking.tied_with(each.variant), len(ranking.sets) - 1)
            alone = len(ranking.sets) == 1
            rank = "n/a (nothing to compare with)" if alone else str(ranks[each.variant])
            cells = [rank, each.variant, accuracy_text(each), each.part, "n/a" if alone else tied]
            rows.append([str(number), *cells] if several else cells)
            keys = list(each.runs)
            seeds, folds = ({key[place] for key in keys} for place in (0, 1))
            figures = (each.part, mean_accuracy(each), len(seeds), len(folds), images(each), None)
            raw.append([number, each.variant, None if alone else ranks[each.variant], *figures])
    for name, reason in left_out.items():
        cells = ["n/a", name, f"n/a ({reason})", "n/a", "n/a"]
        rows.append(["n/a", *cells] if several else cells)
        raw.append([None, name, None, None, None, None, None, None, reason])
    headers = ["Rank", "Variant", "Accuracy (%), 95 % interval", "Part", "Cannot be told from"]
    if several:
        headers.insert(0, "Set")
    text = _caption(found, selection, several=several)
    return Table("ranking", "Accuracy, ranked", text, headers, rows, (RAW, raw))


def named(names: Sequence[str], others: int) -> str:
    """Names, or ``all others`` where several are all of them."""
    if len(names) == others > 2:
        return "all others"
    return ", ".join(names) or "none"


def _caption(found: Sequence[Ranking], selection: Selection, *, several: bool) -> str:
    pairs = [pair for ranking in found for pair in ranking.pairs if pair.found]
    methods = distinct(pair.found.method for pair in pairs if pair.found)
    families = [len(ranking.pairs) for ranking in found if ranking.pairs]
    numbers = " and ".join(counted(number, "comparison") for number in families)
    notes = distinct(note for pair in pairs for note in pair.notes)
    return caption(
        selection.data_note(),
        f"Every pair on the same images: {'; '.join(methods)}; better or worse where p, corrected "
        f"after Holm for {numbers}, is below {ALPHA:g}; ties share a rank."
        if pairs
        else "No two accuracies can be compared.",
        "Sets differ in data, image size, part, seeds or settings and are ranked apart."
        if several
        else "",
        f"Left out: {'; '.join(notes)}." if notes else "",
    )
