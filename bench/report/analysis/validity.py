"""What keeps a wrong number out of a table: invalid runs, and models that learned nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import attrs

from bench.stats.accuracy import wilson
from bench.stats.multireader import effective_number
from bench.system.digits import counted

Record = Mapping[str, Any]
COLLAPSED = "predicts a single class"


@attrs.frozen
class Accuracy:
    """Accuracy on one evaluated part.

    Attributes:
        share, low, high: fractions 0..1; the bounds are the 95 % Wilson interval of the effective
            number of images, None where the number is unknown.
        total: images evaluated.
        undertrained: why the figure says nothing about the model, or None.
        units: images, groups that are kept together counting once.
        effective: independent images that would leave as much doubt.
    """

    share: float
    low: float | None
    high: float | None
    total: int | None
    undertrained: str | None
    units: int | None = None
    effective: float | None = None

    def count(self) -> str:
        """``n 576``, or ``n 576 (75 groups, effective 131)`` where groups leave fewer."""
        return count_text(self.total, self.units, self.effective)


def count_text(total: int | None, units: int | None, effective: float | None) -> str:
    """Images evaluated, and how many independent ones they are worth where that is fewer."""
    if total is None or units is None or effective is None or units >= total:
        return f"n {total}"
    return f"n {total} ({counted(units, 'group')}, effective {effective:.0f})"


class Remembered:
    """Within this block a run's accuracy and validity are found once, not by every table anew.

    Args:
        records: that are asked for again and again; they must not change within the block.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = {id(record): record for record in records}
        self._found: dict[tuple[int, str], Any] = {}

    def __enter__(self) -> Remembered:
        _remembered.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _remembered.remove(self)

    def of(self, record: Record, what: str, find: Callable[[], Any]) -> Any:
        """What ``find`` finds, or has found of this very record."""
        if self._records.get(id(record)) is not record:
            return find()
        key = id(record), what
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]


_remembered: list[Remembered] = []


def _once(record: Record, what: str, find: Callable[[], Any]) -> Any:
    return _remembered[-1].of(record, what, find) if _remembered else find()


def valid_accuracy(record: Record) -> Accuracy | None:
    """Validation accuracy of a run, from its per-image predictions where the record has them."""
    found = part_accuracy(record, "validation")
    if found is not None:
        return found
    share = (record.get("metrics") or {}).get("valid_acc")
    if share is None or not _finite(share):
        return None
    counts = ((record.get("data") or {}).get("counts") or {}).get("valid") or {}
    used = ((record.get("data") or {}).get("used") or {}).get("valid") or sum(counts.values())
    majority = max(counts.values()) / sum(counts.values()) if sum(counts.values()) else 0.0
    return _judge(float(share), int(used) or None, majority, False)


def part_accuracy(record: Record, part: str, without: Collection[str] = ()) -> Accuracy | None:
    """Accuracy of a run on "validation" or "test", from its per-image predictions.

    Args:
        without: names of images to leave out.
    """
    if without:
        return pooled_accuracy([(record, part)], without)
    found: Accuracy | None = _once(record, part, lambda: pooled_accuracy([(record, part)]))
    return found


def pooled_accuracy(
    parts: Sequence[tuple[Record, str]], without: Collection[str] = ()
) -> Accuracy | None:
    """Accuracy over the images of several runs together, such as the folds of one division.

    Args:
        parts: each run with the part of it that counts.
        without: names of images to leave out.
    """
    kept: list[tuple[int, int, str]] = []
    for record, part in parts:
        entry = record.get(part) or {}
        labels, predictions = entry.get("labels") or [], entry.get("predictions") or []
        if len(labels) != len(predictions):
            return None
        names = entry.get("ids") or []
        if len(names) != len(labels):
            names = [""] * len(labels)
        groups = units_of(record)
        kept += [
            (label, guess, groups.get(name) or name)
            for name, label, guess in zip(names, labels, predictions, strict=True)
            if name not in without
        ]
    if not kept:
        return None
    right = [label == guess for label, guess, _ in kept]
    majority = max(Counter(label for label, _, _ in kept).values()) / len(kept)
    units = [unit for _, _, unit in kept]
    only = len({guess for _, guess, _ in kept}) == 1
    return _judge(sum(right) / len(right), len(right), majority, only, right, units)


def judged_part(record: Record) -> str:
    """The part that comparisons, ranks and claims use: "test", or "validation" without one.

    The best epoch is chosen on the validation part, so accuracy flatters there.
    """
    return "test" if (record.get("test") or {}).get("labels") else "validation"


def judged_accuracy(record: Record) -> Accuracy | None:
    """Accuracy on :func:`judged_part`."""
    if judged_part(record) == "test":
        return part_accuracy(record, "test")
    return valid_accuracy(record)


def hits(record: Record, part: str) -> dict[str, bool]:
    """Whether each image of a part, by its name, was classified correctly."""
    entry = record.get(part) or {}
    names, labels, guesses = (entry.get(key) or [] for key in ("ids", "labels", "predictions"))
    return {
        name: label == guess for name, label, guess in zip(names, labels, guesses, strict=False)
    }


def units_of(record: Record) -> Mapping[str, str]:
    """The group of each evaluated image that is kept together with others, or has copies."""
    found: Mapping[str, str] = _once(record, "units", lambda: _units(record))
    return found


def _units(record: Record) -> dict[str, str]:
    data = record.get("data") or {}
    if data.get("units") is not None:
        return dict(data["units"])
    # Records from before groups were recorded know the copies.
    groups = (data.get("copies") or {}).get("groups") or []
    return {image: group[0] for group in groups for image in group}


def _judge(
    share: float,
    total: int | None,
    majority: float,
    only_class: bool,
    right: Sequence[bool] = (),
    units: Sequence[str] = (),
) -> Accuracy:
    reason = None
    if only_class:
        reason = COLLAPSED
    elif share <= majority:
        reason = f"not above the majority rate of {100 * majority:.1f} %"
    if not total:
        return Accuracy(share, None, None, total, reason)
    distinct = len(set(units)) if all(units) and units else total
    effective = effective_number(right, units) if distinct < total else float(total)
    low, high = _interval(share * effective, effective)
    return Accuracy(share, low, high, total, reason, distinct, effective)


# A report asks for the same interval in many tables.
_interval = cache(wilson)


def invalid_reason(record: Record) -> str | None:
    """Why no number of a complete run can be believed, or None.

    Gates: a throughput that is not positive, in the summary, in any raw sample or in the session's
    control; a parameter count other than the declared one; a loss that is NaN or infinite.
    """
    found: str | None = _once(record, "invalid", lambda: next(_violations(record), None))
    return found


def _violations(record: Record) -> Iterator[str]:
    counts = record.get("counts") or {}
    count, declared = counts.get("parameters"), counts.get("parameters_declared")
    if declared is not None and count is not None and count != declared:
        yield f"{count:,} parameters, declared {declared:,}"
    for where, speed in _speeds(record):
        if not _finite(speed) or speed <= 0:
            yield f"{where} throughput of {_written(speed)} images/s"
    for where, seconds in _samples(record):
        if not _finite(seconds) or seconds <= 0:
            yield f"{where} took {_written(seconds)} seconds for a step"
    for where, loss in _losses(record):
        if not _finite(loss):
            yield f"{where} is {_written(loss)}"


def _entries(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The timing entries of a run and of its session's control, with what each is called."""
    # A control that is wrong leaves no noise floor to compare with.
    control = (record.get("session") or {}).get("control") or {}
    for kind, entries in (("", record.get("timing")), ("control's ", control.get("timing"))):
        for entry in entries or []:
            what = "training-step" if entry.get("clock") == "train" else "inference"
            yield f"{kind}{entry.get('device')} {what}", entry


def _speeds(record: Record) -> Iterator[tuple[str, Any]]:
    for where, entry in _entries(record):
        if "images_per_s" in entry:
            yield where, entry["images_per_s"]
    training = record.get("training") or {}
    if training.get("images_per_s") is not None:
        yield "training", training["images_per_s"]
    fps = (record.get("metrics") or {}).get("fps")
    if fps is not None:
        yield "metrics.json", fps


def _samples(record: Record) -> Iterator[tuple[str, Any]]:
    """Seconds of every raw sample of the timings, with where it stands."""
    for where, entry in _entries(record):
        for place, one in enumerate(entry.get("rounds") or []):
            name = f"round {one.get('round', place)} of {where}"
            for key in ("block_seconds", "step_seconds"):
                for seconds in one.get(key) or []:
                    yield name, seconds


def _losses(record: Record) -> Iterator[tuple[str, Any]]:
    for epoch in (record.get("training") or {}).get("epochs") or []:
        for key in ("train_loss", "valid_loss"):
            if key in epoch:
                yield f"{key} of epoch {epoch.get('epoch')}", epoch[key]
    for key in ("train_loss", "valid_loss"):
        if key in (record.get("metrics") or {}):
            yield f"{key} of metrics.json", record["metrics"][key]
    for part in ("validation", "test"):
        if "loss" in (record.get(part) or {}):
            yield f"{part} loss", record[part]["loss"]


def _written(value: Any) -> str:
    # JSON has no NaN: records hold null in its place.
    return "NaN or infinite" if value is None else str(value)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
