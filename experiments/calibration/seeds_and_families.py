"""Simulated false positives of comparisons over several seeds, and of families under Holm."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from bench.stats.accuracy import compare_one_run, compare_runs
from bench.stats.multiple import ALPHA, holm
from bench.stats.timing import compare_speeds
from experiments.calibration import machine
from experiments.calibration.common import rate
from experiments.record import Record, Row

SEEDS = (3, 5)
POOL = 10
MEAN, DIFFICULTY_SD, TASTE_SD, SEED_SD = 2.5, 1.5, 0.5, 0.1
FAMILY, FAMILY_IMAGES, FAMILY_ROUNDS = 9, 235, 10
PARAMETERS = {
    "seeds": list(SEEDS),
    "pool_of_images_per_test_image": POOL,
    "mean": MEAN,
    "difficulty_sd": DIFFICULTY_SD,
    "taste_sd": TASTE_SD,
    "seed_sd": SEED_SD,
    "family": FAMILY,
    "family_images": FAMILY_IMAGES,
    "family_rounds": FAMILY_ROUNDS,
}
MODEL = (
    "An image is classified correctly when mean + difficulty of the image (shared by all models) + "
    f"taste of the variant for it + effect of the seed + noise is above 0; mean {MEAN}, standard "
    f"deviations {DIFFICULTY_SD}, {TASTE_SD}, {SEED_SD} and 1. All variants have the same mean. "
    "Where the test part changes with the seed it is drawn anew from a pool of ten times its size. "
    f"Families: {FAMILY} variants against one baseline, "
    f"{FAMILY_IMAGES} images or {FAMILY_ROUNDS} rounds of the scenario “everything”."
)


def seeds(sizes: Sequence[int], trials: int, seed: int) -> list[dict[str, Any]]:
    """compare_runs for each number of seeds and images, test part fixed or drawn anew."""
    cases = []
    for images in sizes:
        for runs in SEEDS:
            for moves in (False, True):
                rng = np.random.default_rng([seed, images, runs, moves])
                found = sum(
                    compare_runs(_pairs(images, runs, moves, rng)).p_value < ALPHA
                    for _ in range(trials)
                )
                part = "changes with the seed" if moves else "is the same"
                cases.append(
                    {
                        "test": f"{runs} seeds (compare_runs)",
                        "setting": f"{images:,} images, test part {part}",
                        "images": images,
                        "runs": runs,
                        "moves": moves,
                        "trials": trials,
                        "false_positives": int(found),
                    }
                )
    return cases


def _pairs(
    images: int, runs: int, moves: bool, rng: np.random.Generator
) -> list[tuple[dict[str, bool], dict[str, bool]]]:
    """Hits of two equally good variants for each seed."""
    pool = images * POOL if moves else images
    easy = MEAN + rng.normal(0, DIFFICULTY_SD, pool) + rng.normal(0, TASTE_SD, (2, pool))
    pairs = []
    for _ in range(runs):
        part = rng.choice(pool, images, replace=False) if moves else np.arange(images)
        luck = rng.normal(0, SEED_SD, (2, 1)) + rng.normal(0, 1, (2, images))
        hits = (easy[:, part] + luck > 0).tolist()
        names = [f"{number:05d}" for number in part]
        pairs.append(
            (dict(zip(names, hits[0], strict=True)), dict(zip(names, hits[1], strict=True)))
        )
    return pairs


def families(trials: int, seed: int) -> list[dict[str, Any]]:
    """How often Holm's correction lets any false difference of a whole family pass."""
    cases = []
    kinds: tuple[tuple[str, Callable[[np.random.Generator, int], list[list[float]]]], ...] = (
        ("accuracies", _accuracy_families),
        ("speeds", _speed_families),
    )
    for kind, p_values_of in kinds:
        rng = np.random.default_rng([seed, len(kind)])
        p_values = p_values_of(rng, trials)
        plain = sum(min(family) < ALPHA for family in p_values)
        with _little_garbage():
            found = sum(any((p or 0) < ALPHA for p in holm(family)) for family in p_values)
        common = {"setting": f"{FAMILY} {kind} against one baseline", "trials": trials}
        cases.append({"test": "family, Holm", "false_positives": found, **common})
        cases.append({"test": "family, uncorrected", "false_positives": plain, **common})
    return cases


def _accuracy_families(rng: np.random.Generator, trials: int) -> list[list[float]]:
    names = [f"{number:05d}" for number in range(FAMILY_IMAGES)]
    shape = (FAMILY + 1, FAMILY_IMAGES)
    found = []
    for _ in range(trials):
        easy = MEAN + rng.normal(0, DIFFICULTY_SD, FAMILY_IMAGES)
        noise = rng.normal(0, np.sqrt(1 + TASTE_SD**2), shape)
        hits = [dict(zip(names, row, strict=True)) for row in (easy + noise > 0).tolist()]
        found.append([compare_one_run(variant, hits[0]).p_value for variant in hits[1:]])
    return found


def _speed_families(rng: np.random.Generator, trials: int) -> list[list[float]]:
    (scenario,) = (s for s in machine.SCENARIOS if s.name == "everything")
    logs, _ = machine.draw(scenario, (trials, FAMILY_ROUNDS, FAMILY + 1), rng)
    found = []
    for session in np.exp(logs):
        entries = [dict(enumerate(rounds)) for rounds in session.swapaxes(0, 1)]
        ratios = [compare_speeds(variant, entries[0]) for variant in entries[1:]]
        found.append([float(r.p_value) for r in ratios if r is not None and r.p_value is not None])
    return found


@contextmanager
def _little_garbage() -> Iterator[None]:
    """statsmodels collects garbage at every correction, 0.1 s each; frozen objects are skipped."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def rows(outcome: Record) -> list[Row]:
    """One row for each simulated case; what is uncorrected only informs."""
    found = []
    for case in (*outcome["seeds"], *outcome["families"]):
        count, total = case["false_positives"], case["trials"]
        informs = case["test"].endswith("uncorrected")
        found.append(
            Row(
                f"False positives: {case['test']}, {case['setting']}",
                "informs" if informs else "at most 5 %",
                rate(count, total),
                None if informs else count / total <= ALPHA,
                f"{total:,} simulated comparisons",
            )
        )
    return found
