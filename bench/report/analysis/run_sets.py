"""Which runs of a variant its accuracy is taken from: one sweep, every seed and fold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.seeds import SeedAccuracy, accuracy_of, seed_of
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.validity import (
    Accuracy,
    Record,
    hits,
    judged_accuracy,
    judged_part,
    once,
)
from bench.report.analysis.values import failure

Key = tuple[Any, Any]


@attrs.frozen(eq=False)
class RunSet:
    """The runs that a variant's accuracy is taken from: those of one sweep.

    Attributes:
        runs: by seed and number of the fold; none where one of them is invalid or undertrained.
        left_out: the runs that are, with the reason.
        absent: why there is no run, or None.
    """

    variant: str
    runs: Mapping[Key, Record]
    left_out: tuple[str, ...] = ()
    absent: str | None = None

    @property
    def first(self) -> Record:
        """One of the runs; they share data and settings."""
        return next(iter(self.runs.values()))

    @property
    def part(self) -> str:
        """``test`` or ``validation``."""
        return judged_part(self.first)

    @property
    def seeds(self) -> list[Any]:
        """The seeds of the runs, in order."""
        return list(dict.fromkeys(seed for seed, _ in self.runs))

    @property
    def folds(self) -> set[Any]:
        """The numbers of the folds; None outside cross-validation."""
        return {fold for _, fold in self.runs}

    def hits_by_seed(self) -> dict[Any, dict[str, bool]]:
        """Return by seed whether each image was classified correctly; folds are pooled."""
        pooled: dict[Any, dict[str, bool]] = {}
        for (seed, _), record in self.runs.items():
            pooled.setdefault(seed, {}).update(hits(record, self.part))
        return pooled


@once
def run_set(selection: Selection, variant: str, sweep: str | None = None) -> RunSet:
    """Return the runs of a variant in one sweep, the latest that has an accuracy.

    The runs that did well say nothing alone: with one that collapsed or cannot be believed, the
    variant has no accuracy.
    """
    judged = [record for record in selection.complete(variant) if has_accuracy(record)]
    if not judged:
        return RunSet(variant, {}, absent=_absent(selection, variant))
    latest = sweep or sweep_of(max(judged, key=seconds_of))
    # Of two runs with one seed and fold the later one counts.
    runs = {
        _key(record): record
        for record in sorted(judged, key=seconds_of)
        if sweep_of(record) == latest
    }
    reason = _unfit_set(selection, variant, runs)
    if reason is None:
        return RunSet(variant, runs)
    left_out = tuple(
        f"{variant}, {_named(key)}: {why}"
        for key, run in runs.items()
        if (why := _unfit(selection, run))
    )
    absent = left_out[0] if len(runs) == 1 and left_out else f"{variant}: {reason}"
    return RunSet(variant, {}, left_out, absent)


def _unfit_set(selection: Selection, variant: str, runs: Mapping[Key, Record]) -> str | None:
    """Return why runs that belong together have no accuracy, or None."""
    invalid = [why for run in runs.values() if (why := selection.invalid(run))]
    if invalid:
        several = f"{len(invalid)} of {len(runs)} {_kind(runs)}: " if len(runs) > 1 else ""
        return f"invalid: {several}{'; '.join(distinct(invalid))}"
    # A fold alone has few images: the folds of a seed are judged together.
    return _undertrained(accuracy_of(Selection(list(runs.values())), variant))


def _unfit(selection: Selection, record: Record) -> str | None:
    """Return why a run's accuracy takes part in no comparison, or None."""
    invalid = selection.invalid(record)
    return f"invalid: {invalid}" if invalid else _undertrained(judged_accuracy(record))


def _undertrained(accuracy: Accuracy | SeedAccuracy | None) -> str | None:
    return f"undertrained: {accuracy.undertrained}" if accuracy and accuracy.undertrained else None


def _kind(keys: Collection[Key]) -> str:
    """Return what the runs repeat: ``seeds``, ``folds``, or both, which are ``runs``."""
    seeds, folds = map(set, zip(*keys, strict=True))
    if len(folds) == 1:
        return "seeds"
    return "folds" if len(seeds) == 1 else "runs"


def has_accuracy(record: Record) -> bool:
    """Return whether a run was trained and evaluated; `bench time` does neither."""
    labels = lookup(record, judged_part(record), "labels")
    return bool(labels) or lookup(record, "metrics", "valid_acc") is not None


def _absent(selection: Selection, variant: str) -> str:
    record = selection.chosen(variant)
    if record is None:
        return f"{variant} is not in this report"
    return _failed(variant, record) or f"{variant} was not trained: it has no accuracy"


def _failed(variant: str, record: Record) -> str | None:
    if record.get("status") == "complete":
        return None
    return f"{variant}: run failed: {failure(record, limit=70)}"


def usable(selection: Selection, name: str) -> Record | None:
    """Return the latest complete and valid run of a variant, a trained one where there is one."""
    valid = [run for run in selection.complete(name) if selection.invalid(run) is None]
    trained = [run for run in valid if run.get("training")]
    return max(trained or valid, key=seconds_of, default=None)


def broken(selection: Selection, name: str) -> str | None:
    """Return why no run of a variant takes part in a comparison, or None where one does."""
    if usable(selection, name) is not None:
        return None
    record = selection.chosen(name) or {}
    return _failed(name, record) or f"{name}: invalid: {selection.invalid(record)}"


def sweep_of(record: Record) -> str:
    """Return the id of the sweep that a run belongs to."""
    return str(lookup(record, "sweep", "id"))


def _key(record: Record) -> Key:
    return seed_of(record), lookup(record, "data", "fold", "number")


def _named(key: Key) -> str:
    seed, fold = key
    return f"seed {seed}" + ("" if fold is None else f", fold {fold}")
