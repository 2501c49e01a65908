"""Intervals of accuracies and tests of their differences, against values known elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bench.stats.accuracy import (
    AccuracyDifference,
    clopper_pearson,
    compare_folds,
    compare_one_run,
    compare_runs,
    wilson,
)


def hits(images: int, wrong: range = range(0), prefix: str = "") -> dict[str, bool]:
    return {f"{prefix}{number}": number not in wrong for number in range(images)}


def differing(
    images: int, only_variant: int, only_baseline: int
) -> tuple[dict[str, bool], dict[str, bool]]:
    """(variant, baseline) that differ on so many images."""
    last = range(only_variant, only_variant + only_baseline)
    return hits(images, last), hits(images, range(only_variant))


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


# --- one run ---------------------------------------------------------------------------------


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
    found = compare_one_run(*differing(48, 7, 1))
    # p12 = 8/50, p21 = 2/50; variance (0.20 − 0.12²)/50.
    half = 1.959964 * math.sqrt((0.20 - 0.0144) / 50)
    assert (found.low, found.high) == pytest.approx((0.12 - half, 0.12 + half), abs=1e-6)


def test_equal_predictions_still_have_an_interval() -> None:
    found = compare_one_run(hits(23), hits(23))
    assert found.difference == 0
    assert found.low == pytest.approx(-found.high)
    assert found.high == pytest.approx(1.959964 * math.sqrt(2 / 25 / 25), abs=1e-6)


def test_only_common_images_are_compared() -> None:
    found = compare_one_run({"a": True, "b": False, "x": True}, {"a": False, "b": False, "y": True})
    assert (found.images, found.only_variant, found.difference) == (2, 1, 0.5)


@pytest.mark.parametrize("compare", [compare_one_run, lambda a, b: compare_runs([(a, b)] * 2)])
@pytest.mark.parametrize("other", [{}, {"y": True}])
def test_no_common_image(
    compare: Callable[..., AccuracyDifference], other: dict[str, bool]
) -> None:
    with pytest.raises(ValueError, match="no evaluated image"):
        compare({"x": True}, other)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_stay_within_bounds(images: int) -> None:
    found = compare_one_run(*differing(images, images, 0))
    assert -1 <= found.low <= found.difference == 1
    assert found.high <= 1
    assert found.smallest_visible == 1


def test_smallest_visible_is_found_four_times_of_five() -> None:
    images, share = 1041, 0.04
    found = compare_one_run(*differing(images, 21, 20))
    size = found.smallest_visible
    rng = np.random.default_rng(0)
    ahead, behind = (share + size) / 2, (share - size) / 2
    draws = rng.multinomial(images, [ahead, behind, 1 - share], size=2000)
    discovered = sum(stats.binomtest(int(a), int(a + b), 0.5).pvalue < 0.05 for a, b, _ in draws)
    assert 0.75 <= discovered / 2000 <= 0.85


def test_more_comparisons_see_less() -> None:
    pair = differing(200, 5, 5)
    alone, among_ten = compare_one_run(*pair), compare_one_run(*pair, alpha=0.005)
    assert among_ten.smallest_visible > alone.smallest_visible


# --- folds and seeds -------------------------------------------------------------------------


def test_folds_are_pooled() -> None:
    pairs = [
        (hits(10, prefix=fold), hits(10, range(wrong), prefix=fold))
        for fold, wrong in (("a", 4), ("b", 2))
    ]
    found = compare_folds(pairs)
    assert (found.images, found.runs, found.only_variant) == (20, 2, 6)
    assert found.p_value == pytest.approx(0.03125)
    assert found.difference == pytest.approx(0.3)
    assert "2 folds" in found.method


def test_one_seed_is_one_run() -> None:
    pair = differing(20, 4, 1)
    assert compare_runs([pair]) == compare_one_run(*pair)


def test_seeds_by_hand() -> None:
    # Differences 0.2 and 0.4 on ten images; images 0 and 1 differ in both runs, 2 and 3 in one.
    found = compare_runs([differing(10, 2, 0), differing(10, 4, 0)])
    of_runs = 0.02 / 2
    of_images = np.var([1, 1, 0.5, 0.5, 0, 0, 0, 0, 0, 0], ddof=1) / 10
    error = math.sqrt(of_runs + of_images)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.3 / error, 1))
    assert found.high == 1.0
    assert (found.runs, found.images, found.only_variant, found.only_baseline) == (2, 10, 6, 0)


def test_bounds_of_seeds_by_hand() -> None:
    pairs = [differing(100, ahead, behind) for ahead, behind in ((5, 2), (4, 3), (6, 1))]
    found = compare_runs(pairs)
    by_run = [0.03, 0.01, 0.05]
    # +1: the variant alone is right, −1: the baseline alone; an image may turn over between runs.
    signs = np.array([[int(a[name]) - int(b[name]) for name in pairs[0][0]] for a, b in pairs])
    error = math.sqrt(np.var(by_run, ddof=1) / 3 + np.var(signs.mean(0), ddof=1) / 100)
    half = stats.t.ppf(0.975, 2) * error
    assert (found.low, found.high) == pytest.approx((0.03 - half, 0.03 + half))


def test_seeds_that_agree_on_every_image_still_have_an_interval() -> None:
    found = compare_runs([differing(12, 0, 0)] * 3)
    half = stats.t.ppf(0.975, 2) * math.sqrt(2) / 14
    assert (found.low, found.high) == pytest.approx((-half, half))
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_seeds_that_differ_on_every_image() -> None:
    found = compare_runs([differing(12, 12, 0)] * 3)
    assert found.difference == found.high == 1.0
    assert found.low < 1
    assert found.p_value == pytest.approx(2 * stats.t.sf(14 / math.sqrt(2), 2))


@pytest.mark.parametrize(
    "compare",
    [
        lambda pairs: compare_one_run(*pairs[0]),
        compare_folds,
        compare_runs,
    ],
)
def test_swapping_the_models_mirrors_everything(
    compare: Callable[..., AccuracyDifference],
) -> None:
    rng = np.random.default_rng(3)
    pairs = []
    for run in range(3):
        one, two = ({f"{run}-{i}": bool(h) for i, h in enumerate(rng.random(40) < 0.8)}, {})
        two = {name: bool(rng.random() < 0.7) for name in one}
        pairs.append((one, two))
    ahead, back = compare(pairs), compare([(two, one) for one, two in pairs])
    assert back.difference == pytest.approx(-ahead.difference)
    assert (back.low, back.high) == pytest.approx((-ahead.high, -ahead.low))
    assert back.p_value == pytest.approx(ahead.p_value)
    assert back.smallest_visible == pytest.approx(ahead.smallest_visible)
    assert (back.only_variant, back.only_baseline) == (ahead.only_baseline, ahead.only_variant)
