"""Paired ratios over a few repetitions: their geometric mean and its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs

FEWEST_PAIRS = 3


@attrs.frozen
class MeanRatio:
    """The geometric mean of ratios.

    Attributes:
        ratio: above 0.
        low, high: 95 % interval; None below :data:`FEWEST_PAIRS` ratios.
        pairs: how many.
    """

    ratio: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def verdict(self) -> str:
        """``below 1``, ``above 1``, ``tie``, or ``undecided`` without an interval."""
        if self.low is None or self.high is None:
            return "undecided"
        if self.high < 1:
            return "below 1"
        return "above 1" if self.low > 1 else "tie"


def mean_ratio(ratios: Sequence[float]) -> MeanRatio | None:
    """Student's interval of the mean logarithm; None of nothing.

    Args:
        ratios: positive, one for each pair.
    """
    if not ratios:
        return None
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < FEWEST_PAIRS:
        return MeanRatio(math.exp(mean), None, None, len(logs))
    from scipy import stats

    quantile = float(stats.t.ppf(0.975, len(logs) - 1))
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return MeanRatio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))
