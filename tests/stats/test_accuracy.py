"""Intervals of accuracies and tests of their differences, against values known elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bench.stats.accuracy import (
    TrainedDifference,
    compare_trained,
    difference_of_shares,
    wilson,
)
from bench.stats.classes import macro_f1_jackknife
from bench.stats.multireader import effective_number, table_of
from experiments.rows import clopper_pearson


def hits(images: int, wrong: range = range(0), prefix: str = "") -> dict[str, bool]:
    return {f"{prefix}{number}": number not in wrong for number in range(images)}


def differing(
    images: int, only_variant: int, only_baseline: int
) -> tuple[dict[str, bool], dict[str, bool]]:
    """(variant, baseline) that differ on so many images."""
    last = range(only_variant, only_variant + only_baseline)
    return hits(images, last), hits(images, range(only_variant))


# --- accuracies of different images ----------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "bounds"),
    [
        ((56, 70), (48, 80), (0.05243147240236498, 0.33387265403690614)),
        ((9, 10), (3, 10), (0.1705227239345029, 0.809017973535488)),
        ((0, 20), (5, 30), (-0.33564350506416035, 0.019522587838585514)),
        ((20, 20), (5, 30), (0.5998499538983963, 0.9266345762815146)),
        ((0, 12), (0, 7), (-0.3543304350666875, 0.24249400665524096)),
        ((12, 12), (7, 7), (-0.24249400665524112, 0.3543304350666875)),
        ((0, 15), (15, 15), (-1.0, -0.7116654705337062)),
        ((1, 1), (0, 1), (-0.12210872068194178, 1.0)),
        ((2310, 2602), (2204, 2601), (0.022013975610941414, 0.0588261677363134)),
        ((431.7, 512.4), (88.25, 97.5), (-0.11805780388639622, 0.01725908497984295)),
    ],
)
def test_newcombe_as_statsmodels_has_it(one, other, bounds: tuple[float, float]) -> None:
    """statsmodels 0.15.0: confint_proportions_2indep(…, compare="diff", method="newcomb")."""
    assert difference_of_shares(one, other) == pytest.approx(bounds, abs=1e-12)


# --- one accuracy ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correct", "total", "bounds"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score, uncorrected).
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_as_published(correct: int, total: int, bounds: tuple[float, float]) -> None:
    assert wilson(correct, total) == pytest.approx(bounds, abs=5e-5)


@pytest.mark.parametrize(
    ("count", "total", "bounds"),
    [
        # The same table, method 5 (Clopper-Pearson).
        (81, 263, (0.2527, 0.3676)),
        (15, 148, (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1684)),
        (1, 29, (0.0009, 0.1776)),
    ],
)
def test_clopper_pearson_as_published(count: int, total: int, bounds: tuple[float, float]) -> None:
    assert clopper_pearson(count, total) == pytest.approx(bounds, abs=5e-5)


def test_no_error_at_all_has_the_rule_of_three() -> None:
    assert clopper_pearson(0, 40)[1] == pytest.approx(1 - 0.025 ** (1 / 40))


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_hits_and_misses_mirror(interval: Callable[..., tuple[float, float]]) -> None:
    low, high = interval(17, 23)
    assert interval(6, 23) == pytest.approx((1 - high, 1 - low))
    wide, narrow = interval(17, 23, 0.99), interval(17, 23, 0.9)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_zero_images_have_no_interval(interval: Callable[..., tuple[float, float]]) -> None:
    with pytest.raises(ValueError):
        interval(0, 0)


def test_wilson_of_none_and_of_all_ends_at_the_share_itself() -> None:
    for total in range(1, 200):
        assert wilson(0, total)[0] == 0.0
        assert wilson(total, total)[1] == 1.0


def test_wilson_takes_an_effective_number_and_students_quantile() -> None:
    low, high = wilson(45.5, 50.5)
    assert wilson(45, 50)[0] < low < high < 1
    z, share = 1.959963984540054, 45.5 / 50.5
    edge = share - z * math.sqrt(low * (1 - low) / 50.5)
    assert low == pytest.approx(edge)
    assert wilson(45, 50, freedom=4)[0] < wilson(45, 50)[0]


# --- two trained models ----------------------------------------------------------------------


def array(hits: dict[str, bool]) -> np.ndarray:
    return np.array([list(hits.values())], float)


def compare_one_run(one: dict[str, bool], two: dict[str, bool]) -> TrainedDifference:
    correct, _ = table_of({"one": {0: one}, "two": {0: two}})
    return compare_trained(correct[0], correct[1])


@pytest.mark.parametrize(
    ("only_variant", "only_baseline", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 · 1/2
        (5, 0, 0.0625),  # 2 · 1/32
        (6, 0, 0.03125),  # 2 · 1/64
        (8, 1, 0.0390625),  # 2 · (1 + 9)/512
        (3, 3, 1.0),
    ],
)
def test_exact_mcnemar_by_hand(only_variant: int, only_baseline: int, p_value: float) -> None:
    found = compare_one_run(*differing(30, only_variant, only_baseline))
    assert found.p_value == pytest.approx(p_value)
    assert (found.only_variant, found.only_baseline) == (only_variant, only_baseline)
    assert found.difference == pytest.approx((only_variant - only_baseline) / 30)


def test_bonett_price_by_its_formula() -> None:
    found = compare_one_run(*differing(48, 9, 1))
    # p12 = 10/50, p21 = 2/50; variance (0.24 − 0.16²)/50.
    half = 1.959964 * math.sqrt((0.24 - 0.0256) / 50)
    assert found.interval() == pytest.approx((0.16 - half, 0.16 + half), abs=1e-6)


def test_equal_predictions_still_have_an_interval() -> None:
    found = compare_one_run(hits(23), hits(23))
    assert found.difference == 0
    low, high = found.interval()
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1.959964 * math.sqrt(2 / 25 / 25), abs=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.01, 0.05 / 45, 0.05 / 4950])
def test_the_interval_has_0_exactly_where_the_exact_test_declares_nothing(level: float) -> None:
    declared = 0
    for ahead in range(40):
        for behind in range(0, 12, 2):
            found = compare_one_run(*differing(60, ahead, behind))
            low, high = found.interval(level)
            assert low <= found.difference <= high
            assert (low > 0 or high < 0) == (found.p_value < level), (ahead, behind)
            declared += found.p_value < level
    assert 10 < declared < 230


def test_only_common_images_are_compared() -> None:
    found = compare_one_run({"a": True, "b": False, "x": True}, {"a": False, "b": False, "y": True})
    assert (found.images, found.only_variant, found.difference) == (2, 1, 0.5)


@pytest.mark.parametrize("other", [{}, {"y": True}])
def test_no_common_image(other: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="no evaluated image"):
        compare_one_run({"x": True}, other)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_stay_within_bounds(images: int) -> None:
    found = compare_one_run(*differing(images, images, 0))
    low, high = found.interval()
    assert -1 <= low <= found.difference == 1
    assert high <= 1
    assert found.minimum_detectable_difference() == 1


def test_smallest_visible_is_found_four_times_of_five() -> None:
    images, share = 1041, 0.04
    found = compare_one_run(*differing(images, 21, 20))
    size = found.minimum_detectable_difference()
    rng = np.random.default_rng(0)
    ahead, behind = (share + size) / 2, (share - size) / 2
    draws = rng.multinomial(images, [ahead, behind, 1 - share], size=2000)
    discovered = sum(stats.binomtest(int(a), int(a + b), 0.5).pvalue < 0.05 for a, b, _ in draws)
    assert 0.75 <= discovered / 2000 <= 0.85


def test_more_comparisons_see_less() -> None:
    found = compare_one_run(*differing(200, 5, 5))
    assert found.minimum_detectable_difference(0.005) > found.minimum_detectable_difference()


def test_copies_of_a_photograph_count_once() -> None:
    # Six photographs, each there twice: twelve images on which one model is ahead are six signs.
    one, two = array(hits(40)), array(hits(40, range(12)))
    alone = compare_trained(one, two)
    grouped = compare_trained(one, two, np.array([n // 2 for n in range(12)] + list(range(12, 40))))
    assert alone.p_value == pytest.approx(2 / 2**12)
    assert grouped.p_value == pytest.approx(2 / 2**6)
    assert (grouped.images, grouped.units, grouped.difference) == (40, 34, alone.difference)
    low, high = grouped.interval()
    assert high - low > 1.2 * np.diff(alone.interval())[0]
    assert grouped.minimum_detectable_difference() > 1.2 * alone.minimum_detectable_difference()


def test_the_sign_flip_test_by_enumeration() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.random((2, 3, 12)) < [[[0.9]], [[0.5]]]).astype(float)
    found = compare_trained(one, two)
    sums = (one - two).sum(axis=0)
    flips = np.array(list(itertools.product((-1, 1), repeat=12)))
    expected = (np.abs(flips @ np.abs(sums)) >= abs(sums.sum())).mean()
    assert found.p_value == pytest.approx(expected)
    assert found.difference == pytest.approx(one.mean() - two.mean())
    assert (found.images, found.evaluated) == (12, 36)


def test_grouped_images_are_worth_fewer() -> None:
    rng = np.random.default_rng(0)
    whole = np.repeat(rng.random(100) < 0.8, 5)
    units = [n // 5 for n in range(500)]
    # Groups that are right or wrong as a whole are worth their number, mixed ones every image.
    assert effective_number(whole, units) == pytest.approx(100, rel=0.02)
    # Halves of one kind each: the accuracy hardly varies, and yet there are only 40 images.
    halves = [True, False] * 18 + [True, True, False, False]
    assert effective_number(halves, [n // 2 for n in range(40)]) == 40
    apart = effective_number(rng.random(500) < 0.8, units)
    assert 380 < apart <= 500
    assert effective_number([True] * 10, [0, 0, *range(1, 9)]) == 9
    assert effective_number(whole, range(500)) == pytest.approx(499)


def test_swapping_the_models_mirrors_everything() -> None:
    rng = np.random.default_rng(3)
    one, two = (rng.random((2, 3, 40)) < [[[0.8]], [[0.7]]]).astype(float)
    ahead, back = compare_trained(one, two), compare_trained(two, one)
    assert back.difference == pytest.approx(-ahead.difference)
    (low, high), (below, above) = ahead.interval(), back.interval()
    assert (below, above) == pytest.approx((-high, -low))
    assert back.p_value == pytest.approx(ahead.p_value)
    assert back.minimum_detectable_difference() == pytest.approx(
        ahead.minimum_detectable_difference()
    )
    assert (back.only_variant, back.only_baseline) == (ahead.only_baseline, ahead.only_variant)


# --- macro-F1 --------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_macro_f1_and_its_jackknife_by_leaving_out(grouped: bool) -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    guesses = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 5, 60))
    units = np.arange(60) // (3 if grouped else 1)

    def score(kept: np.ndarray) -> float:
        return float(f1_score(labels[kept], guesses[kept], average="macro", zero_division=0))

    number = int(units.max()) + 1
    found, deltas, present = macro_f1_jackknife(labels, guesses, units, number + 2)
    without = np.array([score(units != unit) for unit in range(number)])
    assert found == pytest.approx(score(np.ones(60, bool)))
    assert present == number
    spread = (number - 1) / number * ((without - without.mean()) ** 2).sum()
    assert (deltas**2).sum() == pytest.approx(spread)
    assert deltas[-2:].tolist() == [0, 0]
