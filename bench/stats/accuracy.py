"""Accuracies and their differences on the same images: intervals, exact tests, what was visible."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from bench.stats.multiple import ALPHA

POWER = 0.8
Array = np.ndarray[Any, np.dtype[Any]]


def wilson(
    correct: float, total: float, confidence: float = 0.95, freedom: float = math.inf
) -> tuple[float, float]:
    """Wilson score interval of a share, as fractions 0..1.

    Args:
        correct: images classified correctly, 0..total.
        total: images evaluated, above 0; with a design effect the effective number, which need not
            be whole.
        freedom: degrees of freedom of the variance that ``total`` stands for; finite, Student's
            quantile replaces the normal one.

    Raises:
        ValueError: no image.
    """
    if total <= 0:
        raise ValueError("a share of no image has no interval")
    z, share = _quantile((1 + confidence) / 2, freedom), correct / total
    centre, squares = share + z**2 / total / 2, share * (1 - share) / total
    half = z * math.sqrt(max(0.0, squares) + (z / total / 2) ** 2)
    shrink = 1 + z**2 / total
    # At 0 and 1 the bound is the share itself, which rounding may miss by the last bit.
    low, high = (centre - half) / shrink, (centre + half) / shrink
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def difference_of_shares(
    one: tuple[float, float], other: tuple[float, float]
) -> tuple[float, float]:
    """95 % interval of one share minus another, of different images, as fractions −1..1.

    Newcombe's hybrid score interval (1998, Statistics in Medicine 17:873, method 10).

    Args:
        one, other: (images classified correctly, images), at least one image each; effective
            numbers need not be whole.
    """
    (low, high), (other_low, other_high) = wilson(*one), wilson(*other)
    share, other_share = one[0] / one[1], other[0] / other[1]
    difference = share - other_share
    below = math.hypot(share - low, other_high - other_share)
    above = math.hypot(high - share, other_share - other_low)
    return difference - below, difference + above


# A hundred variants make 4,950 pairs, most of them with counts that were seen before.
@functools.lru_cache(maxsize=4096)
def mcnemar(only_one: int, only_other: int) -> float:
    """p value of the exact McNemar test: the binomial test of the images on which two disagree.

    Args:
        only_one, only_other: images that one of the two alone classified correctly.
    """
    from scipy import stats

    discordant = only_one + only_other
    return float(stats.binomtest(only_one, discordant, 0.5).pvalue) if discordant else 1.0


@functools.lru_cache(maxsize=1024)
def _quantile(share: float, freedom: float = math.inf) -> float:
    from scipy import special

    return float(special.ndtri(share) if math.isinf(freedom) else special.stdtrit(freedom, share))


@attrs.frozen
class TrainedDifference:
    """Accuracy of one trained model minus that of another on the same images, before correction.

    Of several trainings of each, the accuracies of all together.

    Attributes:
        difference: fraction −1..1.
        p_value: of the exact test of "no difference" between these trained models.
        images: distinct images that both evaluated.
        units: of them, groups counting once.
        evaluated: images, each as often as it was evaluated.
        only_variant, only_baseline: images that one of them alone classified correctly, over all
            trainings.
        sums: of each unit on which the two differ, the images (and trainings) that the variant
            alone classified correctly minus those of the baseline alone; sorted.
    """

    difference: float
    p_value: float
    images: int
    units: int
    evaluated: int
    only_variant: int
    only_baseline: int
    sums: tuple[int, ...] = attrs.field(repr=False)

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """Interval of confidence 1 − ``level``; without 0 exactly where the p value is below it.

        That of Bonett and Price (2012, Journal of Educational and Behavioral Statistics 37:479), as
        recommended by Fagerland, Lydersen and Laake (2014, doi 10.1002/sim.6148): the Wald interval
        of a paired difference after one discordant unit is added to each side. Where it contradicts
        the exact test, the bound nearer to 0 is the exact conditional one (Clopper and Pearson's of
        the discordant units' signs).
        """
        low, high = (round(bound, 12) for bound in _bonett_price(self, level))
        if (low > 0 or high < 0) == (self.p_value < level):
            return low, high
        near = _conditional_bound(self.sums, level) / self.evaluated
        return (near, high) if self.difference > 0 else (low, -near)

    def minimum_detectable_difference(self, level: float = ALPHA) -> float:
        """The difference that a test at ``level`` would find with a probability of 80 %."""
        visible = _visible(sum(d * d for d in self.sums), self.units, self.evaluated, level)
        # Units that must all differ the same way before the exact test can reach the level.
        fewest = math.ceil(1 - math.log2(level))
        return max(visible, min(1.0, fewest / self.evaluated))


def compare_trained(one: Array, two: Array, units: Array | None = None) -> TrainedDifference:
    """Exact test of two trained models on the images that both evaluated.

    It is the sign-flip test of the units' sums: exact McNemar's where each unit is one image and
    there is one training of each.

    Args:
        one, two: (trainings, images) 0 or 1, NaN where a training did not evaluate an image.
        units: (images,) numbers of groups; None: each image is its own.

    Raises:
        ValueError: no common image.
    """
    signs = np.asarray(one, float) - np.asarray(two, float)
    known = ~np.isnan(signs)
    if not known.any():
        raise ValueError("the two share no evaluated image")
    signs = np.where(known, signs, 0.0)
    of_images, seen = signs.sum(axis=0), known.any(axis=0)
    numbers = np.arange(len(seen)) if units is None else np.asarray(units)
    by_unit = np.bincount(numbers, of_images)
    sums = tuple(sorted(np.rint(by_unit[by_unit != 0]).astype(int).tolist()))
    return TrainedDifference(
        difference=float(signs.sum() / known.sum()),
        p_value=_exact(sums),
        images=int(seen.sum()),
        units=len(np.unique(numbers[seen])),
        evaluated=int(known.sum()),
        only_variant=int((signs > 0).sum()),
        only_baseline=int((signs < 0).sum()),
        sums=sums,
    )


def _exact(sums: tuple[int, ...]) -> float:
    ahead = sum(d > 0 for d in sums)
    if all(abs(d) == 1 for d in sums):
        return mcnemar(ahead, len(sums) - ahead)
    return min(1.0, 2 * _flipped_tail(sums, abs(sum(sums)), 0.5))


def _flipped_tail(sums: Sequence[int], reached: int, chance: float) -> float:
    """P(sum ≥ ``reached``) where every unit's size is positive with probability ``chance``."""
    from scipy import stats

    found, least = np.ones(1), 0
    for size, count in Counter(map(abs, sums)).items():
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, chance)
        found, least = np.convolve(found, steps), least - size * count
    return float(found[max(0, reached - least) :].sum())


def _conditional_bound(sums: Sequence[int], level: float) -> float:
    """Lower bound of the sum of the units' signed sizes, given their sizes."""
    from scipy import optimize

    whole, reached = sum(map(abs, sums)), abs(sum(sums))
    chance = optimize.brentq(
        lambda share: _flipped_tail(sums, reached, share) - level / 2, 1e-12, 1 - 1e-12
    )
    return float((2 * chance - 1) * whole)


def _bonett_price(found: TrainedDifference, level: float) -> tuple[float, float]:
    squares, units = sum(d * d for d in found.sums), found.units
    added = squares / len(found.sums) if found.sums else 1.0
    centre = sum(found.sums) / (units + 2)
    spread = (squares + 2 * added) / (units + 2) - centre**2
    half = _quantile(1 - level / 2) * math.sqrt(spread / (units + 2))
    size = found.evaluated / units
    return max(-1.0, (centre - half) / size), min(1.0, (centre + half) / size)


@functools.lru_cache(maxsize=4096)
def _visible(squares: int, units: int, evaluated: int, alpha: float) -> float:
    """Connor (1987, Biometrics 43:207): the difference found with :data:`POWER`.

    The mean square of the units' differences (for single images the share on which the two
    disagree) is taken from the data, one image added, and is at least what the difference itself
    makes.
    """
    from scipy import optimize

    z_alpha, z_power = _quantile(1 - alpha / 2), _quantile(POWER)
    size = evaluated / units
    observed = (squares + 1) / (units + 1) / size**2

    def missing(difference: float) -> float:
        share = max(observed, difference / size, difference**2)
        needed = z_alpha * math.sqrt(share) + z_power * math.sqrt(share - difference**2)
        return difference * math.sqrt(units) - needed

    return 1.0 if missing(1.0) < 0 else float(optimize.brentq(missing, 0.0, 1.0))
