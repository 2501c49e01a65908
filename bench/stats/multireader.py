"""Accuracies of variants over several seeds: seeds as readers, images as cases.

The analysis of Obuchowski and Rockette (1995, Communications in Statistics 24:285) with the degrees
of freedom of Hillis (2007, Statistics in Medicine 26:596): variants are fixed, seeds and images are
random. All pairs are judged together by Tukey's studentized range.

``analyse(correct, units)`` returns an :class:`Analysis`, whose matrices ``difference``, ``se``,
``df``, ``low``, ``high``, ``p``, ``mdd`` and ``verdict`` are indexed by the numbers of two
variants; :func:`table_of` and :func:`unit_numbers` make its arguments from names.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import attrs
import numpy as np

from bench.stats.accuracy import Array, wilson
from bench.stats.multiple import ALPHA

POWER = 0.8
FEWEST_SEEDS = 2
FEWEST_UNITS = 60
# With fewer, the estimate of Hillis' degrees of freedom is itself too uncertain.
FEWEST_FREEDOM = 8


# --- Tukey's studentized range ---------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _range_of_normals(variants: int) -> Any:
    """Logarithm of the survival function of the range of standard normals, as a spline."""
    from scipy import interpolate, stats

    at = np.linspace(0, 12, 601)
    tail = np.maximum(stats.studentized_range.sf(at, variants, np.inf), 1e-300)
    # Far out the survival function is a difference of numbers near 1 and no longer exact.
    kept = tail > 1e-11
    return interpolate.CubicSpline(at[kept], np.log(tail[kept])), float(at[kept][-1])


def tukey_p(q: Array, variants: int, freedom: Array) -> Array:
    """Survival function of the studentized range, for whole arrays.

    As ``scipy.stats.studentized_range.sf``, which takes 20 ms for each number: its values at
    infinite degrees of freedom are integrated over the distribution of the standard deviation.

    Args:
        q: |difference| ÷ its standard error × √2.
        variants: how many means are compared.
        freedom: degrees of freedom, of the shape of ``q``.
    """
    from scipy import stats

    q, freedom = np.broadcast_arrays(np.asarray(q, float), np.asarray(freedom, float))
    if variants == 2:
        return np.asarray(2 * stats.t.sf(q / np.sqrt(2), freedom))
    found = _mixed(np.ravel(q), variants, *_deviations(np.ravel(freedom)))
    return np.asarray(found.reshape(q.shape))


def _deviations(freedom: Array) -> tuple[Array, Array]:
    """Standard deviations (numbers, 64) at which to integrate, and the weight of each."""
    from scipy import special

    bounds = np.sqrt(special.chdtri(freedom, [[1 - 1e-13], [1e-13]]) / freedom)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    middle, half = (bounds[1] + bounds[0]) / 2, (bounds[1] - bounds[0]) / 2
    s, df = middle[:, None] + half[:, None] * nodes, freedom[:, None]
    log = np.log(2) + df / 2 * np.log(df / 2) - special.gammaln(df / 2)
    density = np.exp(log + (df - 1) * np.log(s) - df * s**2 / 2)
    return s, half[:, None] * weights * density


def _mixed(q: Array, variants: int, s: Array, weights: Array) -> Array:
    spline, end = _range_of_normals(variants)
    at = q[:, None] * s
    tail = np.where(at < end, np.exp(spline(np.minimum(at, end))), 0.0)
    return np.asarray((weights * tail).sum(axis=1))


def tukey_quantile(variants: int, freedom: Array, alpha: float = ALPHA) -> Array:
    """The ``q`` at which :func:`tukey_p` is ``alpha``, by bisection."""
    from scipy import stats

    freedom = np.asarray(freedom, float)
    if variants == 2:
        return np.asarray(np.sqrt(2) * stats.t.isf(alpha / 2, freedom))
    distinct, place = np.unique(freedom, return_inverse=True)
    # Bonferroni's quantile is above Tukey's.
    high = np.sqrt(2) * stats.t.isf(alpha / (variants * (variants - 1)), distinct)
    low, mixture = np.zeros_like(high), _deviations(distinct)
    for _ in range(45):
        middle = (low + high) / 2
        above = _mixed(middle, variants, *mixture) > alpha
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(((low + high) / 2)[place].reshape(freedom.shape))


# --- Obuchowski and Rockette -----------------------------------------------------------------


def hillis(
    interaction: Array, covariance: Array, seeds: Array, freedom: Array
) -> tuple[Array, Array]:
    """The error mean square of a difference and its degrees of freedom (Hillis 2007).

    The variance of the difference of two variants' means is 2 ÷ seeds × the error mean square; the
    F statistic is the mean square of variants ÷ it.

    Args:
        interaction: mean square of variant × seed.
        covariance: Cov2 − Cov3, counted as 0 below it.
        seeds: how many.
        freedom: degrees of freedom of ``interaction``.
    """
    interaction = np.asarray(interaction, float)
    error = interaction + seeds * np.maximum(covariance, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = error**2 / (interaction**2 / freedom)
    return error, np.where(interaction > 0, np.minimum(found, 1e6), 1e6)


@attrs.frozen(eq=False, slots=False)
class Analysis:
    """All pairs of variants: matrices, whose entry [i, j] is of variant i minus variant j.

    Accuracies and their differences are fractions. Entries are NaN where a pair shares fewer than
    two seeds.

    Attributes:
        variants: how many.
        seeds: that both of a pair have.
        units: images, or groups of them, that a pair's seeds evaluated; of the seed with fewest.
        difference: of the means over these seeds.
        se: standard error of the difference.
        df: its degrees of freedom.
    """

    variants: int
    seeds: Array
    units: Array
    difference: Array
    se: Array
    df: Array

    @functools.cached_property
    def half(self) -> Array:
        """Half of the width of the simultaneous 95 % intervals."""
        return tukey_quantile(self.variants, self.df) * self.se / np.sqrt(2)

    @property
    def low(self) -> Array:
        """Lower bound of the simultaneous 95 % interval."""
        return np.maximum(-1, self.difference - self.half)

    @property
    def high(self) -> Array:
        """Upper bound of the simultaneous 95 % interval."""
        return np.minimum(1, self.difference + self.half)

    @functools.cached_property
    def p(self) -> Array:
        """Tukey's p value, adjusted for all pairs."""
        with np.errstate(invalid="ignore", divide="ignore"):
            q = np.abs(self.difference) / self.se * np.sqrt(2)
        return tukey_p(q, self.variants, self.df)

    @functools.cached_property
    def mdd(self) -> Array:
        """Minimum detectable difference: what is declared with a probability of 80 %."""
        from scipy import stats

        return np.minimum(1, self.half + stats.t.ppf(POWER, self.df) * self.se)

    @functools.cached_property
    def verdict(self) -> Array:
        """``better``, ``worse``, ``undecided`` (0 is in the interval) or ``not compared``."""
        found = np.where(self.difference > 0, "better", "worse").astype("<U12")
        found[self.p >= ALPHA] = "undecided"
        found[np.isnan(self.p)] = "not compared"
        return found


def analyse(correct: Array, units: Array | None = None) -> Analysis:
    """Judge all pairs of variants.

    Args:
        correct: (variants, seeds, images) 0 or 1, NaN where a seed did not evaluate an image.
        units: (images,) number of the group that an image belongs to; None: each is its own.
    """
    correct = np.asarray(correct, float)
    scores, deltas, counts = jackknife(correct, units)
    known = ~np.isnan(correct)
    everyone = known | ~known.any(axis=2, keepdims=True)
    if (everyone.all(axis=0) >= known.any(axis=0)).all():
        return analyse_scores(scores, deltas, counts)
    # A fold that one variant lacks is no reason to leave its images out for the others.
    pooled = _pooled(scores)
    if counts[~np.isnan(scores).any(axis=0)].min(initial=FEWEST_UNITS) < FEWEST_UNITS:
        pooled = (float("nan"), float("nan"))
    number = len(correct)
    matrices = np.full((5, number, number), np.nan)
    for pair in combinations(range(number), 2):
        part = analyse_scores(*jackknife(correct[list(pair)], units), pooled)
        values = np.array([part.seeds, part.units, part.difference, part.se, part.df])
        matrices[np.ix_(range(5), pair, pair)] = values
    return Analysis(number, *matrices)


def jackknife(correct: Array, units: Array | None = None) -> tuple[Array, Array, Array]:
    """Accuracies (variants, seeds), influences (variants, seeds, units), units (seeds,).

    The sum over units of the product of two influences is the delete-one jackknife's covariance of
    two accuracies; a unit that a seed did not evaluate has none on it.
    """
    correct = np.asarray(correct, float)
    known = ~np.isnan(correct)
    ran = known.any(axis=2)
    seen = (known | ~ran[:, :, None]).all(axis=0) & ran.any(axis=0)[:, None]
    right, images = np.where(seen, np.nan_to_num(correct), 0.0), seen.astype(float)
    if units is not None:
        order = np.argsort(units, kind="stable")
        starts = np.flatnonzero(np.diff(np.asarray(units)[order], prepend=np.nan) != 0)
        right = np.add.reduceat(right[..., order], starts, axis=-1)
        images = np.add.reduceat(images[..., order], starts, axis=-1)
    totals, sums = images.sum(axis=-1), right.sum(axis=-1)
    present = images > 0
    counts = present.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(ran & (totals > 0), sums / totals, np.nan)
        without = (sums[..., None] - right) / (totals[:, None] - images)
        deltas = np.where(present, without, 0.0)
        centre = deltas.sum(axis=-1) / counts
        scale = np.sqrt((counts - 1) / counts)
        deltas = np.where(present, (deltas - centre[..., None]) * scale[:, None], 0.0)
    return scores, np.where(ran[..., None], deltas, 0.0), counts


def analyse_scores(
    scores: Array, deltas: Array, counts: Array, pooled: tuple[float, float] | None = None
) -> Analysis:
    """Judge all pairs of any score that :func:`jackknife` may be made of.

    The mean square of variant × seed is that of the seeds that all variants share, and of a pair
    the larger of it and the pair's own.

    Args:
        scores, deltas, counts: of :func:`jackknife`.
        pooled: mean square over more variants than these, with its degrees of freedom.
    """
    ran = ~np.isnan(scores)
    values = np.where(ran, scores, 0.0)
    number = len(scores)
    both = (ran[:, None] & ran[None]).astype(float)
    seeds = both.sum(axis=-1)
    gaps = values[:, None] - values[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = (both * gaps).sum(axis=-1) / seeds
        spread = (both * (gaps - difference[..., None]) ** 2).sum(axis=-1)
        own = spread / 2 / (seeds - 1)
        covariance = _between_seeds(deltas, both) / (seeds * (seeds - 1))
        square, freedom = _pooled(scores) if pooled is None else pooled
        interaction = np.fmax(own, square)
        left = np.where(np.isnan(square), seeds - 1, freedom)
        error, found = hillis(interaction, covariance, seeds, left)
        df = np.where(left < FEWEST_FREEDOM, left, found)
        fewest = np.where(both > 0, counts, np.inf).min(axis=-1)
        # Variants that agree on every image leave the doubt of one more on each side.
        variance = np.maximum(2 / seeds * error, 2 / (fewest + 2) ** 2)
    known = seeds >= FEWEST_SEEDS
    np.fill_diagonal(known, False)
    matrices = [np.where(known, each, np.nan) for each in (difference, np.sqrt(variance), df)]
    return Analysis(number, seeds, fewest, *matrices)


def _pooled(scores: Array) -> tuple[float, float]:
    """Mean square of variant × seed over the seeds that all share, and its degrees of freedom."""
    shared = scores[:, ~np.isnan(scores).any(axis=0)]
    variants, seeds = shared.shape
    freedom = (variants - 1) * (seeds - 1)
    if freedom < 1:
        return float("nan"), float("nan")
    left = shared - shared.mean(axis=0) - shared.mean(axis=1, keepdims=True) + shared.mean()
    return float((left**2).sum() / freedom), float(freedom)


def _between_seeds(deltas: Array, both: Array) -> Array:
    """Half of the sum, over all ordered pairs of two seeds, of the differences' covariances.

    Divided by the number of such pairs it is Cov2 − Cov3 of each pair of variants.
    """
    number, seeds = deltas.shape[:2]
    flat = deltas.reshape(number * seeds, -1)
    gram = (flat @ flat.T).reshape(number, seeds, number, seeds).transpose(0, 2, 1, 3)
    own = np.einsum("vvst->vst", gram)
    of_pairs = own[:, None] + own[None] - gram - gram.swapaxes(2, 3)
    others = 1 - np.eye(seeds)
    return np.asarray(np.einsum("vwst,vws,vwt,st->vw", of_pairs, both, both, others) / 2)


# --- one variant -----------------------------------------------------------------------------


def effective_number(hits: Sequence[bool], units: Sequence[Hashable]) -> float:
    """Independent images that would leave as much doubt: images ÷ the design effect.

    The design effect is the variance of the accuracy by the delete-one jackknife over units ÷ the
    binomial one; at least 1, so that grouped images never count for more than there are. Where all
    are right or all are wrong, nothing tells how alike a group's images are: then it is the number
    of units.

    Args:
        hits: of each image.
        units: what is kept together, of each image.
    """
    right = np.array(hits, float)
    numbers = np.unique([str(unit) for unit in units], return_inverse=True)[1]
    share = float(right.mean())
    groups = int(numbers.max()) + 1
    if share in (0.0, 1.0) or groups < 2:
        return float(groups)
    _, deltas, _ = jackknife(right[None, None], numbers)
    variance = float((deltas**2).sum())
    binomial = share * (1 - share) / len(right)
    return len(right) * min(1.0, binomial / variance) if variance > 0 else float(len(right))


def error_of_mean(scores: Array, deltas: Array, counts: Array) -> tuple[float, float]:
    """Variance of the mean score of one variant over its seeds, and its degrees of freedom.

    Args:
        scores: (seeds,).
        deltas: (seeds, units), the influences of :func:`jackknife`.
        counts: (seeds,), units that each seed evaluated.
    """
    seeds = len(scores)
    if seeds == 1:
        return float((deltas**2).sum()), float(counts[0] - 1)
    between = float((deltas.sum(axis=0) ** 2).sum() - (deltas**2).sum()) / seeds / (seeds - 1)
    square = np.asarray(np.var(scores, ddof=1))
    error, freedom = hillis(square, np.asarray(between), np.asarray(seeds), np.asarray(seeds - 1))
    return float(error) / seeds, float(freedom)


def interval_of_mean(
    scores: Array, deltas: Array, counts: Array, evaluated: int
) -> tuple[float, float]:
    """95 % interval of a mean accuracy over seeds, new seeds and new images meant.

    Wilson's, of the number of independent images that would leave the variance of
    :func:`error_of_mean`, with Student's quantile: within 0 and 1, and of some width where every
    image is right.

    Args:
        scores, deltas, counts: as in :func:`error_of_mean`.
        evaluated: images of all seeds together, each as often as it was evaluated; they never
            count for more.
    """
    mean = float(np.mean(scores))
    variance, freedom = error_of_mean(scores, deltas, counts)
    number = float(counts.min())
    if 0 < mean < 1:
        number = mean * (1 - mean) / max(variance, mean * (1 - mean) / evaluated)
    return wilson(mean * number, number, freedom=freedom)


def interval_of_score(scores: Array, deltas: Array, counts: Array) -> tuple[float, float]:
    """95 % jackknife interval of a mean score 0..1 that is no share, such as macro-F1."""
    from scipy import special

    variance, freedom = error_of_mean(scores, deltas, counts)
    # Where every image is right, one more might not be.
    variance = max(variance, 1 / (float(counts.min()) + 2) ** 2)
    half = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * float(np.sqrt(variance))
    mean = float(np.mean(scores))
    return max(0.0, mean - half), min(1.0, mean + half)


# --- by name ---------------------------------------------------------------------------------


def table_of(
    hits: Mapping[str, Mapping[Hashable, Mapping[str, bool]]],
) -> tuple[Array, list[str]]:
    """The array that :func:`analyse` takes, and the images along its last axis."""
    seeds = list(dict.fromkeys(chain.from_iterable(hits.values())))
    every = (image for by_seed in hits.values() for part in by_seed.values() for image in part)
    index = {image: number for number, image in enumerate(dict.fromkeys(every))}
    correct = np.full((len(hits), len(seeds), len(index)), np.nan)
    for row, by_seed in enumerate(hits.values()):
        for seed, part in by_seed.items():
            indices = [index[image] for image in part]
            correct[row, seeds.index(seed), indices] = list(part.values())
    return correct, list(index)


def unit_numbers(images: list[str], groups: Mapping[str, str] | None) -> Array | None:
    """Number of each image's unit; None where each is its own."""
    if not groups:
        return None
    names = [("group", groups[image]) if image in groups else ("", image) for image in images]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])
