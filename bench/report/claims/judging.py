"""What every judge of claims shares: measured figures, the words of verdicts, who decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from bench.report.analysis.selection import Selection
from bench.report.analysis.values import failure, fixed, significant
from bench.report.claims.model import Claims
from bench.report.claims.quantities import RATIO_UNIT
from bench.report.claims.statements import Claim
from bench.system.digits import apart

CONFIRMED = "confirmed"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_COMPARABLE = "not comparable"
NOT_MEASURED = "not measured"
_DECIMALS = {RATIO_UNIT: 2, "M": 2}
# To one place in every table, and a difference that is not 0 is not written as 0.
_SHARES = ("%", "points")
VERDICTS = (CONFIRMED, CONTRADICTED, UNDECIDED, NOT_COMPARABLE, NOT_MEASURED)


@attrs.frozen(eq=False)
class Evidence:
    """What claims are held against: the runs of a report, and what others published."""

    selection: Selection
    claims: Claims

    def absence(self, variant: str) -> str | None:
        """Why no number of a variant can be used, or None."""
        record = self.selection.chosen(variant)
        if record is None:
            return f"{variant} is in none of these runs"
        if record.get("status") != "complete":
            return f"{variant}: run failed: {failure(record, limit=70)}"
        broken = self.selection.invalid(record)
        return f"{variant}: invalid: {broken}" if broken else None


@attrs.frozen
class Figure:
    """A measured figure.

    Attributes:
        low, high: 95 % bounds, of two variants' difference or ratio those that belong to their
            verdict (at Holm's level, or Tukey's); equal to the number where it is exact, None where
            there are none.
        count: how often it was measured: ``10 rounds``, ``1,041 test images``, ``exact``.
        machine: what it was measured on, where that matters.
    """

    number: float
    low: float | None
    high: float | None
    count: str
    unit: str
    machine: str = ""

    @classmethod
    def exact(cls, number: float, unit: str, machine: str = "", count: str = "exact") -> Figure:
        """A figure without an error, such as a count."""
        return cls(number, number, number, count, unit, machine)

    def value(self) -> str:
        """``0.24 [0.23–0.25] ×``."""
        text = self._written(self.number)
        if self.low is not None and self.high is not None and self.low != self.high:
            text += f" [{self._written(self.low)}–{self._written(self.high)}]"
        return f"{text} {self.unit}".strip()

    def _written(self, number: float) -> str:
        if self.unit in _SHARES:
            return apart(number, 1, 0.0)
        decimals = _DECIMALS.get(self.unit)
        return significant(number) if decimals is None else fixed(number, decimals)

    def cell(self) -> str:
        """The value with how often and where it was measured."""
        return ", ".join(part for part in (self.value(), self.count, self.machine) if part)


@attrs.frozen
class Verdict:
    """A verdict with its reason, and the figure that it was made from.

    Attributes:
        where: the machine that a relative figure was decided on.
    """

    word: str
    reason: str
    figure: Figure | None = None
    where: str = ""

    def cell(self) -> str:
        """``contradicted on AMD EPYC, 2 threads``."""
        return f"{self.word} on {self.where}" if self.where else self.word


Judge = Callable[[Claim, Evidence], Verdict]


def decide(claim: Claim, figure: Figure, few: str = "no interval") -> Verdict:
    """Confirmed within the accepted bounds, contradicted clear of them, else undecided.

    Args:
        few: why the figure has no interval.
    """
    low, high = claim.accepted()
    bounds = _bounds(claim, low, high)
    if figure.low is None or figure.high is None:
        return Verdict(UNDECIDED, f"{few}; accepted would be {bounds}", figure)
    if low <= figure.low and figure.high <= high:
        return Verdict(CONFIRMED, f"within the accepted {bounds}", figure)
    if figure.high < low or figure.low > high:
        reason = f"{figure.value()} instead of {claim.figure()} (accepted: {bounds})"
        return Verdict(CONTRADICTED, reason, figure)
    return Verdict(UNDECIDED, f"the interval straddles the accepted {bounds}", figure)


def _bounds(claim: Claim, low: float, high: float) -> str:
    if low == high:
        return f"{low:g} {claim.unit}".strip()
    return f"{low:.4g}–{high:.4g} {claim.unit}".strip()


def joined(parts: Sequence[str]) -> str:
    """The parts that are not empty, as one text."""
    return "; ".join(part for part in parts if part)
