"""Every pair of variants judged once: difference, interval, p value, verdict, what was visible."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import combinations

import attrs
import numpy as np

from bench.stats.accuracy import Array, compare_trained
from bench.stats.multiple import ALPHA, holm_levels
from bench.stats.multireader import FEWEST_SEEDS, FEWEST_UNITS, Analysis, analyse

TRAINED, VARIANTS = "trained models", "variants"


@attrs.frozen
class PairVerdict:
    """One variant against another, on the images and seeds that both have.

    Attributes:
        scope: what the verdict is about: :data:`TRAINED` or :data:`VARIANTS`.
        difference: of the accuracies, a fraction −1..1.
        low, high: the interval that belongs to the verdict: without 0 where one is declared.
        p_value: adjusted for all pairs judged together.
        verdict: ``better``, ``worse`` or ``tie``.
        minimum_detectable: the difference that would be declared with a probability of 80 %.
        images, units: evaluated by both; groups of images count once as units.
        seeds: numbers, in the order of the array, of those that both have.
        only_variant, only_other: images that one alone classified correctly, over all seeds.
    """

    scope: str
    difference: float
    low: float
    high: float
    p_value: float
    verdict: str = attrs.field(init=False)
    minimum_detectable: float
    images: int
    units: int
    seeds: tuple[int, ...]
    only_variant: int
    only_other: int

    @verdict.default
    def _declare(self) -> str:
        if self.p_value >= ALPHA:
            return "tie"
        return "better" if self.difference > 0 else "worse"

    @property
    def method(self) -> str:
        """How verdict, p value and interval were made."""
        if self.scope == VARIANTS:
            return "Obuchowski-Rockette analysis, Tukey's simultaneous intervals"
        return "exact McNemar test, Holm's correction"

    def turned(self) -> PairVerdict:
        """The other against the variant."""
        return attrs.evolve(
            self,
            # 0 minus it, since -0.0 is printed with its sign.
            difference=0.0 - self.difference,
            low=0.0 - self.high,
            high=0.0 - self.low,
            only_variant=self.only_other,
            only_other=self.only_variant,
        )


@attrs.frozen
class Judged:
    """All pairs of a family.

    Attributes:
        scope: what the verdicts are about.
        reason: why it is not the variants, or "".
        pairs: by the numbers of two variants, the smaller first; without those that share no image,
            or too few seeds.
    """

    scope: str
    reason: str
    pairs: Mapping[tuple[int, int], PairVerdict]


def judge_pairs(correct: Array, units: Array | None = None) -> Judged:
    """Judge all pairs together: about variants where there is enough for that.

    Args:
        correct: (variants, seeds, images) 0 or 1, NaN where a seed did not evaluate an image.
        units: (images,) numbers of groups; None: each image is its own.
    """
    correct = np.asarray(correct, float)
    numbers = np.arange(correct.shape[2]) if units is None else np.asarray(units)
    ran = ~np.isnan(correct).all(axis=2)
    shared = (ran[:, None] & ran[None]).sum(axis=2)
    np.fill_diagonal(shared, 0)
    if shared.max(initial=0) < FEWEST_SEEDS:
        reason = (
            "one training each cannot tell the design from the luck of its seed: add --seeds 3"
            if ran.sum(axis=1).max(initial=0) < FEWEST_SEEDS
            else f"no two variants share {FEWEST_SEEDS} seeds"
        )
        return Judged(TRAINED, reason, _trained(correct, numbers, ran))
    analysis = analyse(correct, units)
    judged = ~np.isnan(analysis.difference)
    fewest = int(analysis.units[judged].min()) if judged.any() else 0
    if fewest < FEWEST_UNITS:
        reason = (
            f"two variants share {fewest} of the {FEWEST_UNITS} images or groups that verdicts "
            "about variants need"
        )
        return Judged(TRAINED, reason, _trained(correct, numbers, ran))
    return Judged(VARIANTS, "", _of_variants(correct, numbers, analysis))


Pairs = dict[tuple[int, int], PairVerdict]


def _trained(correct: Array, numbers: Array, ran: Array) -> Pairs:
    compared, seeds = {}, {}
    for one, two in combinations(range(len(correct)), 2):
        both = ran[one] & ran[two]
        if both.any():
            with contextlib.suppress(ValueError):
                compared[one, two] = compare_trained(
                    correct[one][both], correct[two][both], numbers
                )
                seeds[one, two] = both
    levels = holm_levels([found.p_value for found in compared.values()])
    pairs = {}
    for (pair, found), (p_value, level) in zip(compared.items(), levels, strict=True):
        low, high = found.interval(level)
        detectable = found.minimum_detectable_difference(level)
        figures = (found.difference, low, high, p_value or 0.0, detectable)
        pairs[pair] = _verdict(TRAINED, figures, correct, pair, seeds[pair], numbers)
    return pairs


def _of_variants(correct: Array, numbers: Array, analysis: Analysis) -> Pairs:
    pairs = {}
    matrices = (analysis.difference, analysis.low, analysis.high, analysis.p, analysis.mdd)
    for pair in combinations(range(len(correct)), 2):
        figures = [float(matrix[pair]) for matrix in matrices]
        if not np.isnan(figures[0]):
            one, two = correct[list(pair)]
            seeds = ~np.isnan(one - two).all(axis=1)
            pairs[pair] = _verdict(VARIANTS, figures, correct, pair, seeds, numbers)
    return pairs


def _verdict(
    scope: str,
    figures: Sequence[float],
    correct: Array,
    pair: tuple[int, int],
    seeds: Array,
    numbers: Array,
) -> PairVerdict:
    """Make the verdict of a pair.

    Args:
        figures: difference, its bounds, p value, minimum detectable difference.
        seeds: (seeds,) which of them both have.
    """
    one, two = correct[list(pair)]
    signs = one[seeds] - two[seeds]
    seen = ~np.isnan(signs).all(axis=0)
    difference, low, high, p_value, detectable = figures
    return PairVerdict(
        scope,
        difference,
        low,
        high,
        p_value,
        detectable,
        images=int(seen.sum()),
        units=len(np.unique(numbers[seen])),
        seeds=tuple(np.flatnonzero(seeds).tolist()),
        only_variant=int((signs > 0).sum()),
        only_other=int((signs < 0).sum()),
    )
