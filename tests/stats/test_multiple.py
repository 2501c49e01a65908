"""Holm's correction and shared ranks."""

from __future__ import annotations

import pytest

from bench.stats.multiple import holm, holm_levels, shared_ranks


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, each at least the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([None, 0.01, None, 0.04]) == [
        None,
        pytest.approx(0.02),
        None,
        pytest.approx(0.04),
    ]
    assert holm([None, 0.03]) == [None, 0.03]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []


def test_levels_by_hand() -> None:
    """0.001 is declared at 0.05 / 4; 0.03 is not at 0.05 / 3, nor is what comes after it."""
    found = holm_levels([0.04, 0.001, None, 0.2, 0.03])
    assert [adjusted for adjusted, _ in found] == pytest.approx([0.09, 0.004, None, 0.2, 0.09])
    assert [level for _, level in found] == pytest.approx(
        [0.05 / 3, 0.05 / 4, 0.05, 0.05 / 3, 0.05 / 3]
    )


def test_adjusted_p_values_end_at_one() -> None:
    assert holm([0.6, 0.7, 0.8]) == [1.0, 1.0, 1.0]


def test_ties_share_a_rank() -> None:
    speed = {"a": 10.0, "b": 9.9, "c": 5.0, "d": 1.0}
    ranks = shared_ranks(list(speed), lambda one, other: speed[one] > speed[other] + 1)
    assert ranks == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_a_name_is_not_compared_with_itself() -> None:
    assert shared_ranks(["a", "b"], lambda one, other: True) == {"a": 2, "b": 2}
    assert shared_ranks([], lambda one, other: True) == {}
