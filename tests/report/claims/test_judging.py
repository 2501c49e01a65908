"""The interval of a figure decides a claim, not its estimate."""

from __future__ import annotations

import pytest

from bench.report.claims.judging import CONFIRMED, CONTRADICTED, UNDECIDED, Figure, decide
from bench.report.claims.statements import Claim


@pytest.mark.parametrize(
    ("number", "low", "high", "word"),
    [
        (90.0, 89.2, 90.8, CONFIRMED),
        (90.0, 88.0, 92.0, UNDECIDED),
        (88.0, 86.5, 89.5, UNDECIDED),
        (92.0, 90.5, 93.5, UNDECIDED),
        (88.0, 87.2, 88.8, CONTRADICTED),
        (92.0, 91.2, 92.8, CONTRADICTED),
        (90.0, None, None, UNDECIDED),
    ],
)
def test_a_claim_of_90_percent_within_one_point(
    number: float, low: float | None, high: float | None, word: str
) -> None:
    claim = Claim("x", "ResNet18", "accuracy", 90.0, "%", "a page", tolerance=1.0)
    assert decide(claim, Figure(number, low, high, "100 images", "%")).word == word
