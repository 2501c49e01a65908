"""Progressive learning against plain training: time to the plain run's accuracy, in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.machines import machine_of
from bench.report.analysis.matching import settings
from bench.report.analysis.seeds import fold_of, seed_of
from bench.report.analysis.selection import (
    Selection,
    caption,
    data_note,
    distinct,
    seconds_of,
    variant_of,
)
from bench.report.analysis.timings import counted, ratio_bound
from bench.report.analysis.validity import Record, invalid_reason, judged_accuracy
from bench.report.analysis.values import fixed, significant
from bench.report.render.markdown import Table, one_line
from bench.stats.multiple import ALPHA, holm_levels
from bench.stats.ratios import FEWEST_PAIRS, MeanRatio, mean_ratio

HEADERS = (
    "Variant", "Pairs", "Plain: best accuracy (%)", "Progressive: best accuracy (%)",
    "Δ (points), range", "Reached the plain best", "Time to it, progressive ÷ plain, interval",
    "Verdict", "Whole training, progressive ÷ plain", "Training time of the plain (s)",
)  # fmt: skip
RAW = (
    "variant", "seed", "fold", "plain_run", "progressive_run", "target_accuracy",
    "plain_best", "progressive_best", "plain_seconds_to_target", "progressive_seconds_to_target",
    "plain_seconds", "progressive_seconds", "plain_forward", "progressive_forward",
)  # fmt: skip


@attrs.frozen(eq=False)
class Pair:
    """A plain and a progressive training of one variant, alike in all else.

    Attributes:
        plain, progressive: the records.
    """

    plain: Record
    progressive: Record

    @property
    def target(self) -> float:
        """The plain training's best validation accuracy, 0..1."""
        return best_accuracy(self.plain)

    @property
    def to_target(self) -> tuple[float, float | None]:
        """Seconds until each had reached the target first; None: the progressive never did."""
        plain = seconds_until(self.plain, self.target)
        assert plain is not None
        return plain, seconds_until(self.progressive, self.target)


def progressive_tables(selection: Selection, others: Sequence[Record] = ()) -> list[Table]:
    """A table where there is a progressive run; none else.

    Args:
        selection: of the report.
        others: records of other sweeps, which may be the other half of a pair.
    """
    own = [record for record in selection.complete() if usable(record)]
    if not any(map(is_progressive, [*own, *others])):
        return []
    keys = set(map(_key, own))
    more = [record for record in others if _safe_key(record) in keys and usable(record)]
    if not any(map(is_progressive, [*own, *more])):
        return []
    fit, fit_more = ([record for record in runs if _unfit(record) is None] for runs in (own, more))
    left_out = len(own) + len(more) - len(fit) - len(fit_more)
    return [_table(find_pairs(fit, fit_more), [*own, *more], left_out)]


def is_progressive(record: Record) -> bool:
    """Whether a run's images grew."""
    return bool(lookup(record, "config", "progressive"))


def find_pairs(own: Sequence[Record], others: Sequence[Record] = ()) -> list[Pair]:
    """Of runs that differ in nothing but ``--progressive`` the latest two, in order.

    Args:
        own: of the report; they come before any of the others.
        others: fill in halves that the report does not have.
    """
    halves: dict[Any, dict[bool, Record]] = {}
    for records in (others, own):
        for record in sorted(records, key=seconds_of):
            halves.setdefault(_key(record), {})[is_progressive(record)] = record
    of_own = {id(record) for record in own}
    return [
        Pair(both[False], both[True])
        for both in halves.values()
        if len(both) == 2 and any(id(record) in of_own for record in both.values())
    ]


def usable(record: Record) -> bool:
    """Whether a record has whole epochs to read times and accuracies from."""
    training = record.get("training")
    if record.get("status") != "complete" or not isinstance(training, dict):
        return False
    epochs = training.get("epochs")
    return bool(epochs) and isinstance(epochs, list) and all(map(_whole, epochs))


def _whole(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    values = [row.get(key) for key in ("valid_acc", "train_seconds", "valid_seconds")]
    finite = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    return finite and row["train_seconds"] > 0 and row["valid_seconds"] >= 0


def _unfit(record: Record) -> str | None:
    """Why a run's accuracy takes part in no comparison, or None."""
    if reason := invalid_reason(record):
        return reason
    accuracy = judged_accuracy(record)
    return accuracy.undertrained if accuracy else None


def _safe_key(record: Record) -> Any:
    """The key of a record that nobody has looked at yet; None where it has none."""
    try:
        key = _key(record)
        hash(key)
        return key
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _key(record: Record) -> Any:
    """Equal for runs that may be a pair."""
    training, data = record.get("training") or {}, record.get("data") or {}
    alike = tuple(pair for pair in settings(record) if pair[0] != "--progressive")
    threads = lookup(record, "environment", "threads")
    return (
        variant_of(record), lookup(record, "variant", "version"), seed_of(record),
        fold_of(record), data.get("fingerprint"), lookup(record, "config", "image_size"),
        alike, machine_of(record), training.get("device_name"), threads,
    )  # fmt: skip


def _forward(record: Record) -> str:
    return one_line(lookup(record, "training", "setup", "forward", "chosen") or "unrecorded")


def best_accuracy(record: Record) -> float:
    """The best validation accuracy of any epoch, 0..1."""
    return max(float(row["valid_acc"]) for row in record["training"]["epochs"])


def _seconds(record: Record) -> list[float]:
    """Seconds of training and validation of each epoch."""
    return [row["train_seconds"] + row["valid_seconds"] for row in record["training"]["epochs"]]


def seconds_until(record: Record, accuracy: float) -> float | None:
    """Seconds of training and validation until an epoch had that accuracy; None: never."""
    rows = zip(record["training"]["epochs"], accumulate(map(float, _seconds(record))), strict=True)
    return next((seconds for row, seconds in rows if row["valid_acc"] >= accuracy), None)


def seconds_in_all(record: Record) -> float:
    """Seconds of training and validation of all epochs."""
    return sum(_seconds(record))


# --- table -----------------------------------------------------------------------------------


def _table(pairs: Sequence[Pair], runs: Sequence[Record], left_out: int) -> Table:
    by_variant: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_variant.setdefault(variant_of(pair.plain), []).append(pair)
    means = [_to_target(variant_pairs) for variant_pairs in by_variant.values()]
    levels = holm_levels([mean.p_value if mean else None for mean in means])
    rows = [
        _row(name, variant_pairs, p_value, level)
        for (name, variant_pairs), (p_value, level) in zip(by_variant.items(), levels, strict=True)
    ]
    progressive = distinct(variant_of(run) for run in runs if is_progressive(run))
    rows += [_lonely(name) for name in progressive if name not in by_variant]
    records = [half for pair in pairs for half in (pair.plain, pair.progressive)]
    compiled = any(_forward(pair.plain) != _forward(pair.progressive) for pair in pairs)
    text = caption(
        data_note(records or runs),
        "A pair: the same variant, seed, fold, images, machine and recipe, with and without "
        "--progressive. Validation is at full size in both. Time: training and validation up to "
        "the end of the first epoch whose validation accuracy is at least the best that the plain "
        "run ever had, so a lucky best of the plain run counts against the progressive one.",
        f"The ratio of times is a geometric mean over pairs, with Student's interval from "
        f"{FEWEST_PAIRS} pairs on; faster or slower where p, corrected after Holm for the "
        f"variants, is below {ALPHA:g}, else ~ tie; the interval is at the level "
        "of that test. It is given only where every progressive run got there.",
        "A plain run may be compiled, a progressive one is not: the CSV says which was."
        if compiled
        else "",
        f"Left out as invalid or undertrained: {left_out}." if left_out else "",
        _stages(runs),
    )
    return Table(
        "progressive", "Progressive learning: time to accuracy", text, HEADERS, rows,
        (RAW, [_raw(pair) for pair in pairs]), csv=bool(rows),
    )  # fmt: skip


def _to_target(pairs: Sequence[Pair], level: float = ALPHA) -> MeanRatio | None:
    """Of the times to the plain best; None where not all progressive runs got there."""
    ratios = [two / one for one, two in (pair.to_target for pair in pairs) if two is not None]
    return mean_ratio(ratios, level) if len(ratios) == len(pairs) else None


def _stages(runs: Sequence[Record]) -> str:
    growths = [run["training"].get("growth") for run in runs]
    texts = distinct(
        ", ".join(f"{stage.get('image_size')} from epoch {stage.get('first')}" for stage in growth)
        for growth in growths
        if isinstance(growth, list) and growth and all(isinstance(stage, dict) for stage in growth)
    )
    return f"Pixels: {'; '.join(map(one_line, texts))}." if texts else ""


def _row(name: str, pairs: Sequence[Pair], p_value: float | None, level: float) -> list[str]:
    mean = _to_target(pairs, level)
    plain = [100 * pair.target for pair in pairs]
    grown = [100 * best_accuracy(pair.progressive) for pair in pairs]
    differences = [two - one for one, two in zip(plain, grown, strict=True)]
    reached = sum(pair.to_target[1] is not None for pair in pairs)
    seconds = [seconds_in_all(pair.plain) for pair in pairs]
    grown_seconds = [seconds_in_all(pair.progressive) for pair in pairs]
    whole = mean_ratio([two / one for one, two in zip(seconds, grown_seconds, strict=True)])
    return [
        name,
        str(len(pairs)),
        f"{_mean(plain):.1f}",
        f"{_mean(grown):.1f}",
        f"{_mean(differences):+.1f} ({min(differences):+.1f} to {max(differences):+.1f})",
        f"{reached} of {len(pairs)}",
        "n/a (not all reached it)" if mean is None else ratio_cell(mean),
        "not reached" if mean is None else verdict_of(mean, p_value),
        "n/a" if whole is None else ratio_cell(whole),
        significant(_mean(seconds)),
    ]


def _lonely(name: str) -> list[str]:
    reason = "n/a (no usable plain run of the same seed, images, machine and recipe)"
    return [name, "0", reason, *["n/a"] * (len(HEADERS) - 3)]


def ratio_cell(found: MeanRatio) -> str:
    """``0.61 [0.55–0.68]``."""
    if found.low is None or found.high is None:
        return f"{fixed(found.ratio, 2)} (no interval: {counted(found.pairs, 'pair')})"
    numbers = (ratio_bound(each, 2) for each in (found.ratio, found.low, found.high))
    return "{} [{}–{}]".format(*numbers)


def verdict_of(found: MeanRatio, p_value: float | None) -> str:
    """``faster``, ``slower``, ``~ tie``, or that there are too few pairs.

    Args:
        found: of times, below 1 where progressive learning is faster.
        p_value: of "no difference", corrected.
    """
    if p_value is None:
        return f"undecided: {counted(found.pairs, 'pair')}, an interval needs {FEWEST_PAIRS}"
    if p_value >= ALPHA:
        return "~ tie"
    return "faster" if found.ratio < 1 else "slower"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _raw(pair: Pair) -> list[Any]:
    plain, grown = pair.plain, pair.progressive
    fold = fold_of(plain)
    return [
        variant_of(plain), seed_of(plain), fold and fold[0],
        plain.get("folder"), grown.get("folder"), pair.target,
        best_accuracy(plain), best_accuracy(grown), *pair.to_target,
        seconds_in_all(plain), seconds_in_all(grown), _forward(plain), _forward(grown),
    ]  # fmt: skip
