"""How many digits of a number are printed."""

from __future__ import annotations

import math

# Smaller numbers are written with an exponent.
_SMALLEST = 1e-7


def significant(number: float) -> str:
    """Three significant digits, thousands separated: 0.0584, 2.87, 345, 31,435."""
    size = abs(number)
    if size < 99.95:
        return f"{float(f'{number:.3g}'):g}"
    return f"{number:,.0f}"


def fixed(number: float, places: int, *, sign: str = "", least: int = 2, digits: int = 3) -> str:
    """A number with fixed decimal places, and with more where they would leave too little of it.

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
