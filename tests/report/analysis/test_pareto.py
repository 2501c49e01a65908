"""Tests of the Pareto front."""

from __future__ import annotations

import functools
import random

import pytest

from bench.report.analysis.pareto import front

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


def test_off_is_only_what_a_member_of_the_front_beats():
    # A beats B, B beats C, A and C tie: C is not beaten by anything on the front.
    chain = verdicts(A_B="better", B_C="better")
    found = front(["A", "B", "C"], chain, verdicts())
    assert found.names == ("A", "C")
    assert found.off == {"B": ("A", "more accurate and not declared slower")}


def test_no_member_is_declared_worse_than_what_it_keeps_off():
    # The fast one ties with the middle one and is declared worse than the best.
    accuracy = verdicts(Best_Fast="better")
    speed = verdicts(Fast_Middle="better", Fast_Best="better", Middle_Best="better")
    found = front(["Best", "Middle", "Fast"], accuracy, speed)
    # Middle alone is beaten by Fast; Best, which only Middle beats, is on the front.
    assert found.names == ("Best", "Fast")
    assert found.off["Middle"][0] == "Fast"


def test_a_front_of_many_random_verdicts_is_beaten_by_none_of_its_own():
    chance = random.Random(4)
    for _ in range(200):
        names = [f"V{n}" for n in range(8)]
        score = {name: (chance.random(), chance.random()) for name in names}

        def verdict(place, one, two, score=score):
            gap = score[one][place] - score[two][place]
            return "tie" if abs(gap) < 0.3 else "better" if gap > 0 else "worse"

        accuracy, speed = functools.partial(verdict, 0), functools.partial(verdict, 1)
        found = front(names, accuracy, speed)
        assert found.names

        def beats(one, two, accuracy=accuracy, speed=speed):
            both = {accuracy(one, two), speed(one, two)}
            return "better" in both and "worse" not in both

        for name, (winner, _) in found.off.items():
            assert winner in found.names
            assert beats(winner, name)
        assert set(found.names) | set(found.off) == set(names)
        assert not any(beats(a, b) for a in found.names for b in found.names if a != b)


def test_a_circle_of_ties_leaves_everybody_on_the_front():
    speed = verdicts(A_B="better", B_C="better", C_A="better")
    assert front(["A", "B", "C"], verdicts(), speed).names == ("A", "B", "C")
