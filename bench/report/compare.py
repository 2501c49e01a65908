"""The measured figure beside a documented one: which run, past which gates, related to what."""

from __future__ import annotations

import attrs

from bench.report.cells import needs_no_training, value_of
from bench.report.claims import Row
from bench.report.selection import Selection
from bench.report.values import Value, failure, missing


def measured(selection: Selection, name: str, variant: str) -> Value:
    """The figure ``name`` of the variant's chosen run, past the sanity gates."""
    record = selection.chosen(variant)
    if record is None:
        return missing("variant not in this sweep")
    if record.get("status") != "complete":
        if needs_no_training(name):
            value = value_of(record, name)
            if value.mark is None:
                return value
        return missing(f"run failed: {failure(record, limit=70)}")
    value, broken = value_of(record, name), selection.invalid(record)
    # Words, such as the use case, do not become wrong with the numbers.
    if broken and (value.number is not None or value.mark == "undertrained"):
        return missing(broken, "invalid")
    return value


def related(selection: Selection, row: Row, variant: str) -> Value:
    """The row's figure for the variant, as ratio or difference where the row asks for one."""
    value = measured(selection, row.metric, variant)
    if row.against is None or value.mark:
        return value
    base = measured(selection, row.metric, row.against)
    if variant == row.against:
        text = "1 (reference)" if row.form == "ratio" else "0 (reference)"
        return attrs.evolve(value, text=text, device=None)
    if base.mark or base.number is None or value.number is None:
        return missing(f"{row.against}: {base.mark or 'n/a'}: {base.reason or 'no number'}")
    differing = [key for key in value.setting if value.setting[key] != base.setting.get(key)]
    if differing:
        return missing(f"the two runs differ in {', '.join(differing)}")
    if row.form == "difference":
        difference = value.number - base.number
        tie = " (~: the intervals overlap)" if _overlap(value, base) else ""
        return attrs.evolve(value, number=difference, text=f"{difference:+.1f}{tie}")
    ratio = value.number / base.number
    return attrs.evolve(value, number=ratio, text=f"{ratio:.2f}")


def _overlap(one: Value, two: Value) -> bool:
    if one.interval is None or two.interval is None:
        return False
    return one.interval[0] <= two.interval[1] and two.interval[0] <= one.interval[1]
