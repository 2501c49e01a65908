"""Several runs of one variant, by seed and fold: mean, range, and what they say together."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

import attrs
import numpy as np

from bench.config.options import options
from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.validity import (
    COLLAPSED,
    Accuracy,
    Record,
    count_text,
    hits,
    judged_accuracy,
    judged_part,
    once,
    pooled_accuracy,
    predictions_of,
    units_of_all,
)
from bench.report.analysis.values import with_interval
from bench.stats.classes import macro_f1_jackknife
from bench.stats.multireader import (
    interval_of_mean,
    interval_of_score,
    jackknife,
    table_of,
    unit_numbers,
)


@once
def runs_of(selection: Selection, variant: str) -> list[Record]:
    """Return the complete trained runs behind a variant's figures, valid or not, by seed and fold.

    Those of the chosen run's sweep with its data and its settings, the seed apart; of two runs
    with the same seed and fold the later one.
    """
    chosen = selection.chosen(variant)
    if chosen is None or chosen.get("status") != "complete":
        return []
    settings = _settings(chosen)
    kin = [
        record
        for record in selection.complete(variant)
        if record is chosen
        or (record.get("training") is not None and _settings(record) == settings)
    ]
    # Of equal keys a dictionary keeps the first place and the last value.
    in_order = sorted(kin, key=lambda record: (_place(record), seconds_of(record)))
    return list({_place(record): record for record in in_order}.values())


def _settings(record: Record) -> tuple[Any, ...]:
    # A sweep that went on elsewhere has other folders and devices, and is the same sweep.
    changing = ("seed", *(field.name for field in options() if field.metadata["movable"]))
    known = {field.name: field.default for field in options()} | (record.get("config") or {})
    config = {name: value for name, value in known.items() if name not in changing}
    return lookup(record, "sweep", "id"), config, lookup(record, "data", "fingerprint")


def seed_of(record: Record) -> int | None:
    """Return the seed of a run."""
    seed: int | None = lookup(record, "config", "seed")
    return seed


def fold_of(record: Record) -> tuple[int, int] | None:
    """Return number of a run's fold and of how many; None outside cross-validation."""
    fold = lookup(record, "data", "fold")
    return (fold["number"], fold["of"]) if fold else None


def _place(record: Record) -> tuple[int, int]:
    fold = fold_of(record)
    return (-1 if (seed := seed_of(record)) is None else seed), fold[0] if fold else 0


# --- numbers ---------------------------------------------------------------------------------


@attrs.frozen
class Summary:
    """A figure over several runs; ``values`` has one for each run that has the figure."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def least(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """Largest value."""
        return max(self.values)


def summarise(values: Sequence[float]) -> Summary | None:
    """Return mean and range; None of nothing."""
    return Summary(tuple(values)) if values else None


@attrs.frozen
class SeedAccuracy:
    """Accuracy of a variant over all of its runs, on the part that models are judged on.

    Attributes:
        shares: fractions 0..1, one for each seed (the folds of a seed pooled), in order.
        low, high: 95 % interval of the mean: Wilson's of the effective number of images; of several
            seeds with the seeds' variance in it. None where single images are not known.
        images: images evaluated by one seed, all of its folds together; None where unknown.
        units: of them, groups that are kept together counting once.
        effective: independent images of one seed that would leave as much doubt.
        part: "test" or "validation".
        folds: "" or, for example, "5 folds pooled".
        undertrained: why the figure says nothing about the model, or None.
        invalid: how many further runs a sanity gate keeps out.
    """

    shares: Summary
    low: float | None
    high: float | None
    images: int | None
    units: int | None
    effective: float | None
    part: str
    folds: str
    undertrained: str | None
    invalid: int

    def count(self) -> str:
        """Return ``n 576``, with the groups where there are some."""
        return count_text(self.images, self.units, self.effective)

    @property
    def bar(self) -> tuple[float, float]:
        """The 95 % interval; where there is none, the range over the seeds."""
        if self.low is None or self.high is None:
            return self.shares.least, self.shares.most
        return self.low, self.high


@once
def accuracy_of(selection: Selection, variant: str) -> SeedAccuracy | None:
    """Return a variant's accuracy over seeds and folds of its sweep; None without valid runs."""
    runs = runs_of(selection, variant)
    valid = [run for run in runs if selection.invalid(run) is None]
    found = of_runs(valid)
    return None if found is None else attrs.evolve(found, invalid=len(runs) - len(valid))


def of_runs(runs: Sequence[Record]) -> SeedAccuracy | None:
    """Return accuracy over runs that differ in seed and fold only."""
    seeds = [seed for group in by_seed(runs).values() if (seed := _of_seed(group)) is not None]
    shares = summarise([seed.share for seed in seeds])
    if shares is None:
        return None
    low, high = (seeds[0].low, seeds[0].high) if len(seeds) == 1 else _bounds(runs)
    most = max(seeds, key=lambda seed: seed.total or 0)
    return SeedAccuracy(
        shares=shares,
        low=low,
        high=high,
        images=most.total,
        units=most.units,
        effective=most.effective,
        part=" or ".join(distinct(judged_part(run) for run in runs)),
        folds=_folds(runs),
        undertrained=_undertrained(seeds),
        invalid=0,
    )


@attrs.frozen
class MacroF1(Summary):
    """Macro-F1 on the judged part, 0..1, over the seeds, and the 95 % interval of its mean.

    ``values`` has one for each seed, the folds of a seed pooled; no interval where single
    predictions are not recorded.
    """

    low: float | None = None
    high: float | None = None

    def text(self) -> str:
        """Return ``0.912 [0.880–0.941]``."""
        return with_interval(f"{self.mean:.3f}", self.low, self.high, "{:.3f}".format)


def macro_f1_of(runs: Sequence[Record]) -> MacroF1 | None:
    """Return macro-F1 over runs that differ in seed and fold only, with its jackknife interval."""
    groups = by_seed(runs).values()
    seeds = [_predictions(group) for group in groups]
    if not seeds or not all(
        labels and len(labels) == len(guesses) == len(names) for names, labels, guesses in seeds
    ):
        recorded = [lookup(run, judged_part(run), "macro_f1") for group in groups for run in group]
        finite = tuple(score for score in recorded if score is not None and math.isfinite(score))
        return MacroF1(finite) if finite else None
    images = list(dict.fromkeys(name for names, _, _ in seeds for name in names))
    numbers = unit_numbers(images, units_of_all(runs))
    unit = dict(zip(images, range(len(images)) if numbers is None else numbers, strict=True))
    jackknives = [
        macro_f1_jackknife(labels, guesses, np.array([unit[name] for name in names]), len(images))
        for names, labels, guesses in seeds
    ]
    scores, deltas, counts = (np.array(column) for column in zip(*jackknives, strict=True))
    bounds = interval_of_score(scores, deltas, counts) if counts.min() >= 2 else ()
    return MacroF1(tuple(scores.tolist()), *bounds)


def _predictions(runs: Sequence[Record]) -> tuple[list[str], list[int], list[int]]:
    """Return names, labels and predictions of the judged images of several runs together."""
    names, labels, guesses = (
        list(chain.from_iterable(columns))
        for columns in zip(*(predictions_of(run, judged_part(run)) for run in runs), strict=True)
    )
    return names, labels, guesses


def by_seed(runs: Sequence[Record]) -> dict[int | None, list[Record]]:
    """Return runs by seed: the folds of each."""
    groups: defaultdict[int | None, list[Record]] = defaultdict(list)
    for run in runs:
        groups[seed_of(run)].append(run)
    return groups


def _of_seed(runs: Sequence[Record]) -> Accuracy | None:
    if len(runs) == 1:
        return judged_accuracy(runs[0])
    pooled = pooled_accuracy([(run, judged_part(run)) for run in runs])
    # Folds that each predict another class alone do not look collapsed together.
    folds = [judged_accuracy(run) for run in runs]
    collapsed = sum(fold is not None and fold.undertrained == COLLAPSED for fold in folds)
    if pooled is None or pooled.undertrained or not collapsed:
        return pooled
    return attrs.evolve(pooled, undertrained=f"{collapsed} of {len(runs)} folds: {COLLAPSED}")


def _bounds(runs: Sequence[Record]) -> tuple[float, float] | tuple[None, None]:
    """Return 95 % interval of the mean over several seeds."""
    pooled: dict[Hashable, dict[str, bool]] = {
        seed: dict(chain.from_iterable(hits(run, judged_part(run)).items() for run in group))
        for seed, group in by_seed(runs).items()
    }
    if not all(pooled.values()):
        return None, None
    correct, images = table_of({"": pooled})
    scores, deltas, counts = jackknife(correct, unit_numbers(images, units_of_all(runs)))
    evaluated = int(np.isfinite(correct).sum())
    return interval_of_mean(scores[0], deltas[0], counts, evaluated)


def _folds(runs: Sequence[Record]) -> str:
    folds = distinct(fold_of(run) for run in runs)
    if not folds:
        return ""
    whole = folds[0][1]
    return f"{len(folds)}{'' if len(folds) == whole else f' of {whole}'} folds pooled"


def _undertrained(seeds: Sequence[Accuracy]) -> str | None:
    reasons = [seed.undertrained for seed in seeds if seed.undertrained]
    if not reasons or len(seeds) == 1:
        return reasons[0] if reasons else None
    return f"{len(reasons)} of {len(seeds)} seeds: {'; '.join(distinct(reasons))}"
