"""Whether confidences mean what they say: calibration error, and what chance alone would give."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

BINS = 15
DRAWS = 2000
# Random numbers that are held at once.
MOST_AT_ONCE = 4_000_000


@attrs.frozen
class Bin:
    """Images of one range of confidence; shares are fractions 0..1."""

    images: int
    correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """Share of its images that were classified correctly."""
        return self.correct / self.images


@attrs.frozen
class Calibration:
    """How far confidence and accuracy are apart.

    Attributes:
        images: evaluated.
        accuracy, confidence: means over the images, 0..1.
        ece: expected calibration error, 0..1.
        by_chance: mean error of a perfectly calibrated model with these confidences on so many
            images.
        by_chance_high: what 95 % of such models stay below.
        p_value: share of such models whose error is as large.
        bins: the ones that are not empty, by confidence.
    """

    images: int
    accuracy: float
    confidence: float
    ece: float
    by_chance: float
    by_chance_high: float
    p_value: float
    bins: tuple[Bin, ...]


def calibration(
    confidences: Sequence[float], correct: Sequence[bool], *, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """Expected calibration error in 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599).

    The error is never 0, not even for a perfectly calibrated model: with few images chance alone
    makes it large. So it is compared with that of models whose every image is correct with exactly
    the stated confidence (consistency resampling: Bröcker and Smith 2007, Weather and Forecasting
    22:651).

    Args:
        confidences: of the predicted class, 0..1, one for each image.
        correct: whether each was classified correctly.
        draws: models by chance; the smallest p value is 1 / (draws + 1).
        seed: of the resampling.

    Raises:
        ValueError: no image.
    """
    if not len(confidences):
        raise ValueError("no image")
    shares = np.clip(np.asarray(confidences, np.float64), 0.0, 1.0)
    hits = np.asarray(correct, bool)
    # Right-closed bins, as in the paper; a confidence of 0 belongs to the first.
    places = np.clip(np.ceil(shares * BINS).astype(int) - 1, 0, BINS - 1)
    chance = np.random.default_rng(seed)
    found, gap, simulated = [], 0.0, np.zeros(draws)
    for place in range(BINS):
        inside = places == place
        if not inside.any():
            continue
        own = shares[inside]
        found.append(Bin(len(own), int(hits[inside].sum()), float(own.mean())))
        gap += abs(float(hits[inside].sum()) - float(own.sum()))
        simulated += np.abs(_hits_by_chance(own, draws, chance) - own.sum())
    ece, simulated = gap / len(shares), simulated / len(shares)
    # Sums in another order differ in the last digits.
    as_large = int((simulated >= ece - 1e-12).sum())
    return Calibration(
        images=len(shares),
        accuracy=float(hits.mean()),
        confidence=float(shares.mean()),
        ece=ece,
        by_chance=float(simulated.mean()),
        by_chance_high=float(np.quantile(simulated, 0.95)),
        p_value=(1 + as_large) / (1 + draws),
        bins=tuple(found),
    )


def _hits_by_chance(shares: np.ndarray, draws: int, chance: np.random.Generator) -> np.ndarray:
    """(draws,) numbers of correct images where each is correct with its own probability."""
    total = np.zeros(draws)
    step = max(1, MOST_AT_ONCE // draws)
    for start in range(0, len(shares), step):
        own = shares[start : start + step]
        total += (chance.random((draws, len(own))) < own).sum(axis=1)
    return total
