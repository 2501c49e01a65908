"""The measured figure beside a documented one: which run, past which gates, related to what."""

from __future__ import annotations

import attrs

from bench.records.schema import lookup
from bench.report.analysis.matching import accuracy_pair
from bench.report.analysis.metrics import ACCURACIES, accuracy, needs_no_training, value_of
from bench.report.analysis.seeds import SeedAccuracy, accuracy_of, runs_of
from bench.report.analysis.selection import Selection
from bench.report.analysis.speeds import sessions_of
from bench.report.analysis.timings import TIMINGS, CaseKey, blocks_of, ratio_bound, timed_by
from bench.report.analysis.validity import Record
from bench.report.analysis.values import Value, failure, fixed, missing
from bench.report.chapters.attention import difference_text, word
from bench.report.claims.model import Row
from bench.report.claims.quantities import DIFFERENCE, RATIO
from bench.stats.timing import Ratio, compare_speeds


def measured(selection: Selection, name: str, variant: str) -> Value:
    """Return the figure ``name`` of a variant, past the sanity gates.

    Timings are those of its latest timed run, other figures those of its latest trained one;
    accuracy is the mean over that run's sweep where this has several seeds.
    """
    record = selection.timed(variant) if name in TIMINGS else selection.chosen(variant)
    if record is None:
        return missing("variant not in this sweep")
    if record.get("status") != "complete":
        if needs_no_training(name) and (value := value_of(record, name)).mark is None:
            return value
        return missing(f"run failed: {failure(record, limit=70)}")
    if name in ACCURACIES and len(runs_of(selection, variant)) > 1:
        return _over_runs(selection, variant, record)
    value, invalid = value_of(record, name), selection.invalid(record)
    # Words, such as the use case, do not become wrong with the numbers.
    if invalid and (value.number is not None or value.mark == "undertrained"):
        return missing(invalid, "invalid")
    # The machine's short name where the report has several machines.
    machine = selection.labels.of("Machine", record)
    if machine is None or value.mark or value.device is None:
        return value
    return attrs.evolve(value, text=f"{value.text} on {machine}")


def _over_runs(selection: Selection, variant: str, record: Record) -> Value:
    """Return accuracy over seeds and folds: ``93.1 (mean of 3 seeds, 92.0–94.1), test``."""
    over_seeds = accuracy_of(selection, variant)
    if over_seeds is None:
        invalid = selection.invalid(record)
        return missing(invalid, "invalid") if invalid else accuracy(record)
    text = seeds_text(over_seeds)
    if over_seeds.undertrained:
        return missing(f"{text}: {over_seeds.undertrained}", "undertrained")
    setting = {
        "data": lookup(record, "data", "fingerprint"),
        "image size": lookup(record, "config", "image_size"),
        "part": over_seeds.part,
        "images": over_seeds.images,
    }
    bounds = None
    if over_seeds.low is not None and over_seeds.high is not None:
        bounds = (100 * over_seeds.low, 100 * over_seeds.high)
    return Value(100 * over_seeds.shares.mean, text, setting=setting, interval=bounds)


def seeds_text(over_seeds: SeedAccuracy) -> str:
    """Return ``93.1 (mean of 3 seeds, 92.0–94.1), test``, or one seed's folds with interval."""
    shares, count = over_seeds.shares, len(over_seeds.shares.values)
    text = f"{100 * shares.mean:.1f}"
    if over_seeds.low is not None and over_seeds.high is not None:
        text += f" [{100 * over_seeds.low:.1f}–{100 * over_seeds.high:.1f}], {over_seeds.count()}"
    if count > 1:
        text += f" (mean of {count} seeds, {100 * shares.least:.1f}–{100 * shares.most:.1f})"
    left_out = f"{over_seeds.invalid} invalid left out" if over_seeds.invalid else ""
    return ", ".join(filter(None, (text, over_seeds.part, over_seeds.folds, left_out)))


# --- related to another variant --------------------------------------------------------------


def related(selection: Selection, row: Row, variant: str) -> Value:
    """Return the row's figure for the variant, as ratio or difference where the row asks for one.

    Figures of different machines, sessions, data, parts or settings are not related. Ratios of
    timings are taken round by round and have an interval from six rounds on, where the pair has a
    verdict that of its test.
    """
    value = measured(selection, row.metric, variant)
    if row.against is None or value.mark:
        return value
    base = measured(selection, row.metric, row.against)
    if variant == row.against:
        text = "1 (reference)" if row.form == RATIO else "0 (reference)"
        return attrs.evolve(value, text=text, device=None, threads=None, interval=None)
    if base.mark or base.number is None or value.number is None:
        return missing(f"{row.against}: {base.mark or 'n/a'}: {base.reason or 'no number'}")
    differing = [key for key in value.setting if value.setting[key] != base.setting.get(key)]
    if differing:
        return missing(f"the two runs differ in {', '.join(differing)}")
    if row.form == DIFFERENCE and row.metric in ACCURACIES:
        return _accuracy_difference(selection, row.against, variant, value)
    interval = None
    if row.form == DIFFERENCE:
        number = value.number - base.number
        text = f"{number:+.1f}"
    else:
        ratio, tie = _judged_ratio(selection, row, variant)
        number = value.number / base.number if ratio is None else ratio.ratio
        text = fixed(number, 2)
        if ratio is not None and ratio.low is not None and ratio.high is not None:
            interval = (ratio.low, ratio.high)
            bounds = "–".join(ratio_bound(bound, 2) for bound in interval)
            text += f" [{bounds}]{' (~ tie)' * tie}"
    return attrs.evolve(value, number=number, text=text, interval=interval)


def _accuracy_difference(selection: Selection, other: str, variant: str, value: Value) -> Value:
    """Return points against another variant: the report's one verdict on the pair."""
    pair = accuracy_pair(selection, variant, other)
    verdict = pair.found
    if verdict is None:
        return missing(pair.refused.reason if pair.refused else "the two are not compared")
    bounds = 100 * verdict.low, 100 * verdict.high
    text = f"{difference_text(verdict)} ({word(verdict.verdict)})"
    return attrs.evolve(value, number=100 * verdict.difference, text=text, interval=bounds)


def _judged_ratio(selection: Selection, row: Row, variant: str) -> tuple[Ratio | None, bool]:
    """Return the ratio of two images/s as their session judged it, and whether that was a tie.

    None for what is not timed in rounds.
    """
    names = (variant, row.against or "")
    if row.metric not in TIMINGS:
        return None, False
    entries = [timed_by(selection.timed(name) or {}, row.metric) for name in names]
    if entries[0] is None or entries[1] is None:
        return None, False
    case = CaseKey.of(entries[0])
    for session in reversed(sessions_of(selection)):
        timings = (session.timings.get(name, {}).get(case) for name in names)
        if all(timing is entry for timing, entry in zip(timings, entries, strict=True)):
            tie = session.standing(case).verdict(*names) == "tie"
            return session.ratio(*names, case), tie
    return compare_speeds(*map(blocks_of, entries)), False
