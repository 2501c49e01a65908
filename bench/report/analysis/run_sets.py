"""Which runs of a variant its accuracy is taken from: one sweep, every seed and fold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from bench.report.analysis.seeds import accuracy_of
from bench.report.analysis.selection import Selection, distinct, seconds_of
from bench.report.analysis.validity import Record, hits, judged_accuracy, judged_part, units_of
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

    def pooled(self, keys: Sequence[Key]) -> dict[Any, dict[str, bool]]:
        """Hits by seed; the folds of a seed divide the images, so they are pooled."""
        found: dict[Any, dict[str, bool]] = {}
        for seed, fold in keys:
            found.setdefault(seed, {}).update(self.hits_of((seed, fold)))
        return found

    def units(self) -> dict[str, str]:
        """What each image is kept together with, for those that are not on their own."""
        return {
            image: unit for record in self.runs.values() for image, unit in units_of(record).items()
        }

    def hits_of(self, key: Key) -> dict[str, bool]:
        """Hits of one run by image."""
        return hits(self.runs[key], self.part)


def run_set(selection: Selection, variant: str, sweep: str | None = None) -> RunSet:
    """The runs of a variant in one sweep, the latest that has an accuracy.

    The runs that did well say nothing alone: with one that collapsed or cannot be believed, the
    variant has no accuracy.
    """
    found: RunSet = selection.once(
        f"run set of {sweep}", variant, lambda: _run_set(selection, variant, sweep)
    )
    return found


def _run_set(selection: Selection, variant: str, sweep: str | None) -> RunSet:
    judged = [record for record in selection.complete(variant) if has_accuracy(record)]
    if not judged:
        return RunSet(variant, {}, absent=_absent(selection, variant))
    wanted = sweep or sweep_of(max(judged, key=seconds_of))
    # Of two runs with one seed and fold the later one counts.
    runs = {
        _key(record): record
        for record in sorted(judged, key=seconds_of)
        if sweep_of(record) == wanted
    }
    unfit_runs = {key: why for key, run in runs.items() if (why := unfit(selection, run))}
    reason = _unfit_set(selection, variant, runs)
    if reason is None:
        return RunSet(variant, runs)
    left_out = [f"{variant}, {_named(key)}: {why}" for key, why in unfit_runs.items()]
    absent = left_out[0] if len(runs) == 1 and left_out else f"{variant}: {reason}"
    return RunSet(variant, {}, tuple(left_out), absent)


def _unfit_set(selection: Selection, variant: str, runs: Mapping[Key, Record]) -> str | None:
    """Why runs that belong together have no accuracy, or None."""
    broken = [why for run in runs.values() if (why := selection.invalid(run))]
    if broken:
        several = f"{len(broken)} of {len(runs)} {_kind(runs)}: " if len(runs) > 1 else ""
        return f"invalid: {several}{'; '.join(distinct(broken))}"
    # A fold alone has few images: the folds of a seed are judged together.
    found = accuracy_of(Selection(list(runs.values())), variant)
    return f"undertrained: {found.undertrained}" if found and found.undertrained else None


def _kind(keys: Collection[Key]) -> str:
    """What the runs repeat: ``seeds``, ``folds``, or both, which are ``runs``."""
    seeds, folds = ({key[place] for key in keys} for place in (0, 1))
    if len(folds) == 1:
        return "seeds"
    return "folds" if len(seeds) == 1 else "runs"


def has_accuracy(record: Record) -> bool:
    """Whether a run was trained and evaluated; `bench time` does neither."""
    part, metrics = record.get(judged_part(record)) or {}, record.get("metrics") or {}
    return bool(part.get("labels")) or metrics.get("valid_acc") is not None


def unfit(selection: Selection, record: Record) -> str | None:
    """Why a run's accuracy takes part in no comparison, or None."""
    broken = selection.invalid(record)
    if broken:
        return f"invalid: {broken}"
    found = judged_accuracy(record)
    return f"undertrained: {found.undertrained}" if found and found.undertrained else None


def _absent(selection: Selection, variant: str) -> str:
    record = selection.chosen(variant)
    if record is None:
        return f"{variant} is not in this report"
    if record.get("status") != "complete":
        return f"{variant}: run failed: {failure(record, limit=70)}"
    return f"{variant} was not trained: it has no accuracy"


def usable(selection: Selection, name: str) -> Record | None:
    """The latest complete and valid run of a variant, a trained one where there is one."""
    valid = [run for run in selection.complete(name) if selection.invalid(run) is None]
    trained = [run for run in valid if run.get("training")]
    return max(trained or valid, key=seconds_of, default=None)


def broken(selection: Selection, name: str) -> str | None:
    """Why no run of a variant takes part in a comparison, or None where one does."""
    if usable(selection, name) is not None:
        return None
    record = selection.chosen(name) or {}
    if record.get("status") != "complete":
        return f"{name}: run failed: {failure(record, limit=70)}"
    return f"{name}: invalid: {selection.invalid(record)}"


def sweep_of(record: Record) -> str:
    """The id of the sweep that a run belongs to."""
    return str((record.get("sweep") or {}).get("id"))


def _key(record: Record) -> Key:
    fold = ((record.get("data") or {}).get("fold") or {}).get("number")
    return (record.get("config") or {}).get("seed"), fold


def _named(key: Key) -> str:
    seed, fold = key
    return f"seed {seed}" + ("" if fold is None else f", fold {fold}")
