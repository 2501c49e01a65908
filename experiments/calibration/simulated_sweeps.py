"""Sweeps of simulated models: which images each training of each variant classifies correctly."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

REFERENCE_ACCURACY, REFERENCE_IMAGES = 0.85, 576
RUN_SD = 0.014
DISAGREEMENT = (0.13, 0.22)
DISAGREEMENT_OF_TWINS = 0.11
GROUPS, GROUP_SHARE = 75, 0.5
POOL = 10
MODEL = (
    "An image is classified correctly when ability of the variant + difficulty of the image "
    "(shared by all) + liking of the variant for the image + luck of the training + noise of the "
    "training on the image is above 0, all of them normal. The spreads follow from what is "
    f"observed, at an accuracy of {REFERENCE_ACCURACY:.0%} on {REFERENCE_IMAGES} images: two "
    f"trainings of one variant disagree on {DISAGREEMENT_OF_TWINS:.0%} of the images, two variants "
    f"on {DISAGREEMENT[0]:.0%} to {DISAGREEMENT[1]:.0%}, and trainings of one variant on the same "
    f"images have accuracies with a standard deviation of {RUN_SD:.1%}. Twins are variants of one "
    f"design: their difficulty and liking are the same. Groups: {GROUPS} of unequal size, whose "
    f"images share {GROUP_SHARE:.0%} of the variance of difficulty, liking and noise. A test split "
    f"of its own for each seed is drawn from {POOL} times as many images. Truth is the accuracy "
    "over all images and all trainings; variants of equal accuracy differ on every finite set."
).replace("%", " %")


def both_correct(one: float, other: float, correlation: float) -> float:
    """Share of images that two models of these accuracies both classify correctly."""
    from scipy import stats

    bounds = stats.norm.ppf([one, other])
    together = stats.multivariate_normal.cdf(bounds, cov=[[1, correlation], [correlation, 1]])
    return float(together)


@functools.cache
def correlation_of(disagreement: float) -> float:
    """Correlation at which two models of the reference accuracy disagree on so many images."""
    from scipy import optimize

    accuracy = REFERENCE_ACCURACY

    def gap(correlation: float) -> float:
        return 2 * (accuracy - both_correct(accuracy, accuracy, correlation)) - disagreement

    return float(optimize.brentq(gap, 1e-6, 1 - 1e-9))


@attrs.frozen
class Spreads:
    """Variances of the parts of the model; without a spread that differs they sum up to 1.

    Attributes:
        difficulty, liking: of each variant, (variants,).
        luck: of a training.
        noise: of a training on an image.
    """

    difficulty: Array
    liking: Array
    luck: float
    noise: float


@functools.cache
def spreads(variants: int, twins: bool) -> Spreads:
    """What gives the observed disagreements and the observed spread of trainings."""
    from scipy import stats

    shared = correlation_of(DISAGREEMENT_OF_TWINS)
    nearest, farthest = (correlation_of(share) for share in DISAGREEMENT)
    difficulty = np.full(variants, shared) if twins else np.linspace(nearest, farthest, variants)
    # Half of the disagreement of twins is the variance of one image over trainings.
    of_luck = RUN_SD**2 - DISAGREEMENT_OF_TWINS / 2 / REFERENCE_IMAGES
    luck = of_luck / stats.norm.pdf(stats.norm.ppf(REFERENCE_ACCURACY)) ** 2
    return Spreads(difficulty, shared - difficulty, float(luck), float(1 - shared - luck))


@attrs.frozen
class Design:
    """What a simulated sweep consists of.

    Attributes:
        seeds: trainings of each variant.
        images: in the test split.
        accuracies: true accuracy of each variant.
        twins: whether all variants are of one design.
        luck: spread of the luck, as a multiple of what is observed.
        luck_of_first: that of the first variant, as a multiple of the others'.
        grouped: whether images lie in groups.
        own_images: whether each seed has a test split of its own.
        missing: whether the last variant lacks the last seed.
    """

    seeds: int
    images: int
    accuracies: tuple[float, ...]
    twins: bool = False
    luck: float = 1.0
    luck_of_first: float = 1.0
    grouped: bool = False
    own_images: bool = False
    missing: bool = False

    @property
    def units(self) -> Array | None:
        """Number of each image's group; None where each image is a unit."""
        return groups(self.images) if self.grouped else None


@functools.cache
def groups(images: int) -> Array:
    """Group of each image: every group has one, the others lie at random."""
    more = np.random.default_rng(0).integers(0, GROUPS, images - GROUPS)
    return np.sort(np.concatenate([np.arange(GROUPS), more]))


def simulate(design: Design, rng: np.random.Generator) -> Array:
    """One sweep: (variants, seeds, images) 1 where classified correctly, NaN where not evaluated.

    With a test split for each seed, images are all those that any seed evaluated.
    """
    from scipy import special

    variants, seeds = len(design.accuracies), design.seeds
    parts = spreads(variants, design.twins)
    evaluated = _evaluated(design, rng)
    luck = np.full(variants, design.luck * np.sqrt(parts.luck))
    luck[0] *= design.luck_of_first
    total = parts.difficulty + parts.liking + luck**2 + parts.noise
    ability = special.ndtri(design.accuracies) * np.sqrt(total)

    def of_images(variance: Array, *shape: int) -> Array:
        alone = rng.standard_normal((*shape, evaluated.shape[1]), np.float32)
        if design.units is not None:
            shared = rng.standard_normal((*shape, GROUPS), np.float32)[..., design.units]
            alone = np.sqrt(GROUP_SHARE) * shared + np.sqrt(1 - GROUP_SHARE) * alone
        return np.asarray(np.sqrt(variance, dtype=np.float32)[:, None, None] * alone)

    of_trainings = ability[:, None] + luck[:, None] * rng.standard_normal((variants, seeds))
    latent = of_images(parts.difficulty, 1, 1) + of_images(parts.liking, variants, 1)
    latent = latent + of_images(np.full(variants, parts.noise), variants, seeds)
    latent += of_trainings[..., None]
    correct = np.where(evaluated, latent > 0, np.nan)
    if design.missing:
        correct[-1, -1] = np.nan
    return correct


def _evaluated(design: Design, rng: np.random.Generator) -> Array:
    """Whether each seed evaluates each image, (seeds, images)."""
    if not design.own_images:
        return np.ones((design.seeds, design.images), dtype=bool)
    pool = np.zeros((design.seeds, POOL * design.images), dtype=bool)
    for row in pool:
        row[rng.choice(len(row), design.images, replace=False)] = True
    return np.asarray(pool[:, pool.any(axis=0)])
