"""What rounds of timing say: medians with intervals, ratios per round, faster or tie.

One round is one fresh process of each variant; its sample is the median of its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from bench.stats.multiple import ALPHA

FEWEST_ROUNDS = 6
LEAST_DIFFERENCE = 0.03
POWER = 0.8


@attrs.frozen
class Location:
    """Median of the rounds' samples with its 95 % interval; no bounds below 6 rounds."""

    median: float
    low: float | None
    high: float | None
    rounds: int


def locate(samples: Sequence[float]) -> Location:
    """Median and 95 % t-interval of the logarithms of positive samples, one for each round."""
    median = float(np.median(samples))
    if len(samples) < FEWEST_ROUNDS:
        return Location(median, None, None, len(samples))
    _, low, high, _ = _t_interval(np.log(samples), 0.0)
    return Location(median, math.exp(low), math.exp(high), len(samples))


@attrs.frozen
class Ratio:
    """Speed of a variant divided by that of its baseline, over the rounds that both have.

    Attributes:
        ratio: geometric mean over rounds; above 1 the variant is faster.
        low, high: 95 % interval (t on logarithms), None below 6 rounds.
        p_value: of "no difference" (t-test on logarithms), None below 6 rounds.
        rounds: how many rounds both have.
        smallest_visible: the relative difference that so many rounds of this spread show with a
            probability of 80 %, None below 6 rounds.
    """

    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    rounds: int
    smallest_visible: float | None


def compare_speeds(variant: Mapping[int, float], baseline: Mapping[int, float]) -> Ratio | None:
    """Compare two variants round by round, or None where they share no round.

    Args:
        variant: seconds of a step by number of the round.
        baseline: the same of what it is compared with.
    """
    from scipy import stats

    rounds = sorted(set(variant) & set(baseline))
    if not rounds:
        return None
    logs = np.array([math.log(baseline[r] / variant[r]) for r in rounds])
    ratio = math.exp(logs.mean())
    n = len(rounds)
    if n < FEWEST_ROUNDS:
        return Ratio(ratio, None, None, None, n, None)
    p_value, low, high, error = _t_interval(logs, 0.0)
    quantiles = stats.t.ppf(1 - ALPHA / 2, n - 1) + stats.t.ppf(POWER, n - 1)
    visible = max(math.expm1(quantiles * error), LEAST_DIFFERENCE)
    return Ratio(ratio, math.exp(low), math.exp(high), p_value, n, visible)


def _t_interval(values: np.ndarray, null: float) -> tuple[float, float, float, float]:
    """p value against ``null``, 95 % bounds and standard error of a mean."""
    from scipy import stats

    mean, error = float(values.mean()), float(stats.sem(values))
    # Values that agree to the last digits leave nothing to estimate a spread from.
    if error < 1e-12 * max(1.0, abs(mean)):
        return (1.0 if abs(mean - null) < 1e-12 else 0.0), mean, mean, 0.0
    test = stats.ttest_1samp(values, null)
    bounds = test.confidence_interval(1 - ALPHA)
    return float(test.pvalue), float(bounds.low), float(bounds.high), error


def noise_floor(control: Ratio | None) -> float | None:
    """The gap between the baseline and itself under a second name, as a relative difference."""
    return None if control is None else math.expm1(abs(math.log(control.ratio)))


def declare(ratio: Ratio | None, floor: float | None, p_adjusted: float | None) -> str:
    """``faster``, ``slower``, ``tie`` or ``undecided`` (too few rounds, or no control).

    A difference is declared when its p value, adjusted for the number of comparisons, is below
    0.05, and the difference above both the noise floor and 3 %.
    """
    if ratio is None or ratio.p_value is None or p_adjusted is None or floor is None:
        return "undecided"
    size = math.expm1(abs(math.log(ratio.ratio)))
    if p_adjusted >= ALPHA or size <= max(floor, LEAST_DIFFERENCE):
        return "tie"
    return "faster" if ratio.ratio > 1 else "slower"
