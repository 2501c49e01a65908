"""Tests of the multi-reader analysis against published figures, scipy and formulas by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.stats.multireader import (
    analyse,
    hillis,
    interval_of_mean,
    interval_of_score,
    jackknife,
    table_of,
    tukey_p,
    tukey_quantile,
    unit_numbers,
)


def drawn(rng, variants=4, seeds=3, images=200, share=0.8):
    image = rng.normal(0, 1, images)
    own = rng.normal(0, 0.5, (variants, 1, images))
    left = rng.normal(0, 0.5, (variants, seeds, images))
    return (stats.norm.ppf(share) * 1.25 + image + own + left > 0).astype(float)


def test_vandyke_as_published():
    # MRMCaov 0.3, VanDyke data, unbiased covariances: two treatments, five readers.
    square, seeds = 0.004796171, 5
    error, freedom = hillis(0.0005510306, 0.000339065 - 0.0002356148, seeds, 4)
    assert square / error == pytest.approx(4.489614, abs=2e-6)
    assert freedom == pytest.approx(15.03418, abs=5e-5)
    q = np.sqrt(2 * square / error)
    assert tukey_p(q, 2, freedom) == pytest.approx(0.0511618, abs=1e-7)
    difference = -np.sqrt(2 * square / seeds)
    half = tukey_quantile(2, freedom) * np.sqrt(2 * error / seeds) / np.sqrt(2)
    assert difference - half == pytest.approx(-0.08785194, abs=1e-8)
    assert difference + half == pytest.approx(0.0002512968, abs=1e-8)


def test_a_negative_covariance_counts_as_none():
    error, freedom = hillis(0.0005, -0.0001, 5, 4)
    assert (error, freedom) == pytest.approx((0.0005, 4))


def test_p_values_and_intervals_are_tukeys():
    found = analyse(drawn(np.random.default_rng(1), variants=4))
    for one, two in ((0, 1), (0, 3), (2, 3)):
        gap, error, freedom = (each[one, two] for each in (found.difference, found.se, found.df))
        q = abs(gap) / error * np.sqrt(2)
        expected = stats.studentized_range.sf(q, 4, freedom)
        assert found.p[one, two] == pytest.approx(expected, abs=1e-5)
        half = stats.studentized_range.ppf(0.95, 4, freedom) * error / np.sqrt(2)
        assert found.high[one, two] - gap == pytest.approx(half, rel=1e-4)
        assert gap - found.low[one, two] == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize("variants", [3, 10, 40])
@pytest.mark.parametrize("freedom", [2, 8, 18.3, 500])
def test_the_studentized_range_is_scipys(variants, freedom):
    q = float(tukey_quantile(variants, np.array(freedom)))
    assert stats.studentized_range.sf(q, variants, freedom) == pytest.approx(0.05, abs=1e-5)
    for at in (0.5, 3.0, 7.0):
        expected = stats.studentized_range.sf(at, variants, freedom)
        assert tukey_p(at, variants, freedom) == pytest.approx(expected, abs=1e-7)


def test_a_pair_by_the_formulas():
    correct = drawn(np.random.default_rng(0))
    found = analyse(correct)
    scores = correct.mean(axis=2)
    left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    square = (left**2).sum() / (3 * 2)
    gaps = correct[0] - correct[2]
    own = np.var(gaps.mean(axis=1), ddof=1) / 2
    of_cases = np.cov(gaps) / correct.shape[2]
    between = (of_cases.sum() - np.trace(of_cases)) / 6 / 2
    error = max(square, own) + 3 * max(between, 0)
    assert found.difference[0, 2] == pytest.approx(gaps.mean())
    assert found.se[0, 2] == pytest.approx(np.sqrt(2 / 3 * error))
    # Six degrees of freedom of the mean square are below eight: no gain from the images.
    assert found.df[0, 2] == 6
    half = stats.studentized_range.ppf(0.95, 4, 6) * np.sqrt(error / 3)
    assert found.low[0, 2] == pytest.approx(max(-1, gaps.mean() - half), abs=1e-6)
    assert found.high[0, 2] == pytest.approx(min(1, gaps.mean() + half), abs=1e-6)
    visible = half + stats.t.ppf(0.8, 6) * np.sqrt(2 / 3 * error)
    assert found.mdd[0, 2] == pytest.approx(visible, abs=1e-6)
    five = analyse(drawn(np.random.default_rng(1), variants=5))
    assert five.df[0, 1] > 8


def test_verdict_interval_and_p_agree():
    correct = drawn(np.random.default_rng(2), variants=8)
    correct[0] = 1.0
    correct[1, :, :60] = 0.0
    found = analyse(correct)
    words = found.verdict
    assert {"better", "worse", "undecided"} <= set(words[np.triu_indices(8, 1)])
    off = ~np.eye(8, dtype=bool)
    clear = (found.low > 0) | (found.high < 0)
    assert (clear == (found.p < 0.05))[off].all()
    assert (clear == np.isin(words, ["better", "worse"]))[off].all()
    assert (words.T[words == "better"] == "worse").all()
    assert set(np.diag(words)) == {"not compared"}


def test_a_variant_whose_seeds_scatter_has_its_own_error():
    correct = np.repeat(drawn(np.random.default_rng(3), variants=6, seeds=1), 3, axis=1)
    for seed, wrong in enumerate((0, 60, 120)):
        correct[0, seed, :wrong] = 0.0
    found = analyse(correct)
    assert found.se[0, 1] > 1.5 * found.se[2, 3]


def test_seeds_with_images_of_their_own_have_no_covariance():
    correct = np.full((3, 2, 200), np.nan)
    whole = drawn(np.random.default_rng(4), 3, 2, 200)
    correct[:, 0, :100], correct[:, 1, 100:] = whole[:, 0, :100], whole[:, 1, 100:]
    found = analyse(correct)
    scores = np.nanmean(correct, axis=2)
    left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    pooled = (left**2).sum() / 2
    own = np.var(scores[0] - scores[1], ddof=1) / 2
    assert found.se[0, 1] == pytest.approx(np.sqrt(max(pooled, own)))
    assert found.units[0, 1] == 100


def test_fewer_seeds_are_compared_on_those_that_both_have():
    correct = drawn(np.random.default_rng(5), variants=4, seeds=4)
    correct[3, 2:] = np.nan
    found = analyse(correct)
    assert found.seeds[0].tolist()[1:] == [4, 4, 2]
    assert found.difference[0, 3] == pytest.approx((correct[0, :2] - correct[3, :2]).mean())
    assert found.difference[0, 1] == pytest.approx((correct[0] - correct[1]).mean())
    correct[3, 1] = np.nan
    assert analyse(correct).verdict[0, 3] == "not compared"


def test_groups_widen_the_intervals():
    correct = np.repeat(drawn(np.random.default_rng(6), images=80), 5, axis=2)
    units = np.repeat(np.arange(80), 5)
    alone, grouped = analyse(correct), analyse(correct, units)
    assert grouped.units[0, 1] == 80
    assert (grouped.se[0, 1] > alone.se[0, 1]) or (grouped.se[0, 1] == alone.se[0, 1])
    shuffled = np.random.default_rng(7).permutation(400)
    again = analyse(correct[..., shuffled], units[shuffled])
    assert again.se == pytest.approx(grouped.se, nan_ok=True)
    # Each group five times is the same as its images once.
    once = analyse(correct[..., ::5])
    assert grouped.se == pytest.approx(once.se, nan_ok=True)


def test_the_jackknife_gives_the_unbiased_covariances():
    correct = drawn(np.random.default_rng(8))
    _, deltas, counts = jackknife(correct)
    expected = np.cov(correct[0, 0], correct[1, 2])[0, 1] / 200
    assert (deltas[0, 0] * deltas[1, 2]).sum() == pytest.approx(expected)
    assert counts.tolist() == [200] * 3


def test_variants_that_agree_everywhere_still_have_an_interval():
    correct = np.repeat(drawn(np.random.default_rng(9), variants=1), 3, axis=0)
    found = analyse(correct)
    assert found.difference[0, 1] == 0
    assert found.high[0, 1] > 0.01
    assert found.verdict[0, 1] == "undecided"


def test_names_make_the_arrays():
    hits = {
        "A": {0: {"x": True, "y": False}, 1: {"y": True, "z": True}},
        "B": {1: {"z": False, "y": True}},
    }
    correct, images = table_of(hits)
    assert images == ["x", "y", "z"]
    nan = np.nan
    expected = [[[1, 0, nan], [nan, 1, 1]], [[nan] * 3, [nan, 1, 0]]]
    assert np.array_equal(correct, expected, equal_nan=True)
    assert unit_numbers(images, {}) is None
    assert unit_numbers(images, {"x": "g", "z": "g", "other": "h"}).tolist() == [0, 1, 0]


def test_the_interval_of_a_mean_holds_it():
    rng, held, runs = np.random.default_rng(11), 0, 400
    truth = 0.85
    for _ in range(runs):
        image, luck = rng.normal(0, 1, 150), rng.normal(0, 0.15, (3, 1))
        spread = np.sqrt(1 + 0.15**2 + 0.5**2)
        hits = stats.norm.ppf(truth) * spread + image + luck + rng.normal(0, 0.5, (3, 150)) > 0
        scores, deltas, counts = jackknife(hits[None].astype(float))
        low, high = interval_of_mean(scores[0], deltas[0], counts, 450)
        held += low <= truth <= high
    assert 0.92 <= held / runs <= 0.99
    ones, none, counts = jackknife(np.ones((1, 3, 50)))
    low, high = interval_of_mean(ones[0], none[0], counts, 150)
    assert low < 0.95
    assert high == 1


def test_groups_whose_images_are_not_alike_do_not_widen_the_interval_of_a_mean():
    # The three seeds have test images of their own, so that all of them count.
    hits = np.full((1, 3, 1800), np.nan)
    for seed in range(3):
        part = slice(600 * seed, 600 * (seed + 1))
        hits[0, seed, part] = np.random.default_rng(seed).permutation(np.arange(600) < 540)
    scores, deltas, counts = jackknife(hits, np.arange(1800) // 8)
    assert counts.tolist() == [75, 75, 75]
    low, high = interval_of_mean(scores[0], deltas[0], counts, 1800)
    # Three equal accuracies leave no doubt of their own: Wilson's interval of all 1,800 images.
    expected = stats.binomtest(1620, 1800).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_interval_of_one_score_is_the_jackknifes():
    hits = np.arange(50) < 40
    scores, deltas, counts = jackknife(hits[None, None].astype(float))
    half = stats.t.ppf(0.975, 49) * np.std(hits, ddof=1) / np.sqrt(50)
    low, high = interval_of_score(scores[0], deltas[0], counts)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half))
