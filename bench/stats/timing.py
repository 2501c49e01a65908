"""What rounds of timing say: medians with intervals, ratios per round, faster or tie.

One round is one fresh process of each variant; its sample is the median of its blocks, its ratio to
another variant that of their blocks. The intervals were chosen by simulation:
``experiments/calibration`` says how often they hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

from bench.stats.multiple import ALPHA, Family, Name, holm_levels, opposite

Blocks = float | Sequence[float] | np.ndarray

FEWEST_ROUNDS = 6
# Of fewer values the 95th percentile is the maximum.
FEWEST_FOR_P95 = 20
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
    """Median of positive samples, one for each round, and its 95 % interval.

    The bounds are order statistics, interpolated between the two pairs whose exact confidence lies
    on either side of 95 % (Hettmansperger and Sheather 1986, doi 10.1016/0167-7152(86)90021-0). A
    few slowed rounds do not move them, and fewer than 6 rounds have no such bounds at all.
    """
    from scipy import stats

    median, n = float(np.median(samples)), len(samples)
    if n < FEWEST_ROUNDS:
        return Location(median, None, None, n)
    logs = np.sort(np.log(samples))
    # Leaving out `cut` samples at each end covers more than 95 %, leaving out one more less.
    cut = int(stats.binom.ppf(ALPHA / 2, n, 0.5)) - 1
    outer, inner = (1 - 2 * float(stats.binom.cdf(c, n, 0.5)) for c in (cut, cut + 1))
    share = (outer - (1 - ALPHA)) / (outer - inner)
    place = cut + 1
    inwards = (n - place) * share / (place + (n - 2 * place) * share)
    low = (1 - inwards) * logs[cut] + inwards * logs[cut + 1]
    high = (1 - inwards) * logs[n - 1 - cut] + inwards * logs[n - 2 - cut]
    return Location(median, math.exp(low), math.exp(high), n)


@attrs.frozen
class Ratio:
    """Speed of a variant divided by that of its baseline, over the rounds that both have.

    Attributes:
        ratio: geometric mean over rounds without the eighth (rounded down) at each end; above 1
            the variant is faster.
        low, high: interval of confidence 1 − ``level`` (trimmed t on logarithms), None below 6
            rounds.
        p_value: of "no difference" (trimmed t-test on logarithms), None below 6 rounds.
        rounds: how many rounds both have.
        minimum_detectable_difference: the relative difference that so many rounds of this spread
            show with a probability of 80 % at ``level``, None below 6 rounds.
        level: of the test that interval and ``minimum_detectable_difference`` belong to.
        p_adjusted: after Holm's correction, where the ratio was judged with others.
        verdict: that of :func:`declare`, where the ratio was judged with others.
        error, freedom: standard error of the logarithm, and its degrees of freedom.
    """

    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    rounds: int
    minimum_detectable_difference: float | None
    level: float = ALPHA
    p_adjusted: float | None = None
    verdict: str = "undecided"
    error: float = 0.0
    freedom: int = 0

    def at(self, level: float) -> Ratio:
        """The same with interval and smallest visible difference of another level."""
        if self.rounds < FEWEST_ROUNDS or (level == self.level and self.low is not None):
            return self
        from scipy import special

        quantile, power = (float(special.stdtrit(self.freedom, q)) for q in (1 - level / 2, POWER))
        return attrs.evolve(
            self,
            low=self.ratio * math.exp(-quantile * self.error),
            high=self.ratio * math.exp(quantile * self.error),
            minimum_detectable_difference=max(
                math.expm1((quantile + power) * self.error), LEAST_DIFFERENCE
            ),
            level=level,
        )

    def turned(self) -> Ratio:
        """The baseline's speed ÷ the variant's."""
        low, high = (None if bound is None else 1 / bound for bound in (self.high, self.low))
        verdict = opposite(self.verdict)
        return attrs.evolve(self, ratio=1 / self.ratio, low=low, high=high, verdict=verdict)


def compare_speeds(
    variant: Mapping[int, Blocks], baseline: Mapping[int, Blocks], *, alpha: float = ALPHA
) -> Ratio | None:
    """Compare two variants round by round, or None where they share no round.

    A round's ratio is that of :func:`round_ratio`.

    Args:
        variant: seconds of a step by number of the round: one value for each block.
        baseline: the same of what it is compared with.
        alpha: level of the test that interval and ``minimum_detectable_difference`` belong to.
    """
    from scipy import stats

    rounds = sorted(set(variant) & set(baseline))
    if not rounds:
        return None
    logs = np.array([math.log(round_ratio(variant[r], baseline[r])) for r in rounds])
    n = len(rounds)
    mean, error, freedom = _trimmed(logs)
    if n < FEWEST_ROUNDS:
        return Ratio(math.exp(mean), None, None, None, n, None)
    if error == 0:
        p_value = 1.0 if abs(mean) < 1e-12 else 0.0
    else:
        p_value = float(2 * stats.t.sf(abs(mean) / error, freedom))
    ratio = Ratio(math.exp(mean), None, None, p_value, n, None, error=error, freedom=freedom)
    return ratio.at(alpha)


def round_ratio(variant: Blocks, baseline: Blocks) -> float:
    """Speed of a variant ÷ that of its baseline in one round, by Hodges and Lehmann's estimator.

    The median over all pairs of blocks of the ratio of their seconds (doi 10.1214/aoms/1177704172).
    Where a machine is slowed for half of the blocks of both, the median of either's blocks falls
    among the slowed or the others by chance; most pairs are still alike.
    """
    return float(np.median(np.divide.outer(np.atleast_1d(baseline), np.atleast_1d(variant))))


def _trimmed(values: np.ndarray) -> tuple[float, float, int]:
    """Trimmed mean, its standard error and degrees of freedom (Tukey and McLaughlin 1963).

    A process that a burst slowed down widens the ordinary t-interval so much that true differences
    are missed; without an eighth of the rounds at each end it counts for little. Below 8 rounds
    nothing is cut off, and this is the ordinary t-interval.
    """
    n = len(values)
    if n < 2:
        return float(values.mean()), 0.0, 0
    ordered = np.sort(values)
    for cut in (n // 8, 0):
        kept = n - 2 * cut
        mean = float(ordered[cut : n - cut].mean())
        winsorised = np.clip(values, ordered[cut], ordered[n - 1 - cut])
        spread = float(np.sum((winsorised - winsorised.mean()) ** 2))
        error = math.sqrt(spread / (kept * (kept - 1)))
        # Where only the rounds cut off differ from the others, they are the spread there is.
        if error >= 1e-12 * max(1.0, abs(mean)):
            return mean, error, kept - 1
    # Values that agree to the last digits leave nothing to estimate a spread from.
    return mean, 0.0, n - 1


def noise_floor(control: Ratio | None) -> float | None:
    """The gap between the baseline and itself under a second name, as a relative difference.

    None below 6 common rounds: they say too little about the noise.
    """
    if control is None or control.rounds < FEWEST_ROUNDS:
        return None
    return math.expm1(abs(math.log(control.ratio)))


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


def judge_ratios(
    ratios: Mapping[tuple[Name, Name], Ratio | None],
    floor: Callable[[tuple[Name, Name]], float | None],
) -> Family[Name, Ratio]:
    """Judge all ratios together; each gets its verdict and the interval that belongs to it.

    Args:
        ratios: by the names of the two.
        floor: the noise floor of each.
    """
    levels = holm_levels([ratio.p_value if ratio else None for ratio in ratios.values()])
    judged = dict(ratios)
    for (pair, ratio), (adjusted, level) in zip(ratios.items(), levels, strict=True):
        if ratio is not None and adjusted is not None:
            verdict = declare(ratio, floor(pair), adjusted)
            judged[pair] = attrs.evolve(ratio.at(level), p_adjusted=adjusted, verdict=verdict)
    return Family(judged, "undecided")
