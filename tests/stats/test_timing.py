"""Rounds of timing: intervals of medians and ratios, and what is declared."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
from scipy import stats

from bench.stats.timing import (
    FEWEST_ROUNDS,
    LEAST_DIFFERENCE,
    Ratio,
    compare_speeds,
    declare,
    locate,
    noise_floor,
    round_ratio,
)


def rounds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def speeds(logarithms: list[float]) -> Ratio:
    """Ratio of a variant whose round r is faster by these logarithms."""
    found = compare_speeds(
        rounds([math.exp(-value) for value in logarithms]), rounds([1.0] * len(logarithms))
    )
    assert found is not None
    return found


# --- median of one variant -------------------------------------------------------------------


def test_the_median_of_few_rounds_has_no_bounds() -> None:
    found = locate([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (found.median, found.low, found.high, found.rounds) == (3.0, None, None, 5)


def test_bounds_of_six_rounds_by_hand() -> None:
    # 1st and 6th of 6: confidence 1 − 2/64 = 0.96875; 2nd and 5th: 1 − 14/64 = 0.78125.
    # Share of the way inwards I = 0.01875/0.1875 = 0.1, interpolated (6 − 1)·I/(1 + 4·I) = 0.5/1.4.
    found = locate([math.exp(value) for value in (0, 1, 2, 3, 4, 5)])
    assert found.low == pytest.approx(math.exp(0.5 / 1.4))
    assert found.high == pytest.approx(math.exp(5 - 0.5 / 1.4))
    assert found.median == pytest.approx((math.exp(2) + math.exp(3)) / 2)


@pytest.mark.parametrize("count", [6, 7, 10, 20, 41])
def test_bounds_lie_between_the_two_exact_intervals(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(0, 0.1, count)
    found = locate(list(samples))
    ordered = np.sort(samples)
    # quantile_test's interval is the narrowest pair of order statistics above 95 %.
    exact = stats.quantile_test(samples, p=0.5).confidence_interval(0.95)
    assert found.low is not None
    assert found.high is not None
    assert exact.low <= found.low < ordered[np.searchsorted(ordered, exact.low) + 1]
    assert ordered[np.searchsorted(ordered, exact.high) - 1] < found.high <= exact.high
    assert found.low <= found.median <= found.high


def test_the_median_of_constant_samples() -> None:
    found = locate([2.0] * 8)
    assert found.median == 2.0
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(2.0)


def test_one_burst_hardly_moves_the_bounds() -> None:
    calm = [1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97, 1.005, 0.995, 1.015]
    disturbed = [*calm[:5], calm[5] * 10, *calm[6:]]
    assert locate(disturbed).high == pytest.approx(locate(calm).high)


# --- ratio of two variants -------------------------------------------------------------------


def test_seven_rounds_are_the_ordinary_t_test() -> None:
    values = [0.05, 0.1, -0.02, 0.08, 0.03, 0.11, 0.04]
    found, expected = speeds(values), stats.ttest_1samp(values, 0.0)
    assert found.ratio == pytest.approx(math.exp(np.mean(values)))
    assert found.p_value == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(bounds.low), math.exp(bounds.high)))


def test_ten_rounds_leave_one_out_at_each_end() -> None:
    values = [0.05, 0.1, -0.02, 0.08, 0.03, 0.11, 0.04, 0.9, 0.06, -0.7]
    kept = sorted(values)[1:-1]
    winsorised = [kept[0], *kept, kept[-1]]
    # Tukey and McLaughlin: winsorised sum of squares over h·(h − 1), h = 8 rounds kept.
    error = math.sqrt(9 * np.var(winsorised, ddof=1) / (8 * 7))
    mean, quantile = stats.trim_mean(values, 0.1), stats.t.ppf(0.975, 7)
    found = speeds(values)
    assert found.ratio == pytest.approx(math.exp(mean))
    assert found.low == pytest.approx(math.exp(mean - quantile * error))
    assert found.high == pytest.approx(math.exp(mean + quantile * error))
    assert found.p_value == pytest.approx(2 * stats.t.sf(mean / error, 7))
    assert found.minimum_detectable_difference == pytest.approx(
        math.expm1((quantile + stats.t.ppf(0.8, 7)) * error)
    )


def test_a_burst_in_one_round_hides_no_difference() -> None:
    calm = [0.1, 0.09, 0.11, 0.12, 0.08, 0.1, 0.105, 0.095, 0.1]
    assert stats.ttest_1samp([*calm, -0.6], 0.0).pvalue > 0.05
    assert declare(speeds([*calm, -0.6]), 0.01, speeds([*calm, -0.6]).p_value) == "faster"


def test_swapping_the_variants_inverts_the_ratio() -> None:
    rng = np.random.default_rng(0)
    one, two = (rounds(list(rng.lognormal(0, 0.05, 10))) for _ in range(2))
    ahead, back = compare_speeds(one, two), compare_speeds(two, one)
    assert ahead is not None
    assert back is not None
    assert ahead.low is not None
    assert ahead.high is not None
    assert back.ratio == pytest.approx(1 / ahead.ratio)
    assert (back.low, back.high) == pytest.approx((1 / ahead.high, 1 / ahead.low))
    assert back.p_value == pytest.approx(ahead.p_value)
    assert back.minimum_detectable_difference == pytest.approx(ahead.minimum_detectable_difference)
    turned = ahead.turned()
    assert (turned.ratio, turned.low, turned.high) == pytest.approx(
        (back.ratio, back.low, back.high)
    )


def test_only_common_rounds_count() -> None:
    found = compare_speeds({0: 1.0, 2: 1.0, 5: 9.0}, {0: 2.0, 2: 2.0, 4: 9.0})
    assert found == Ratio(pytest.approx(2.0), None, None, None, 2, None)
    assert compare_speeds({0: 1.0}, {1: 1.0}) is None


def test_one_round_has_a_ratio_and_nothing_more() -> None:
    assert speeds([math.log(1.5)]) == Ratio(pytest.approx(1.5), None, None, None, 1, None)


@pytest.mark.parametrize("count", [FEWEST_ROUNDS - 1, FEWEST_ROUNDS])
def test_fewest_rounds(count: int) -> None:
    found = speeds([0.1 + 0.01 * number for number in range(count)])
    has_bounds = count >= FEWEST_ROUNDS
    bounds = (found.low, found.high, found.p_value, found.minimum_detectable_difference)
    assert all((bound is not None) == has_bounds for bound in bounds)


@pytest.mark.parametrize(("size", "p_value"), [(0.0, 1.0), (0.2, 0.0)])
def test_constant_ratios(size: float, p_value: float) -> None:
    found = speeds([size] * 10)
    assert found.p_value == p_value
    assert (found.low, found.high) == pytest.approx((math.exp(size), math.exp(size)))
    assert found.minimum_detectable_difference == LEAST_DIFFERENCE


def test_a_spread_that_trimming_removes_is_not_called_none() -> None:
    found = speeds([0.1] * 9 + [-0.5])
    assert found.p_value is not None
    assert found.p_value > 0.05


def test_more_comparisons_can_show_only_larger_differences() -> None:
    one = {number: 1 + 0.05 * math.sin(number) for number in range(10)}
    two = dict.fromkeys(range(10), 1.0)
    alone, among = compare_speeds(one, two), compare_speeds(one, two, alpha=0.05 / 45)
    assert alone is not None
    assert among is not None
    assert alone.minimum_detectable_difference is not None
    assert among.minimum_detectable_difference is not None
    error = math.log1p(alone.minimum_detectable_difference) / sum(stats.t.ppf((0.975, 0.8), 7))
    corrected = sum(stats.t.ppf((1 - 0.025 / 45, 0.8), 7))
    assert math.log1p(among.minimum_detectable_difference) == pytest.approx(error * corrected)
    assert among.p_value == alone.p_value
    assert among.low < alone.low < alone.ratio < alone.high < among.high


# --- verdicts --------------------------------------------------------------------------------


def ratio(value: float, p_value: float | None = 0.001, rounds: int = 10) -> Ratio:
    return Ratio(value, 0.9, 1.1, p_value, rounds, 0.05)


def test_noise_floor_is_the_same_either_way() -> None:
    assert noise_floor(None) is None
    assert noise_floor(ratio(1.05)) == pytest.approx(0.05)
    assert noise_floor(ratio(1 / 1.05)) == pytest.approx(0.05)


def test_few_rounds_of_the_control_are_no_noise_floor() -> None:
    assert noise_floor(ratio(1.05, rounds=FEWEST_ROUNDS)) == pytest.approx(0.05)
    assert noise_floor(ratio(1.05, rounds=FEWEST_ROUNDS - 1)) is None


@pytest.mark.parametrize(
    ("value", "floor", "p_adjusted", "verdict"),
    [
        (1.10, 0.02, 0.01, "faster"),
        (1 / 1.10, 0.02, 0.01, "slower"),
        (1.10, 0.02, 0.05, "tie"),
        (1.10, 0.12, 0.01, "tie"),
        (1.029, 0.0, 0.0, "tie"),
        (1 / 1.029, 0.0, 0.0, "tie"),
        (1.031, 0.0, 0.0, "faster"),
        (1.10, None, 0.01, "undecided"),
        (1.10, 0.02, None, "undecided"),
    ],
)
def test_declare(value: float, floor: float | None, p_adjusted: float | None, verdict: str) -> None:
    assert declare(ratio(value), floor, p_adjusted) == verdict


def test_nothing_is_declared_without_a_test() -> None:
    assert declare(None, 0.01, 0.01) == "undecided"
    assert declare(attrs.evolve(ratio(1.5), p_value=None), 0.01, 0.01) == "undecided"


def test_a_rounds_ratio_is_the_median_over_all_pairs_of_blocks() -> None:
    # Half of all blocks are slowed by a half, in other turns for each.
    variant, baseline = [1.1, 1.65, 1.1, 1.65, 1.65], [1.5, 1.0, 1.0, 1.5, 1.0]
    assert round_ratio(variant, baseline) == pytest.approx(1 / 1.1)
    assert np.median(baseline) / np.median(variant) == pytest.approx(1 / 1.65)
    assert round_ratio(2.0, [1.0, 3.0, 4.0]) == pytest.approx(1.5)


def test_blocks_and_their_one_value_compare_alike_where_nothing_disturbs() -> None:
    rounds = {number: [1.0 + number / 100] * 3 for number in range(6)}
    slower = {number: [1.1 * seconds for seconds in blocks] for number, blocks in rounds.items()}
    found = compare_speeds(slower, rounds)
    assert found is not None
    assert found.ratio == pytest.approx(1 / 1.1)
