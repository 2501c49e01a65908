"""Several runs of one variant, by seed and fold: mean, range, and what they say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from typing import Any

import attrs
import numpy as np

from bench.config.options import options
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.validity import (
    COLLAPSED,
    Accuracy,
    Record,
    count_text,
    hits,
    judged_accuracy,
    judged_part,
    pooled_accuracy,
    units_of,
)
from bench.stats.classes import macro_f1_jackknife
from bench.stats.multireader import (
    interval_of_mean,
    interval_of_score,
    jackknife,
    table_of,
    unit_numbers,
)


def runs_of(selection: Selection, variant: str) -> list[Record]:
    """The complete trained runs behind a variant's figures, valid or not, by seed and fold.

    Those of the chosen run's sweep with its data and its settings, the seed apart; of two runs
    with the same seed and fold the later one.
    """
    found: list[Record] = selection.once("runs", variant, lambda: _runs_of(selection, variant))
    return list(found)


def _runs_of(selection: Selection, variant: str) -> list[Record]:
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
    config = {k: v for k, v in known.items() if k not in changing}
    data = (record.get("data") or {}).get("fingerprint")
    return (record.get("sweep") or {}).get("id"), config, data


def seed_of(record: Record) -> int | None:
    """The seed of a run."""
    return (record.get("config") or {}).get("seed")


def fold_of(record: Record) -> tuple[int, int] | None:
    """Number of a run's fold and of how many; None outside cross-validation."""
    fold = (record.get("data") or {}).get("fold")
    return (fold["number"], fold["of"]) if fold else None


def _place(record: Record) -> tuple[int, int]:
    fold = fold_of(record)
    return (-1 if (seed := seed_of(record)) is None else seed), fold[0] if fold else 0


# --- numbers ---------------------------------------------------------------------------------


@attrs.frozen
class Summary:
    """A figure over several runs.

    Attributes:
        mean, least, most: over ``values``.
        values: one for each run that has the figure.
    """

    mean: float
    least: float
    most: float
    values: tuple[float, ...]


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean and range; None of nothing."""
    if not values:
        return None
    return Summary(statistics.fmean(values), min(values), max(values), tuple(values))


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
        """``n 576``, with the groups where there are some."""
        return count_text(self.images, self.units, self.effective)

    @property
    def bar(self) -> tuple[float, float]:
        """The 95 % interval; where there is none, the range over the seeds."""
        if self.low is None or self.high is None:
            return self.shares.least, self.shares.most
        return self.low, self.high


def accuracy_of(selection: Selection, variant: str) -> SeedAccuracy | None:
    """Accuracy of a variant over the seeds and folds of its sweep; None without a valid run."""
    found: SeedAccuracy | None = selection.once(
        "accuracy", variant, lambda: _accuracy_of(selection, variant)
    )
    return found


def _accuracy_of(selection: Selection, variant: str) -> SeedAccuracy | None:
    runs = runs_of(selection, variant)
    valid = [run for run in runs if selection.invalid(run) is None]
    found = of_runs(valid)
    return None if found is None else attrs.evolve(found, invalid=len(runs) - len(valid))


def of_runs(runs: Sequence[Record]) -> SeedAccuracy | None:
    """Accuracy over runs that differ in seed and fold only."""
    groups = by_seed(runs)
    found = [one for group in groups.values() if (one := _of_seed(group)) is not None]
    shares = summarise([one.share for one in found])
    if shares is None:
        return None
    low, high = _bounds(found, list(groups.values()))
    most = max(found, key=lambda one: one.total or 0)
    return SeedAccuracy(
        shares=shares,
        low=low,
        high=high,
        images=most.total,
        units=most.units,
        effective=most.effective,
        part=" or ".join(distinct(judged_part(run) for run in runs)),
        folds=_folds(runs),
        undertrained=_undertrained(found),
        invalid=0,
    )


@attrs.frozen
class MacroF1:
    """Macro-F1 on the judged part, 0..1: mean over the seeds, and its 95 % interval.

    ``values`` has one for each seed, the folds of a seed pooled; no interval where single
    predictions are not recorded.
    """

    values: tuple[float, ...]
    low: float | None
    high: float | None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    def text(self) -> str:
        """``0.912 [0.880–0.941]``."""
        bounds = "" if self.low is None else f" [{self.low:.3f}–{self.high:.3f}]"
        return f"{self.mean:.3f}{bounds}"


def macro_f1_of(runs: Sequence[Record]) -> MacroF1 | None:
    """Macro-F1 over runs that differ in seed and fold only, with its jackknife interval."""
    parts = [[run.get(judged_part(run)) or {} for run in group] for group in by_seed(runs).values()]
    columns = [
        [[item for part in group for item in part.get(key) or []] for group in parts]
        for key in ("labels", "predictions", "ids")
    ]
    whole = all(
        labels and len(labels) == len(guesses) == len(ids)
        for labels, guesses, ids in zip(*columns, strict=True)
    )
    if not whole or not parts:
        every = [one.get("macro_f1") for group in parts for one in group]
        known = [one for one in every if one is not None and math.isfinite(one)]
        return MacroF1(tuple(known), None, None) if known else None
    images = list(dict.fromkeys(name for ids in columns[2] for name in ids))
    units = {name: unit for run in runs for name, unit in units_of(run).items()}
    numbers = unit_numbers(images, units)
    place = {name: n if numbers is None else int(numbers[n]) for n, name in enumerate(images)}
    found = [
        macro_f1_jackknife(labels, guesses, np.array([place[name] for name in ids]), len(images))
        for labels, guesses, ids in zip(*columns, strict=True)
    ]
    scores, deltas, counts = (np.array(column) for column in zip(*found, strict=True))
    if counts.min() < 2:
        return MacroF1(tuple(scores.tolist()), None, None)
    low, high = interval_of_score(scores, deltas, counts)
    return MacroF1(tuple(scores.tolist()), low, high)


def by_seed(runs: Sequence[Record]) -> dict[int | None, list[Record]]:
    """Runs by seed: the folds of each."""
    groups: dict[int | None, list[Record]] = {}
    for run in runs:
        groups.setdefault(seed_of(run), []).append(run)
    return groups


def _of_seed(runs: Sequence[Record]) -> Accuracy | None:
    if len(runs) == 1:
        return judged_accuracy(runs[0])
    pooled = pooled_accuracy([(run, judged_part(run)) for run in runs])
    # Folds that each predict another class alone do not look collapsed together.
    alone = [judged_accuracy(run) for run in runs]
    collapsed = sum(one is not None and one.undertrained == COLLAPSED for one in alone)
    if pooled is None or pooled.undertrained or not collapsed:
        return pooled
    return attrs.evolve(pooled, undertrained=f"{collapsed} of {len(runs)} folds: {COLLAPSED}")


def _bounds(
    found: Sequence[Accuracy], groups: Sequence[Sequence[Record]]
) -> tuple[float | None, float | None]:
    """95 % interval of the mean over seeds."""
    if len(found) == 1:
        return found[0].low, found[0].high
    pooled: dict[Hashable, dict[str, bool]] = {
        number: {k: v for run in runs for k, v in hits(run, judged_part(run)).items()}
        for number, runs in enumerate(groups)
    }
    if not all(pooled.values()):
        return None, None
    correct, images = table_of({"": pooled})
    units = {k: v for runs in groups for run in runs for k, v in units_of(run).items()}
    scores, deltas, counts = jackknife(correct, unit_numbers(images, units))
    evaluated = int(np.isfinite(correct).sum())
    return interval_of_mean(scores[0], deltas[0], counts, evaluated)


def _folds(runs: Sequence[Record]) -> str:
    folds = distinct(fold_of(run) for run in runs)
    if not folds:
        return ""
    whole = folds[0][1]
    return f"{len(folds)}{'' if len(folds) == whole else f' of {whole}'} folds pooled"


def _undertrained(found: Sequence[Accuracy]) -> str | None:
    reasons = [one.undertrained for one in found if one.undertrained]
    if not reasons or len(found) == 1:
        return reasons[0] if reasons else None
    return f"{len(reasons)} of {len(found)} seeds: {'; '.join(distinct(reasons))}"
