"""What the calibration experiments share: the record's head, rates with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a rate, as fractions 0..1."""
    from scipy import stats

    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(bounds.low), float(bounds.high)


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
