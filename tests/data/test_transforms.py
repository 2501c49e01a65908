"""The chances of the augmentation are those of torchvision's transforms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from bench.data.transforms import (
    ANGLE,
    FACTORS,
    FLIP,
    ORDER,
    draw_epoch,
    eval_transform,
    level_table,
    shuffled,
)

DRAWS = 2000
# Seeded, so that a test fails for a reason, not once in a thousand runs.
LEAST_P = 0.001
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return draw_epoch(DRAWS, seed=3, epoch=1)


def test_half_are_flipped(draws: np.ndarray) -> None:
    assert set(draws[:, FLIP]) == {0, 1}
    interval = stats.binomtest(int(draws[:, FLIP].sum()), DRAWS).proportion_ci(1 - LEAST_P)
    assert interval.low < 0.5 < interval.high


def test_angles_are_uniform_between_minus_12_and_12(draws: np.ndarray) -> None:
    angles = draws[:, ANGLE]
    assert np.abs(angles).max() <= 12
    assert stats.kstest(angles, stats.uniform(-12, 24).cdf).pvalue > LEAST_P


@pytest.mark.parametrize("step", range(3))
def test_factors_are_uniform_within_fifteen_percent(draws: np.ndarray, step: int) -> None:
    factors = draws[:, FACTORS][:, step]
    assert 0.85 <= factors.min() < factors.max() <= 1.15
    assert stats.kstest(factors, stats.uniform(0.85, 0.3).cdf).pvalue > LEAST_P


def test_every_order_of_the_steps_is_as_likely(draws: np.ndarray) -> None:
    seen = [tuple(order) for order in draws[:, ORDER].astype(int).tolist()]
    counts = [seen.count(order) for order in permutations(range(3))]
    assert sum(counts) == DRAWS
    assert stats.chisquare(counts).pvalue > LEAST_P


def test_the_parameters_do_not_hang_on_each_other(draws: np.ndarray) -> None:
    relation = stats.spearmanr(draws[:, :5])
    off = ~np.eye(5, dtype=bool)
    assert (relation.pvalue[off] > LEAST_P / 10).all()


def test_seed_and_epoch_decide() -> None:
    one = draw_epoch(50, 0, 1)
    assert np.array_equal(one, draw_epoch(50, 0, 1))
    assert not np.array_equal(one, draw_epoch(50, 1, 1))
    assert not np.array_equal(one, draw_epoch(50, 0, 2))
    assert sorted(shuffled(50, 0, 1)) == list(range(50))
    assert not np.array_equal(shuffled(50, 0, 1), shuffled(50, 0, 2))
    assert not np.array_equal(shuffled(50, 0, 1), shuffled(50, 1, 1))


def test_eval_only_normalises_with_the_given_mean_and_std() -> None:
    image = torch.arange(3 * 4 * 4, dtype=torch.uint8).reshape(3, 4, 4)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(eval_transform(MEAN, STD)(image), (image.float() / 255 - mean) / std)


def test_the_table_is_torchvisions_normalisation_bit_for_bit() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16).contiguous()
    table = level_table(MEAN, STD)
    assert table.shape == (256, 1, 3)
    assert table.dtype == np.float32
    expected = eval_transform(MEAN, STD)(levels).reshape(3, 256).T
    assert np.array_equal(table[:, 0], expected.numpy())
