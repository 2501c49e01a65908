"""What the calibration experiments share: the record's head, rates with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.stats.accuracy import clopper_pearson
from experiments import record

VERSIONS = ("numpy", "scipy")


def head(
    name: str,
    quick: bool,
    seed: int | None,
    parameters: Mapping[str, Any],
    versions: tuple[str, ...] = VERSIONS,
) -> dict[str, Any]:
    """As :func:`experiments.record.head`."""
    return record.head("calibration", name, quick, seed, parameters, versions)


def rate(count: int, total: int) -> str:
    """``4.60 % (3.72–5.61 %, 92 of 2,000)``: a rate with its exact 95 % interval."""
    low, high = clopper_pearson(count, total)
    return f"{count / total:.2%} ({low:.2%}–{high:.2%}, {count:,} of {total:,})".replace("%", " %")


def exact(share: float) -> str:
    """A rate that was summed over all outcomes, so that it has no sampling error."""
    return f"{percent(share)} (exact)"


def percent(share: float) -> str:
    """``4.60 %``."""
    return f"{100 * share:.2f} %"
