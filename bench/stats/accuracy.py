"""Accuracies and their differences on the same images: intervals, exact tests, what was visible."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from bench.stats.multiple import ALPHA

POWER = 0.8


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share, as fractions 0..1.

    Args:
        correct: images classified correctly, 0..total.
        total: images evaluated, at least 1.
    """
    from scipy import stats

    bounds = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a rate, as fractions 0..1."""
    from scipy import stats

    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(bounds.low), float(bounds.high)


def difference_of_shares(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of one share minus another, of different images, as fractions −1..1.

    Newcombe's hybrid score interval (1998, Statistics in Medicine 17:873, method 10).

    Args:
        one, other: (images classified correctly, images), at least one image each.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(*one, *other, compare="diff", method="newcomb")
    return float(low), float(high)


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


@functools.lru_cache(maxsize=64)
def _normal_quantile(share: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf(share))


@attrs.frozen
class AccuracyDifference:
    """Accuracy of a variant minus that of its baseline, on the same images.

    Attributes:
        difference, low, high: fractions −1..1; the bounds are a 95 % interval, None where there is
            one run and no image.
        p_value: of "no difference".
        images: distinct images evaluated by both.
        runs: pairs of runs (seeds, or folds).
        only_variant, only_baseline: images that one of them alone classified correctly, over all
            runs.
        smallest_visible: the difference that would be found with a probability of 80 %.
        method: how interval and p value were made.
    """

    difference: float
    low: float
    high: float
    p_value: float
    images: int
    runs: int
    only_variant: int
    only_baseline: int
    smallest_visible: float
    method: str


Hits = Mapping[str, bool]
"""Whether each image, by its name, was classified correctly."""


def compare_one_run(variant: Hits, baseline: Hits, alpha: float = ALPHA) -> AccuracyDifference:
    """Exact McNemar test and the paired interval of Bonett and Price on the common images.

    The interval is that of Bonett and Price (2012, Journal of Educational and Behavioral Statistics
    37:479), as recommended by Fagerland, Lydersen and Laake (2014, doi 10.1002/sim.6148): the Wald
    interval of a paired difference after one discordant image is added to each side. A bootstrap
    would give an interval of width 0 where no image differs.

    Args:
        variant, baseline: hits by image.
        alpha: level of the test that ``smallest_visible`` is meant for (divide it by the number of
            comparisons).

    Raises:
        ValueError: no common image.
    """
    names = sorted(set(variant) & set(baseline))
    if not names:
        raise ValueError("the two runs share no evaluated image")
    n = len(names)
    only_a = sum(variant[name] and not baseline[name] for name in names)
    only_b = sum(baseline[name] and not variant[name] for name in names)
    p_value = mcnemar(only_a, only_b)
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = _normal_quantile(1 - ALPHA / 2) * math.sqrt(
        (share_a + share_b - (share_a - share_b) ** 2) / (n + 2)
    )
    centre = share_a - share_b
    return AccuracyDifference(
        difference=(only_a - only_b) / n,
        low=max(-1.0, centre - half),
        high=min(1.0, centre + half),
        p_value=p_value,
        images=n,
        runs=1,
        only_variant=only_a,
        only_baseline=only_b,
        smallest_visible=_visible(only_a + only_b, n, alpha),
        method="exact McNemar test, Bonett-Price interval",
    )


def compare_folds(pairs: Sequence[tuple[Hits, Hits]], alpha: float = ALPHA) -> AccuracyDifference:
    """Folds of one division: every image is evaluated once, so all are pooled."""
    pooled: tuple[dict[str, bool], dict[str, bool]] = ({}, {})
    for pair in pairs:
        for whole, fold in zip(pooled, pair, strict=True):
            whole.update(fold)
    found = compare_one_run(*pooled, alpha=alpha)
    method = f"{found.method}, {len(pairs)} folds pooled"
    return attrs.evolve(found, runs=len(pairs), method=method)


def compare_runs(pairs: Sequence[tuple[Hits, Hits]], alpha: float = ALPHA) -> AccuracyDifference:
    """Several pairs of runs with the same seeds: both the seeds and the images vary.

    The variance of the mean difference is the sum of two: that of the runs' differences ÷ runs,
    and that of the images' mean differences ÷ images (an image counts once however many runs
    evaluated it; at least as if each variant alone had classified one image). What is common to
    both is counted twice, so the test errs towards a tie. The quantile is Student's with
    (runs − 1) degrees of freedom.

    Args:
        pairs: (variant, baseline) of each seed.
        alpha: as in :func:`compare_one_run`.
    """
    from scipy import stats

    if len(pairs) == 1:
        return compare_one_run(*pairs[0], alpha=alpha)
    by_run: list[float] = []
    by_image: dict[str, list[int]] = {}
    only_a = only_b = 0
    for variant, baseline in pairs:
        names = sorted(set(variant) & set(baseline))
        if not names:
            raise ValueError("two runs share no evaluated image")
        signs = [int(variant[name]) - int(baseline[name]) for name in names]
        only_a, only_b = only_a + signs.count(1), only_b + signs.count(-1)
        by_run.append(float(np.mean(signs)))
        for name, sign in zip(names, signs, strict=True):
            by_image.setdefault(name, []).append(sign)
    means = [sum(signs) / len(signs) for signs in by_image.values()]
    runs, images = len(pairs), len(means)
    # Runs that agree on every image leave the doubt of one image more on each side.
    of_images = 2 / (images + 2) ** 2
    if images > 1:
        of_images = max(of_images, float(np.var(means, ddof=1)) / images)
    variance = float(np.var(by_run, ddof=1)) / runs + of_images
    difference, error = float(np.mean(by_run)), math.sqrt(variance)
    quantile = stats.t.ppf(1 - ALPHA / 2, runs - 1)
    p_value = float(2 * stats.t.sf(abs(difference) / error, runs - 1))
    visible = (stats.t.ppf(1 - alpha / 2, runs - 1) + stats.t.ppf(POWER, runs - 1)) * error
    return AccuracyDifference(
        difference=difference,
        low=max(-1.0, difference - quantile * error),
        high=min(1.0, difference + quantile * error),
        p_value=p_value,
        images=images,
        runs=runs,
        only_variant=only_a,
        only_baseline=only_b,
        smallest_visible=min(1.0, max(float(visible), _fewest(alpha) / images / runs)),
        method=f"t-test over {runs} seeds, variance of seeds and of images added",
    )


def _fewest(alpha: float) -> int:
    """Images that must all differ the same way before the exact test can reach ``alpha``."""
    return math.ceil(1 - math.log2(alpha))


@functools.lru_cache(maxsize=4096)
def _visible(discordant: int, images: int, alpha: float) -> float:
    """Connor (1987, Biometrics 43:207): the difference found with :data:`POWER`.

    The share of images on which the two disagree is taken from the data (one added), and at least
    as large as the difference itself.
    """
    from scipy import optimize

    z_alpha, z_power = _normal_quantile(1 - alpha / 2), _normal_quantile(POWER)
    observed = (discordant + 1) / (images + 1)

    def missing(difference: float) -> float:
        share = max(observed, difference)
        needed = z_alpha * math.sqrt(share) + z_power * math.sqrt(share - difference**2)
        return difference * math.sqrt(images) - needed

    least = min(1.0, _fewest(alpha) / images)
    if missing(1.0) < 0:
        return 1.0
    return max(least, float(optimize.brentq(missing, 0.0, 1.0)))
