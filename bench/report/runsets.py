"""Which runs of a variant its accuracy is taken from: one sweep, every seed and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bench.report.gates import Record, hits, judged_accuracy, judged_part
from bench.report.selection import Selection, seconds_of
from bench.report.values import failure

Key = tuple[Any, Any]


@attrs.frozen(eq=False)
class RunSet:
    """The runs that a variant's accuracy is taken from: those of one sweep.

    Attributes:
        runs: by seed and number of the fold.
        left_out: runs that are invalid or undertrained, with the reason.
        absent: why there is no run at all, or None.
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

    def hits_of(self, key: Key) -> dict[str, bool]:
        """Hits of one run by image."""
        return hits(self.runs[key], self.part)


def run_set(selection: Selection, variant: str, sweep: str | None = None) -> RunSet:
    """The valid and trained runs of a variant in one sweep, the latest that has an accuracy."""
    judged = [record for record in selection.complete(variant) if has_accuracy(record)]
    if not judged:
        return RunSet(variant, {}, absent=_absent(selection, variant))
    wanted = sweep or sweep_of(max(judged, key=seconds_of))
    runs: dict[Key, Record] = {}
    left_out: list[str] = []
    for record in sorted(judged, key=seconds_of):
        if sweep_of(record) != wanted:
            continue
        key = _key(record)
        reason = unfit(selection, record)
        runs.pop(key, None)
        if reason is None:
            runs[key] = record
        else:
            left_out.append(f"{variant}, {_named(key)}: {reason}")
    absent = None if runs else left_out[0]
    return RunSet(variant, runs, tuple(left_out), absent)


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


def sweep_of(record: Record) -> str:
    """The id of the sweep that a run belongs to."""
    return str((record.get("sweep") or {}).get("id"))


def _key(record: Record) -> Key:
    fold = ((record.get("data") or {}).get("fold") or {}).get("number")
    return (record.get("config") or {}).get("seed"), fold


def _named(key: Key) -> str:
    seed, fold = key
    return f"seed {seed}" + ("" if fold is None else f", fold {fold}")
