"""How many digits of a number are printed."""

from __future__ import annotations

import math

# Smaller numbers are written with an exponent.
_SMALLEST = 1e-7


def significant(number: float) -> str:
    """Return three significant digits, thousands separated: 0.0584, 2.87, 345, 31,435."""
    size = abs(number)
    if size < 99.95:
        return f"{float(f'{number:.3g}'):g}"
    return f"{number:,.0f}"


def fixed(number: float, places: int, *, sign: str = "", least: int = 2, digits: int = 3) -> str:
    """Write a number with fixed decimal places, or more where they would leave too little of it.

    Args:
        number: 0.0545 is ``0.0545`` with 2 places, 1.2545 is ``1.25``.
        places: decimal places.
        sign: "+" writes the sign of positive numbers too.
        least: significant digits that the places must leave.
        digits: significant digits that are written where they leave fewer.
    """
    size = abs(number)
    if 0 < size < 10.0 ** (least - 1 - places):
        if size < _SMALLEST:
            return f"{number:{sign}.{digits - 1}e}"
        places = digits - 1 - math.floor(math.log10(size))
    return f"{number:{sign},.{places}f}"


def points(number: float) -> str:
    """Write a difference in points with its sign: ``+3.0``, ``-0.04``; only 0 is written as 0."""
    return apart(round(number, 6) + 0.0, 1, 0.0, sign="+")


def apart(number: float, places: int, limit: float, *, sign: str = "") -> str:
    """Write fixed decimal places, and more where rounding would put the number on a limit.

    Args:
        number: 0.0496 is ``0.0496`` with 3 places and the limit 0.05, not ``0.050``.
        places: decimal places.
        limit: what a verdict depends on.
        sign: "+" writes the sign of positive numbers too.
    """
    if abs(number - limit) > _SMALLEST:
        while round(number, places) == round(limit, places):
            places += 1
    return f"{number:{sign},.{places}f}"


def counted(number: int, noun: str) -> str:
    """Return ``1 round``, ``3 rounds``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
