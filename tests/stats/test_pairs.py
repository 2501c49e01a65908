"""All pairs judged once: p values, verdicts and intervals by tests that others have written."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.stats.pairs import TRAINED, VARIANTS, judge_pairs


def one_training_each() -> np.ndarray:
    """Four models on 400 images, (4, 1, 400): two alike, one a little worse, one far worse."""
    rng = np.random.default_rng(13)
    hard = rng.random(400)
    shares = np.array([0.90, 0.90, 0.85, 0.70])[:, None]
    return (hard + 0.25 * rng.standard_normal((4, 400)) < shares).astype(float)[:, None]


def test_trained_models_are_judged_by_mcnemar_and_holm() -> None:
    correct = one_training_each()
    judged = judge_pairs(correct)
    assert judged.scope == TRAINED
    assert "add --seeds 3" in judged.reason
    pairs = list(combinations(range(4), 2))
    assert list(judged.pairs) == pairs
    signs = [correct[one, 0] - correct[two, 0] for one, two in pairs]
    alone = [(int((s > 0).sum()), int((s < 0).sum())) for s in signs]
    exact = [stats.binomtest(a, a + b).pvalue for a, b in alone]
    adjusted = multipletests(exact, method="holm")[1]
    # Without the correction more would be declared.
    assert sum(p < 0.05 for p in exact) > sum(p < 0.05 for p in adjusted) > 0
    for number, pair in enumerate(pairs):
        found = judged.pairs[pair]
        assert found.p_value == pytest.approx(adjusted[number])
        assert found.difference == pytest.approx(signs[number].mean())
        assert (found.only_variant, found.only_other) == alone[number]
        word = "better" if found.difference > 0 else "worse"
        assert found.verdict == (word if adjusted[number] < 0.05 else "tie")
        assert (found.low <= 0 <= found.high) == (found.verdict == "tie")
        assert (found.images, found.units, found.seeds) == (400, 400, (0,))
    # At 95 % the interval of a tie would not have 0 in it.
    assert any(p < 0.05 <= q for p, q in zip(exact, adjusted, strict=True))


def test_the_other_way_round_everything_is_mirrored() -> None:
    correct = one_training_each()
    back = judge_pairs(correct[::-1]).pairs
    for (one, two), found in judge_pairs(correct).pairs.items():
        other = back[3 - two, 3 - one]
        turned = found.turned()
        assert turned.low <= turned.difference <= turned.high
        assert turned.verdict == other.verdict
        assert (turned.low, turned.high) == pytest.approx((other.low, other.high))
        assert (turned.only_variant, turned.only_other) == (other.only_variant, other.only_other)
        assert turned.turned() == found


def test_models_are_compared_on_the_seeds_that_both_have() -> None:
    correct = np.full((2, 3, 50), np.nan)
    correct[0, :2], correct[1, 1:] = 0.0, 1.0
    correct[0, 1, :20] = 1.0
    judged = judge_pairs(correct)
    assert judged.scope == TRAINED
    assert judged.pairs[0, 1].seeds == (1,)
    assert judged.pairs[0, 1].difference == pytest.approx(-0.6)


@pytest.mark.parametrize(("images", "scope"), [(59, TRAINED), (60, VARIANTS)])
def test_verdicts_about_variants_need_60_images(images: int, scope: str) -> None:
    rng = np.random.default_rng(0)
    correct = (rng.random((2, 2, images)) < 0.7).astype(float)
    judged = judge_pairs(correct)
    assert judged.scope == scope
    assert judged.reason.startswith(
        "two variants share 59 of the 60 images" if scope == TRAINED else ""
    )
    (found,) = judged.pairs.values()
    signs = correct[0] - correct[1]
    assert found.difference == pytest.approx(signs.mean())
    assert (found.only_variant, found.only_other) == ((signs > 0).sum(), (signs < 0).sum())
    assert found.seeds == (0, 1)


def with_folds() -> np.ndarray:
    """Three variants, three seeds, 200 images of two folds: 93, 75 and 80 % right."""
    rng = np.random.default_rng(3)
    shares = np.array([0.93, 0.75, 0.80])[:, None, None]
    hard = 0.9 * rng.random(200) + 0.1 * rng.random((3, 3, 200))
    return (hard < shares).astype(float)


def test_a_fold_that_one_variant_lacks_is_left_out_of_its_pairs_alone() -> None:
    correct = with_folds()
    alone = judge_pairs(correct[:2]).pairs[0, 1]
    correct[2, :, :100] = np.nan
    pairs = judge_pairs(correct).pairs
    assert pairs[0, 1].difference == alone.difference
    assert (pairs[0, 1].images, pairs[0, 1].only_variant) == (200, alone.only_variant)
    assert pairs[0, 1].verdict == alone.verdict == "better"
    gaps = correct[0, :, 100:] - correct[2, :, 100:]
    assert pairs[0, 2].difference == pytest.approx(gaps.mean())
    assert pairs[0, 2].images == pairs[0, 2].units == 100


def test_variants_without_a_common_image_have_no_verdict_and_the_others_have() -> None:
    correct = with_folds()
    correct[0, :, 100:] = correct[2, :, :100] = np.nan
    judged = judge_pairs(correct)
    assert judged.scope == VARIANTS
    assert set(judged.pairs) == {(0, 1), (1, 2)}


def test_no_difference_has_no_sign() -> None:
    found = judge_pairs(np.ones((2, 1, 20))).pairs[0, 1].turned()
    assert str(found.difference) == "0.0"
