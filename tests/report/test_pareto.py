"""Tests of the Pareto front."""

from __future__ import annotations

import pytest

from bench.report.pareto import front

FLIPPED = {"better": "worse", "worse": "better"}


def verdicts(**declared: str):
    """``A_B="better"``: A is declared better than B; everything else ties."""

    def verdict(one: str, two: str) -> str:
        if f"{one}_{two}" in declared:
            return declared[f"{one}_{two}"]
        found = declared.get(f"{two}_{one}", "tie")
        return FLIPPED.get(found, found)

    return verdict


def test_variants_that_tie_in_both_are_all_on_the_front():
    found = front(["A", "B", "C"], verdicts(), verdicts())
    assert found.names == ("A", "B", "C")
    assert found.off == {}


def test_a_trade_of_accuracy_for_speed_keeps_both():
    found = front(["A", "B"], verdicts(A_B="better"), verdicts(B_A="better"))
    assert found.names == ("A", "B")


@pytest.mark.parametrize(
    ("accuracy", "speed", "what"),
    [
        ({"A_B": "better"}, {"A_B": "better"}, "faster and more accurate"),
        ({}, {"A_B": "better"}, "faster and not declared less accurate"),
        ({"A_B": "better"}, {}, "more accurate and not declared slower"),
    ],
)
def test_a_declared_difference_without_a_cost_takes_the_other_off(accuracy, speed, what):
    found = front(["A", "B"], verdicts(**accuracy), verdicts(**speed))
    assert found.names == ("A",)
    assert found.off == {"B": ("A", what)}


def test_what_was_not_compared_takes_nobody_off():
    apart = verdicts(A_B="not compared")
    assert front(["A", "B"], apart, verdicts(A_B="better")).names == ("A", "B")


def test_a_circle_of_ties_leaves_everybody_on_the_front():
    speed = verdicts(A_B="better", B_C="better", C_A="better")
    assert front(["A", "B", "C"], verdicts(), speed).names == ("A", "B", "C")
