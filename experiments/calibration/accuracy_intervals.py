"""Intervals and tests of trained models' accuracies: coverage, summed over all outcomes.

The functions under test are those of a report: wilson and compare_trained of bench.stats.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from bench.stats.accuracy import compare_trained, wilson
from bench.stats.multiple import ALPHA
from experiments.calibration import figures
from experiments.calibration.common import exact, head, percent
from experiments.record import Record, Row

NAME = "accuracy_intervals"
SIZES = (23, 47, 1041)
ACCURACIES = tuple(round(0.5 + 0.005 * step, 3) for step in range(100))
PAIRED_ACCURACIES = tuple(round(0.5 + 0.055 * step, 3) for step in range(10))
AGREEMENTS = (0.3, 0.7)
GAPS = (0.0, 0.03)
UNLIKELY = 1e-5


def run(quick: bool) -> dict[str, Any]:
    """All sizes; ``quick``: only the two small ones."""
    sizes = SIZES[:2] if quick else SIZES
    parameters = {
        "images": list(sizes),
        "accuracies": [ACCURACIES[0], ACCURACIES[-1]],
        "accuracy_step": 0.005,
        "paired_accuracies": list(PAIRED_ACCURACIES),
        "agreements": list(AGREEMENTS),
        "gaps": list(GAPS),
        "probability_left_out": UNLIKELY,
    }
    record = head(NAME, quick, None, parameters, ("numpy", "scipy"))
    outcome = {
        "wilson": [_wilson_coverage(images) for images in sizes],
        "paired": [case for images in sizes for case in _paired(images)],
    }
    return {**record, "outcome": outcome}


# --- one accuracy ----------------------------------------------------------------------------


def _wilson_coverage(images: int) -> dict[str, Any]:
    """Probability that the interval holds each accuracy, summed over all numbers of hits."""
    from scipy import stats

    hits = np.arange(images + 1)
    bounds = np.array([wilson(int(count), images) for count in hits])
    coverage = []
    for accuracy in ACCURACIES:
        holds = (bounds[:, 0] <= accuracy) & (accuracy <= bounds[:, 1])
        coverage.append(float(stats.binom.pmf(hits, images, accuracy)[holds].sum()))
    return {"images": images, "accuracies": list(ACCURACIES), "coverage": coverage}


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


def _paired(images: int) -> list[dict[str, Any]]:
    """Exact coverage, and rate of p < 0.05, over all likely numbers of discordant images."""
    from scipy import stats

    cases = []
    for accuracy in PAIRED_ACCURACIES:
        for gap in GAPS:
            for agreement in AGREEMENTS:
                shares = discordant_shares(accuracy, gap, agreement)
                if shares is None:
                    continue
                only_a, only_b = _likely(images, shares)
                rest = images - only_a - only_b
                table = np.stack([only_a, only_b, rest], axis=1)
                weights = stats.multinomial.pmf(table, images, [*shares, 1 - sum(shares)])
                found = [
                    _compared(images, int(a), int(b)) for a, b in zip(only_a, only_b, strict=True)
                ]
                holds = np.array([low <= gap <= high for low, high, _ in found])
                significant = np.array([p_value < ALPHA for _, _, p_value in found])
                cases.append(
                    {
                        "images": images,
                        "accuracy": accuracy,
                        "gap": gap,
                        "agreement": agreement,
                        # What was left out as unlikely counts as a miss and as a false alarm.
                        "coverage": float(weights[holds].sum()),
                        "significant": float(1 - weights[~significant].sum()),
                    }
                )
    return cases


def _likely(images: int, shares: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of counts but for the most unlikely, :data:`UNLIKELY` in all."""
    from scipy import stats

    ranges = []
    for share in shares:
        low, high = stats.binom.ppf((UNLIKELY / 4, 1 - UNLIKELY / 4), images, share)
        ranges.append(np.arange(int(low), int(high) + 1))
    only_a, only_b = (grid.ravel() for grid in np.meshgrid(*ranges, indexing="ij"))
    possible = only_a + only_b <= images
    only_a, only_b = only_a[possible], only_b[possible]
    table = np.stack([only_a, only_b, images - only_a - only_b], axis=1)
    weights = stats.multinomial.pmf(table, images, [*shares, 1 - sum(shares)])
    order = np.argsort(weights)
    left_out = np.cumsum(weights[order]) < UNLIKELY / 2
    kept = np.sort(order[~left_out])
    return only_a[kept], only_b[kept]


@functools.cache
def _compared(images: int, only_a: int, only_b: int) -> tuple[float, float, float]:
    """Interval and p value of two trained models that differ on so many images."""
    one, other = np.ones((2, 1, images))
    other[:, :only_a] = 0
    one[:, only_a : only_a + only_b] = 0
    found = compare_trained(one, other)
    return *found.interval(), found.p_value


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """Mean and minimum coverage for each size, false positives of each test."""
    outcome = record["outcome"]
    return [
        *(_wilson_row(case) for case in outcome["wilson"]),
        *(
            row
            for images in record["parameters"]["images"]
            for row in _paired_rows(outcome, images)
        ),
    ]


def _wilson_row(case: Record) -> Row:
    mean, least = float(np.mean(case["coverage"])), min(case["coverage"])
    at = case["accuracies"][case["coverage"].index(least)]
    return Row(
        f"Coverage of the accuracy interval (Wilson), {case['images']:,} images",
        "93 %–97 % on average",
        f"{exact(mean)}; least {percent(least)} at accuracy {at:g}",
        0.93 <= mean <= 0.97,
        f"average over {len(case['accuracies'])} accuracies 0.5–0.995, all outcomes summed",
    )


def _paired_rows(outcome: Record, images: int) -> list[Row]:
    cases = [case for case in outcome["paired"] if case["images"] == images]
    coverage = [case["coverage"] for case in cases]
    same = max(case["significant"] for case in cases if case["gap"] == 0)
    mean, least = float(np.mean(coverage)), min(coverage)
    made = f"{len(cases)} pairs of accuracy, gap and agreement, all likely outcomes summed"
    return [
        Row(
            f"Coverage of the paired interval (Bonett-Price), {images:,} images",
            "at least 93 % on average",
            f"{exact(mean)}; least {percent(least)}",
            mean >= 0.93,
            f"{made}; above 97 % where few images differ; exact where it contradicts the test",
        ),
        Row(
            f"False positives of the paired test (exact McNemar), {images:,} images",
            "at most 5 %",
            f"{exact(same)} in the worst case",
            same <= 0.05,
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every paired case."""
    outcome = record["outcome"]
    paired = [
        [
            f"{case['images']:,}",
            f"{case['accuracy']:.3f}",
            f"{case['gap']:.2f}",
            f"{case['agreement']:.1f}",
            percent(case["coverage"]),
            percent(case["significant"]),
        ]
        for case in outcome["paired"]
    ]
    return [
        (
            "Two models on the same images: summed over all numbers of images that only one of "
            f"them classifies ({UNLIKELY:g} of the probability left out, counted as misses). "
            "Agreement is the correlation of their hits; with a gap, p < 0.05 is the test's power.",
            ["images", "accuracy", "gap", "agreement", "interval held", "p < 0.05"],
            paired,
        ),
    ]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Coverage over accuracies, as (what is seen, file)."""
    path = figures.accuracy_coverage(record, folder / "accuracy_coverage.png")
    return [("Exact coverage of the Wilson interval over true accuracies", path)]
