"""Paired ratios over a few repetitions: their geometric mean and its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs

from bench.stats.multiple import ALPHA

FEWEST_PAIRS = 3


@attrs.frozen
class MeanRatio:
    """The geometric mean of ratios.

    Attributes:
        ratio: above 0.
        low, high: interval of confidence 1 − ``level``; None below :data:`FEWEST_PAIRS` ratios.
        pairs: how many.
        p_value: of a ratio of 1; None where there is no interval.
        level: of the test that the interval belongs to.
    """

    ratio: float
    low: float | None
    high: float | None
    pairs: int
    p_value: float | None = None
    level: float = ALPHA


def mean_ratio(ratios: Sequence[float], level: float = ALPHA) -> MeanRatio | None:
    """Student's interval and test of the mean logarithm; None of nothing.

    Args:
        ratios: positive, one for each pair.
        level: of the test that the interval belongs to.
    """
    if not ratios:
        return None
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < FEWEST_PAIRS:
        return MeanRatio(math.exp(mean), None, None, len(logs))
    from scipy import stats

    quantile = float(stats.t.ppf(1 - level / 2, len(logs) - 1))
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = quantile * error
    if error > 0:
        p_value = 2 * float(stats.t.sf(abs(mean) / error, len(logs) - 1))
    else:
        p_value = float(mean == 0)
    return MeanRatio(
        math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs), p_value, level
    )
