"""Simulated sweeps are what they claim to be, and analyse agrees with a second implementation.

The reference is written from the papers, by deleting each unit in turn and summing over all pairs
of seeds: slow, and with nothing of bench.stats in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

import attrs
import numpy as np
import pytest
from scipy import stats

from bench.stats.multireader import analyse
from experiments.calibration import accuracy_verdicts, simulated_sweeps, variant_intervals
from experiments.calibration.simulated_sweeps import Array, Design, simulate

# --- a second implementation -----------------------------------------------------------------


def accuracy(row: Array) -> float:
    return float(np.mean(row[~np.isnan(row)]))


def deviations(row: Array, units: Array) -> dict[int, float]:
    """What leaving each unit out does to the accuracy, scaled for the jackknife's variance."""
    present = [int(unit) for unit in np.unique(units) if not np.isnan(row[units == unit]).any()]
    without = {unit: accuracy(row[units != unit]) for unit in present}
    centre, count = np.mean(list(without.values())), len(present)
    scale = math.sqrt((count - 1) / count)
    return {unit: scale * float(each - centre) for unit, each in without.items()}


def pooled_mean_square(correct: Array) -> tuple[float, int]:
    """Variant × seed mean square by contrasts: half the mean of all squared interactions."""
    ran = ~np.isnan(correct).all(axis=2)
    shared = np.flatnonzero(ran.all(axis=0))
    scores = {(v, s): accuracy(correct[v, s]) for v in range(len(correct)) for s in shared}
    squares = [
        (scores[v, s] - scores[w, s] - scores[v, t] + scores[w, t]) ** 2 / 4
        for v, w in combinations(range(len(correct)), 2)
        for s, t in combinations(shared, 2)
    ]
    return float(np.mean(squares)), (len(correct) - 1) * (len(shared) - 1)


def reference(correct: Array, units: Array, one: int, two: int) -> dict[str, float]:
    """Obuchowski and Rockette's analysis of one pair among all variants."""
    seeds = [
        s for s in range(correct.shape[1]) if not np.isnan(correct[[one, two], s]).all(axis=1).any()
    ]
    number = len(seeds)
    gaps = [accuracy(correct[one, s]) - accuracy(correct[two, s]) for s in seeds]
    left_out = {(v, s): deviations(correct[v, s], units) for v in (one, two) for s in seeds}

    def covariance(v: int, s: int, w: int, t: int) -> float:
        a, b = left_out[v, s], left_out[w, t]
        return sum(a[unit] * b[unit] for unit in a.keys() & b.keys())

    pairs = list(permutations(seeds, 2))
    cov2 = np.mean([covariance(v, s, v, t) for v in (one, two) for s, t in pairs])
    cov3 = np.mean([covariance(v, s, w, t) for v, w in ((one, two), (two, one)) for s, t in pairs])
    pooled, freedom = pooled_mean_square(correct)
    square = max(pooled, float(np.var(gaps, ddof=1)) / 2)
    error = square + number * max(float(cov2 - cov3), 0.0)
    df = float(freedom) if freedom < 8 else error**2 / (square**2 / freedom)
    fewest = min(len(found) for found in left_out.values())
    # Variants that agree everywhere leave the doubt of one unit more on each side.
    se = math.sqrt(max(2 / number * error, 2 / (fewest + 2) ** 2))
    difference = float(np.mean(gaps))
    tukey = stats.studentized_range(len(correct), df)
    half = float(tukey.ppf(0.95)) * se / math.sqrt(2)
    p_value = float(tukey.sf(abs(difference) / se * math.sqrt(2)))
    mdd = half + float(stats.t.ppf(0.8, df)) * se
    return {
        "difference": difference,
        "se": se,
        "df": df,
        "low": difference - half,
        "high": difference + half,
        "p": p_value,
        "mdd": mdd,
    }


def design(variants: int, seeds: int, images: int = 90, **options: Any) -> Design:
    accuracies = tuple(np.linspace(0.9, 0.75, variants).tolist())
    return Design(seeds, images, accuracies, **options)


@pytest.mark.parametrize(
    "sweep",
    [
        design(5, 3),
        design(3, 3),
        design(2, 3),
        design(10, 2),
        design(5, 3, twins=True),
        design(5, 3, luck_of_first=5),
        design(5, 3, images=200, grouped=True),
        design(5, 3, own_images=True),
        design(6, 3, missing=True),
    ],
    ids=["5×3", "3×3", "2×3", "10×2", "twins", "luck", "groups", "own images", "missing seed"],
)
def test_analyse_agrees_with_a_second_implementation(sweep: Design) -> None:
    correct = simulate(sweep, np.random.default_rng(7))
    found = analyse(correct, sweep.units)
    units = np.arange(correct.shape[2]) if sweep.units is None else sweep.units
    last = len(correct) - 1
    for one, two in {(0, 1), (last - 1, last)}:
        for name, value in reference(correct, units, one, two).items():
            # The studentized range is integrated numerically, by scipy as well.
            exact = 1e-9 if name in ("difference", "se", "df") else 1e-6
            got = getattr(found, name)[one, two]
            assert got == pytest.approx(value, rel=exact, abs=1e-9), (name, one, two)


# --- the simulated sweeps --------------------------------------------------------------------


def test_models_disagree_as_often_as_the_page_says() -> None:
    many = accuracy_verdicts.equal(10, 2, 40_000, luck=0.0)
    correct = simulate(many, np.random.default_rng(1))
    assert correct.mean(axis=2) == pytest.approx(0.85, abs=0.008)
    assert np.mean(correct[:, 0] != correct[:, 1]) == pytest.approx(0.11, abs=0.004)
    least = np.mean(correct[0] != correct[1])
    most = np.mean(correct[8] != correct[9])
    assert 0.13 < least < 0.15
    assert 0.20 < most < 0.22
    twins = simulate(attrs.evolve(many, twins=True), np.random.default_rng(1))
    assert np.mean(twins[0] != twins[1]) == pytest.approx(0.11, abs=0.004)


@pytest.mark.parametrize(("luck_of_first", "expected"), [(1.0, 0.014), (3.0, 0.032)])
def test_trainings_spread_as_the_page_says(luck_of_first: float, expected: float) -> None:
    # 0.014² = 0.11 ÷ 2 ÷ 576 + 0.01² of luck, whose spread becomes three times as large.
    sweep = accuracy_verdicts.equal(2, 6, luck_of_first=luck_of_first)
    rng = np.random.default_rng(2)
    spreads = [simulate(sweep, rng).mean(axis=2).var(axis=1, ddof=1) for _ in range(300)]
    first, second = np.sqrt(np.mean(spreads, axis=0))
    assert first == pytest.approx(expected, rel=0.06)
    assert second == pytest.approx(0.014, rel=0.06)


def test_planted_accuracies_are_those_of_all_images_and_trainings() -> None:
    sweep = Design(2, 576, (0.95, 0.80, 0.85), luck_of_first=3)
    rng = np.random.default_rng(3)
    found = np.mean([simulate(sweep, rng).mean(axis=(1, 2)) for _ in range(400)], axis=0)
    assert found == pytest.approx([0.95, 0.80, 0.85], abs=0.004)


def test_images_of_a_group_are_alike() -> None:
    sweep = accuracy_verdicts.equal(2, 1, grouped=True)
    assert sweep.units is not None
    assert len(sweep.units) == 576
    assert np.unique(sweep.units).size == 75
    rng = np.random.default_rng(4)
    spread = np.var([simulate(sweep, rng).mean() for _ in range(300)])
    alone = np.var([simulate(attrs.evolve(sweep, grouped=False), rng).mean() for _ in range(300)])
    assert spread > 2 * alone


def test_test_splits_of_their_own_overlap_by_a_tenth() -> None:
    sweep = accuracy_verdicts.equal(2, 2, own_images=True)
    evaluated = ~np.isnan(simulate(sweep, np.random.default_rng(5)))
    assert (evaluated.sum(axis=2) == 576).all()
    assert (evaluated[0] == evaluated[1]).all()
    assert evaluated[0].all(axis=0).sum() == pytest.approx(57.6, abs=25)
    assert evaluated[0].any(axis=0).all()


def test_the_last_variant_lacks_the_last_seed() -> None:
    sweep = accuracy_verdicts.equal(3, 2, missing=True)
    ran = ~np.isnan(simulate(sweep, np.random.default_rng(6))).any(axis=2)
    assert ran.tolist() == [[True, True], [True, True], [True, False]]


# --- the bars --------------------------------------------------------------------------------


def outcome(alarms: int = 100, held: int = 1860, power: float = 0.95, at_mdd: float = 0.75) -> dict:
    alarm = {"setting": "a", "limit": 0.05, "sweeps": 2000, "false_alarms": alarms}
    covered = {"setting": "b", "sweeps": 2000, "all_held": held, "declared_the_wrong_way": 3}
    strength = {"setting": "c", "sweeps": 2000, "pairs": 25, "power": power}
    strength |= {"standard_error": 0.01, "lowest": 0.6, "highest": 0.9}
    return {
        "outcome": {
            "alarms": [alarm],
            "trained": [alarm],
            "luck_as_design": alarm,
            "coverage": [covered],
            "power": [strength],
            "detectable": [{**strength, "power": at_mdd, "minimum_detectable": 0.07}],
        }
    }


MET = [True, True, None, True, True, True]


def judged(**counts: Any) -> list[bool | None]:
    return [row.met for row in accuracy_verdicts.rows(outcome(**counts))]


@pytest.mark.parametrize(
    ("counts", "missed"),
    [
        ({}, []),
        ({"alarms": 101}, [0, 1]),
        ({"held": 1859}, [3]),
        ({"power": 0.9499}, [4]),
        ({"at_mdd": 0.7499}, [5]),
        ({"at_mdd": 0.8501}, [5]),
    ],
)
def test_bars_of_verdicts(
    counts: dict[str, Any], missed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy_verdicts, "POWERS", accuracy_verdicts.POWERS[:1])
    assert judged(**counts) == [met if n not in missed else False for n, met in enumerate(MET)]


def counted(
    experiment: Callable[[accuracy_verdicts.Case, int, int], dict[str, Any]], sweep: Design
) -> dict[str, Any]:
    return experiment(accuracy_verdicts.Case("planted", sweep), 20, 0)


def test_what_is_counted() -> None:
    far = Design(3, 576, (0.95, 0.5, 0.95))
    same = accuracy_verdicts.equal(3, 3)
    assert counted(accuracy_verdicts._alarms, far)["false_alarms"] == 20
    assert counted(accuracy_verdicts._alarms, same)["false_alarms"] <= 4
    assert counted(accuracy_verdicts._trained, attrs.evolve(far, seeds=1))["false_alarms"] == 20
    assert counted(accuracy_verdicts._coverage, far)["all_held"] >= 16
    assert counted(accuracy_verdicts._coverage, far)["declared_the_wrong_way"] == 0
    power = accuracy_verdicts._power(far, "planted", 20, [0])
    assert (power["pairs"], power["power"], power["standard_error"]) == (2, 1.0, 0.0)


def test_variants_that_are_alike_are_judged_by_groups() -> None:
    by_group, by_image = (
        accuracy_verdicts.Case("", accuracy_verdicts.equal(10, 3, grouped=True), None, by_image)
        for by_image in (False, True)
    )
    alarms = [
        accuracy_verdicts._alarms(each, 40, 0)["false_alarms"] for each in (by_group, by_image)
    ]
    assert alarms[0] <= 6 < alarms[1]
    assert simulated_sweeps.GROUPS == 75


# --- intervals of one variant ----------------------------------------------------------------


def test_the_true_macro_f1_is_that_of_many_images() -> None:
    rng = np.random.default_rng(8)
    labels = rng.choice(10, 400_000, p=variant_intervals.shares())
    far = 1 + rng.integers(0, 9, labels.size)
    step = np.where(rng.random(labels.size) < 0.5, 1, far)
    guesses = np.where(rng.random(labels.size) < 0.8, labels, (labels + step) % 10)
    scores = [
        2 * np.sum((labels == c) & (guesses == c)) / (np.sum(labels == c) + np.sum(guesses == c))
        for c in range(10)
    ]
    assert variant_intervals.true_macro_f1(0.8) == pytest.approx(np.mean(scores), abs=0.002)
    assert variant_intervals.true_macro_f1(1.0) == 1.0


@pytest.mark.parametrize(("held", "met"), [(930, True), (929, False)])
def test_bars_of_intervals(held: int, met: bool) -> None:
    case = {"accuracy": 0.85, "macro_f1": 0.84, "seeds": 3, "variants": 1000}
    case |= {"accuracy_held": held, "macro_f1_held": held}
    case |= {"accuracy_width": 0.06, "macro_f1_width": 0.07}
    cases = [{**case, "grouped": grouped} for grouped in (False, True)]
    found = [row.met for row in variant_intervals.rows({"outcome": cases})]
    assert found == [met, met, met, None]


def test_intervals_that_hold_the_truth_are_counted() -> None:
    found = variant_intervals._coverage(0.85, 3, False, 12)
    assert found["accuracy_held"] >= 9
    assert found["macro_f1_held"] >= 9
    assert 0.03 < found["accuracy_width"] < found["macro_f1_width"] < 0.15
