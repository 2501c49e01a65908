"""What keeps a wrong number out of a table: invalid runs, and models that learned nothing."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs

from bench.records.schema import lookup
from bench.stats.accuracy import wilson
from bench.stats.multireader import effective_number
from bench.system.digits import counted

Record = Mapping[str, Any]
COLLAPSED = "predicts a single class"

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Remembered:
    """Within this block a run's accuracy and validity are computed once, not for every table.

    Args:
        records: that are asked for again and again; they must not change within the block.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._results: dict[int, tuple[Record, dict[Any, Any]]] = {
            id(record): (record, {}) for record in records
        }

    def __enter__(self) -> Remembered:
        _remembered.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _remembered.remove(self)

    def results_of(self, record: Record) -> dict[Any, Any] | None:
        """Return what was computed of this very record; None where it is not remembered."""
        known, results = self._results.get(id(record), (None, None))
        return results if known is record else None


_remembered: list[Remembered] = []


def once(
    function: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Result]:
    """Compute a function of a selection, or of a remembered record, once for its arguments.

    Many tables ask the same of a variant or a run.
    """

    @functools.wraps(function)
    def cached(owner: Owner, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        results = _results(owner)
        if results is None:
            return function(owner, *args, **kwargs)
        key = (function, args, *kwargs.items())
        if key not in results:
            results[key] = function(owner, *args, **kwargs)
        result: Result = results[key]
        return result

    return cached


def _results(owner: Any) -> dict[Any, Any] | None:
    if not isinstance(owner, Mapping):
        results: dict[Any, Any] = owner.results
        return results
    return _remembered[-1].results_of(owner) if _remembered else None


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
        """Return ``n 576``, or ``n 576 (75 groups, effective 131)`` where groups leave fewer."""
        return count_text(self.total, self.units, self.effective)


def count_text(total: int | None, units: int | None, effective: float | None) -> str:
    """Return images evaluated, and how many independent ones they are worth where that is fewer."""
    if total is None or units is None or effective is None or units >= total:
        return f"n {total}"
    return f"n {total} ({counted(units, 'group')}, effective {effective:.0f})"


def valid_accuracy(record: Record) -> Accuracy | None:
    """Return a run's validation accuracy, from per-image predictions where there are some."""
    accuracy = part_accuracy(record, "validation")
    if accuracy is not None:
        return accuracy
    share = lookup(record, "metrics", "valid_acc")
    if not is_finite(share):
        return None
    counts = lookup(record, "data", "counts", "valid") or {}
    images = sum(counts.values())
    majority = max(counts.values()) / images if images else 0.0
    total = int(lookup(record, "data", "used", "valid") or images)
    return _judge(float(share), total or None, majority, False)


def part_accuracy(record: Record, part: str, without: Collection[str] = ()) -> Accuracy | None:
    """Return accuracy of a run on "validation" or "test", from its per-image predictions.

    Args:
        without: names of images to leave out.
    """
    if without:
        return pooled_accuracy([(record, part)], without)
    return _part_accuracy(record, part)


@once
def _part_accuracy(record: Record, part: str) -> Accuracy | None:
    return pooled_accuracy([(record, part)])


def pooled_accuracy(
    parts: Sequence[tuple[Record, str]], without: Collection[str] = ()
) -> Accuracy | None:
    """Return accuracy over the images of several runs together, such as the folds of one division.

    Args:
        parts: each run with the part of it that counts.
        without: names of images to leave out.
    """
    images: list[tuple[int, int, str]] = []
    for record, part in parts:
        names, labels, guesses = predictions_of(record, part)
        if len(labels) != len(guesses):
            return None
        if len(names) != len(labels):
            names = [""] * len(labels)
        groups = units_of(record)
        images += [
            (label, guess, groups.get(name) or name)
            for name, label, guess in zip(names, labels, guesses, strict=True)
            if name not in without
        ]
    if not images:
        return None
    labels, guesses, units = zip(*images, strict=True)
    right = [label == guess for label, guess, _ in images]
    majority = max(Counter(labels).values()) / len(images)
    only_class = len(set(guesses)) == 1
    return _judge(sum(right) / len(right), len(right), majority, only_class, right, units)


def predictions_of(record: Record, part: str) -> tuple[Sequence[str], Sequence[int], Sequence[int]]:
    """Return names, labels and predictions of a part's images."""
    names, labels, predictions = (
        lookup(record, part, key) or [] for key in ("ids", "labels", "predictions")
    )
    return names, labels, predictions


def judged_part(record: Record) -> str:
    """Return the part that comparisons, ranks and claims use: "test", or "validation" without one.

    The best epoch is chosen on the validation part, so accuracy flatters there.
    """
    return "test" if lookup(record, "test", "labels") else "validation"


def judged_accuracy(record: Record) -> Accuracy | None:
    """Return accuracy on :func:`judged_part`."""
    if judged_part(record) == "test":
        return part_accuracy(record, "test")
    return valid_accuracy(record)


def hits(record: Record, part: str) -> dict[str, bool]:
    """Return whether each image of a part, by its name, was classified correctly."""
    images = zip(*predictions_of(record, part), strict=False)
    return {name: label == guess for name, label, guess in images}


def units_of_all(runs: Iterable[Record]) -> dict[str, str]:
    """Return :func:`units_of` of several runs together."""
    return dict(chain.from_iterable(units_of(run).items() for run in runs))


@once
def units_of(record: Record) -> Mapping[str, str]:
    """Return the group of each evaluated image that is kept together with others, or has copies."""
    units = lookup(record, "data", "units")
    if units is not None:
        return dict(units)
    # Records from before groups were recorded know the copies.
    groups = lookup(record, "data", "copies", "groups") or []
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
_interval = functools.cache(wilson)


@once
def invalid_reason(record: Record) -> str | None:
    """Return why no number of a complete run can be believed, or None.

    Gates: a throughput that is not positive, in the summary, in any raw sample or in the session's
    control; a parameter count other than the declared one; a loss that is NaN or infinite.
    """
    return next(_violations(record), None)


def _violations(record: Record) -> Iterator[str]:
    counts = record.get("counts") or {}
    count, declared = counts.get("parameters"), counts.get("parameters_declared")
    if declared is not None and count is not None and count != declared:
        yield f"{count:,} parameters, declared {declared:,}"
    for where, speed in _speeds(record):
        if not is_finite(speed) or speed <= 0:
            yield f"{where} throughput of {_written(speed)} images/s"
    for where, seconds in _samples(record):
        if not is_finite(seconds) or seconds <= 0:
            yield f"{where} took {_written(seconds)} seconds for a step"
    for where, loss in _losses(record):
        if not is_finite(loss):
            yield f"{where} is {_written(loss)}"


def _entries(record: Record) -> Iterator[tuple[str, Record]]:
    """Return the timing entries of a run and of its session's control, with what each is called."""
    # A control that is wrong leaves no noise floor to compare with.
    control = lookup(record, "session", "control", "timing")
    for kind, entries in (("", record.get("timing")), ("control's ", control)):
        for entry in entries or []:
            what = "training-step" if entry.get("clock") == "train" else "inference"
            yield f"{kind}{entry.get('device')} {what}", entry


def _speeds(record: Record) -> Iterator[tuple[str, Any]]:
    for where, entry in _entries(record):
        if "images_per_s" in entry:
            yield where, entry["images_per_s"]
    summaries = {
        "training": lookup(record, "training", "images_per_s"),
        "metrics.json": lookup(record, "metrics", "fps"),
    }
    yield from ((where, speed) for where, speed in summaries.items() if speed is not None)


def _samples(record: Record) -> Iterator[tuple[str, Any]]:
    """Return seconds of every raw sample of the timings, with where it stands."""
    for where, entry in _entries(record):
        for number, samples in enumerate(entry.get("rounds") or []):
            name = f"round {samples.get('round', number)} of {where}"
            for key in ("block_seconds", "step_seconds"):
                for seconds in samples.get(key) or []:
                    yield name, seconds


def _losses(record: Record) -> Iterator[tuple[str, Any]]:
    epochs = lookup(record, "training", "epochs") or []
    blocks = [(f"epoch {epoch.get('epoch')}", epoch) for epoch in epochs]
    for where, block in (*blocks, ("metrics.json", record.get("metrics") or {})):
        for key in ("train_loss", "valid_loss"):
            if key in block:
                yield f"{key} of {where}", block[key]
    for part in ("validation", "test"):
        if "loss" in (record.get(part) or {}):
            yield f"{part} loss", record[part]["loss"]


def _written(value: Any) -> str:
    # JSON has no NaN: records hold null in its place.
    return "NaN or infinite" if value is None else str(value)


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)
