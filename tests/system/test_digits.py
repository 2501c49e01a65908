"""Numbers keep their digits."""

from __future__ import annotations

import math

import pytest

from bench.system.digits import apart, fixed, points, significant


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0545, "0.0545"), (0.000545, "0.000545"), (0.0, "0"), (2.873, "2.87"), (42.0, "42"),
        (99.94, "99.9"), (99.96, "100"), (344.6, "345"), (999.6, "1,000"), (31434.6, "31,435"),
        (-0.05454, "-0.0545"),
    ],
)  # fmt: skip
def test_three_significant_digits(number: float, text: str) -> None:
    assert significant(number) == text


@pytest.mark.parametrize(
    ("number", "places", "text"),
    [
        (0.0545, 2, "0.0545"), (0.0545, 1, "0.0545"), (0.09999, 2, "0.1000"), (0.1, 2, "0.10"),
        (0.24, 2, "0.24"), (1.2545, 2, "1.25"), (0.0, 2, "0.00"), (-0.0545, 2, "-0.0545"),
        (12.5, 1, "12.5"), (0.954, 1, "0.954"), (1.0, 1, "1.0"), (1234.56, 1, "1,234.6"),
        (0.00003, 4, "0.0000300"), (2.5e-5, 2, "0.0000250"), (3e-9, 2, "3.00e-09"),
    ],
)  # fmt: skip
def test_fixed_places_leave_no_number_without_digits(number: float, places: int, text: str) -> None:
    assert fixed(number, places) == text
    assert float(fixed(number, places).replace(",", "")) == pytest.approx(number, rel=0.05)


def test_the_sign_and_the_number_of_digits_are_chosen() -> None:
    assert fixed(0.00025, 4, sign="+") == "+0.000250"
    assert fixed(12.0, 1, sign="+") == "+12.0"
    assert fixed(0.0545, 3, least=3) == "0.0545"
    assert fixed(0.123, 3, least=3) == "0.123"
    assert fixed(0.04567, 1, digits=2) == "0.046"
    assert fixed(math.nan, 2) == "nan"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3.04, "+3.0"), (-0.06, "-0.1"), (0.04, "+0.04"), (-0.0042, "-0.004"), (0.0, "+0.0"),
        (-1e-14, "+0.0"), (100.0, "+100.0"),
    ],
)  # fmt: skip
def test_only_a_difference_of_0_is_written_as_0(number: float, text: str) -> None:
    assert points(number) == text


@pytest.mark.parametrize(
    ("number", "limit", "text"),
    [
        (0.0496, 0.05, "0.0496"), (0.04996, 0.05, "0.04996"), (0.0504, 0.05, "0.0504"),
        (0.05, 0.05, "0.050"), (0.0494, 0.05, "0.049"), (1.0004, 1.0, "1.0004"),
        (1.0, 1.0, "1.000"),
    ],
)  # fmt: skip
def test_no_number_is_rounded_onto_a_limit(number: float, limit: float, text: str) -> None:
    assert apart(number, 3, limit) == text
