"""Intervals and tests of trained models' accuracies: coverage, summed over all outcomes.

The functions under test are those of a report: wilson and compare_trained of bench.stats.
"""

from __future__ import annotations

import functools
from itertools import product

import numpy as np

from bench.stats.accuracy import compare_trained, wilson
from bench.stats.multiple import ALPHA
from experiments import figures
from experiments.rows import Row, percent
from experiments.suite import Json, Record, Tables

FIGURES = {
    "accuracy_coverage.png": (
        "Exact coverage of the Wilson interval over true accuracies",
        figures.accuracy_coverage,
    )
}
ACCURACIES = [round(0.5 + 0.005 * step, 3) for step in range(100)]
PAIRED_ACCURACIES = [round(0.5 + 0.055 * step, 3) for step in range(10)]
AGREEMENTS = [0.3, 0.7]
GAPS = [0.0, 0.03]
UNLIKELY = 1e-5
PARAMETERS = {
    "images": [23, 47, 1041],
    "accuracies": [ACCURACIES[0], ACCURACIES[-1]],
    "accuracy_step": 0.005,
    "paired_accuracies": PAIRED_ACCURACIES,
    "agreements": AGREEMENTS,
    "gaps": GAPS,
    "probability_left_out": UNLIKELY,
}
QUICK = {"images": [23, 47]}


def measure(chosen: Record) -> Json:
    """Sum over all outcomes, at each number of images."""
    sizes = chosen["images"]
    paired = [case for images in sizes for case in _paired(images)]
    return {"outcome": {"wilson": list(map(_wilson_coverage, sizes)), "paired": paired}}


# --- one accuracy ----------------------------------------------------------------------------


def _wilson_coverage(images: int) -> Json:
    """Probability that the interval holds each accuracy, summed over all numbers of hits."""
    from scipy import stats

    hits = np.arange(images + 1)
    low, high = np.array([wilson(int(count), images) for count in hits]).T
    coverage = [
        float(stats.binom.pmf(hits, images, accuracy)[(low <= accuracy) & (accuracy <= high)].sum())
        for accuracy in ACCURACIES
    ]
    return {"images": images, "accuracies": ACCURACIES, "coverage": coverage}


# --- two accuracies on the same images -------------------------------------------------------


def discordant_shares(accuracy: float, gap: float, agreement: float) -> tuple[float, float] | None:
    """Shares of images that only the better, and only the worse, of two models classifies.

    None where no two models have this accuracy (of the worse), gap and correlation of their hits.
    """
    better = accuracy + gap
    if better >= 1:
        return None
    spread = np.sqrt(accuracy * (1 - accuracy) * better * (1 - better))
    both = accuracy * better + agreement * spread
    if both > accuracy:
        return None
    return float(better - both), float(accuracy - both)


def _paired(images: int) -> list[Json]:
    """Exact coverage, and rate of p < 0.05, over all likely numbers of discordant images."""
    cases = []
    for accuracy, gap, agreement in product(PAIRED_ACCURACIES, GAPS, AGREEMENTS):
        shares = discordant_shares(accuracy, gap, agreement)
        if shares is None:
            continue
        counts, weights = _likely(images, shares)
        outcomes = [_compared(images, *pair) for pair in counts[:, :2].tolist()]
        low, high, p_values = np.array(outcomes).T
        case = {"images": images, "accuracy": accuracy, "gap": gap, "agreement": agreement}
        # What was left out as unlikely counts as a miss and as a false alarm.
        case["coverage"] = float(weights[(low <= gap) & (gap <= high)].sum())
        case["significant"] = float(1 - weights[p_values >= ALPHA].sum())
        cases.append(case)
    return cases


def _likely(images: int, shares: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """All counts of discordant and other images but the most unlikely, and their probabilities.

    What is left out has a probability of :data:`UNLIKELY` in all.
    """
    from scipy import stats

    tails = (UNLIKELY / 4, 1 - UNLIKELY / 4)
    bounds = [stats.binom.ppf(tails, images, share).astype(int) for share in shares]
    grids = np.meshgrid(*(np.arange(low, high + 1) for low, high in bounds), indexing="ij")
    only_a, only_b = (grid.ravel() for grid in grids)
    counts = np.stack([only_a, only_b, images - only_a - only_b], axis=1)
    counts = counts[counts[:, 2] >= 0]
    weights = stats.multinomial.pmf(counts, images, [*shares, 1 - sum(shares)])
    order = np.argsort(weights)
    likely = np.sort(order[np.cumsum(weights[order]) >= UNLIKELY / 2])
    return counts[likely], weights[likely]


@functools.cache
def _compared(images: int, only_a: int, only_b: int) -> tuple[float, float, float]:
    """Interval and p value of two trained models that differ on so many images."""
    one, other = np.ones((2, 1, images))
    other[:, :only_a] = 0
    one[:, only_a : only_a + only_b] = 0
    comparison = compare_trained(one, other)
    return *comparison.interval(), comparison.p_value


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """Mean and minimum coverage for each size, false positives of each test."""
    outcome = record["outcome"]
    result = []
    for case in outcome["wilson"]:
        mean, least = float(np.mean(case["coverage"])), min(case["coverage"])
        worst = case["accuracies"][case["coverage"].index(least)]
        result.append(
            Row(
                f"Coverage of the accuracy interval (Wilson), {case['images']:,} images",
                "93 %–97 % on average",
                f"{percent(mean)} (exact); least {percent(least)} at accuracy {worst:g}",
                0.93 <= mean <= 0.97,
                f"average over {len(case['accuracies'])} accuracies 0.5–0.995, all outcomes summed",
            )
        )
    for images in record["parameters"]["images"]:
        cases = [case for case in outcome["paired"] if case["images"] == images]
        coverage = [case["coverage"] for case in cases]
        mean = float(np.mean(coverage))
        same = max(case["significant"] for case in cases if case["gap"] == 0)
        made = f"{len(cases)} pairs of accuracy, gap and agreement, all likely outcomes summed"
        result += [
            Row(
                f"Coverage of the paired interval (Bonett-Price), {images:,} images",
                "at least 93 % on average",
                f"{percent(mean)} (exact); least {percent(min(coverage))}",
                mean >= 0.93,
                f"{made}; above 97 % where few images differ; exact where it contradicts the test",
            ),
            Row(
                f"False positives of the paired test (exact McNemar), {images:,} images",
                "at most 5 %",
                f"{percent(same)} (exact) in the worst case",
                same <= 0.05,
                made,
            ),
        ]
    return result


def details(record: Record) -> Tables:
    """Every paired case."""
    cells = [
        [
            f"{case['images']:,}",
            f"{case['accuracy']:.3f}",
            f"{case['gap']:.2f}",
            f"{case['agreement']:.1f}",
            percent(case["coverage"]),
            percent(case["significant"]),
        ]
        for case in record["outcome"]["paired"]
    ]
    return [
        (
            "Two models on the same images: summed over all numbers of images that only one of "
            f"them classifies ({UNLIKELY:g} of the probability left out, counted as misses). "
            "Agreement is the correlation of their hits; with a gap, p < 0.05 is the test's power.",
            ["images", "accuracy", "gap", "agreement", "interval held", "p < 0.05"],
            cells,
        ),
    ]
