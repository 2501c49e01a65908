"""What every judge of claims shares: measured figures, the words of verdicts, who decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import Record
from bench.report.analysis.values import failure, fixed, significant
from bench.report.claims.conditions import differing, facts_of_run, has_reduction
from bench.report.claims.quantities import RATIO_UNIT, VALUE
from bench.report.claims.statements import Claim
from bench.stats.timing import FEWEST_ROUNDS
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


def missing_reason(selection: Selection, variant: str) -> str | None:
    """Return why no number of a variant can be used, or None."""
    record = selection.chosen(variant)
    if record is None:
        return f"{variant} is in none of these runs"
    if record.get("status") != "complete":
        return f"{variant}: run failed: {failure(record, limit=70)}"
    reason = selection.invalid(record)
    return f"{variant}: invalid: {reason}" if reason else None


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
        """Return a figure without an error, such as a count."""
        return cls(number, number, number, count, unit, machine)

    def value(self) -> str:
        """Return ``0.24 [0.23–0.25] ×``."""
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
        """Return the value with how often and where it was measured."""
        return ", ".join(filter(None, (self.value(), self.count, self.machine)))


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
        """Return ``contradicted on AMD EPYC, 2 threads``."""
        return f"{self.word} on {self.where}" if self.where else self.word

    def noting(self, *notes: str, where: str = "") -> Verdict:
        """Return the verdict with more reasons, and with the machine that it was made on."""
        return attrs.evolve(self, reason=joined(self.reason, *notes), where=where or self.where)


Judge = Callable[[Claim, Selection], Verdict]


def differs_from(claim: Claim, record: Record, without: Collection[str] = ()) -> list[str]:
    """Return the claim's conditions that a run was not made under, some left out."""
    # A difference or ratio has one reduction where only one of the two models has any.
    spared = ["reduction"] * (claim.form != VALUE and not has_reduction(record))
    return differing(claim.conditions, facts_of_run(record), [*without, *spared])


def refusals(missing: Sequence[str], differing: Sequence[str]) -> list[str]:
    """Return why a figure is not comparable: conditions that the claim lacks, and that differ."""
    reasons = {"unstated": missing, "conditions differ": differing}
    return [f"{reason}: {', '.join(names)}" for reason, names in reasons.items() if names]


def too_few(count: str) -> str:
    """Return why a figure that was measured so often has no interval."""
    return f"{count}, an interval needs {FEWEST_ROUNDS}"


def decide(
    claim: Claim, figure: Figure, few: str = "no interval", refused: Sequence[str] = ()
) -> Verdict:
    """Confirm a claim within its bounds, contradict it clear of them, else leave it undecided.

    Args:
        few: why the figure has no interval.
        refused: why the figure is not comparable.
    """
    if refused:
        return Verdict(NOT_COMPARABLE, joined(*refused), figure)
    low, high = claim.accepted()
    bounds = f"{low:g}" if low == high else f"{low:.4g}–{high:.4g}"
    bounds = f"{bounds} {claim.unit}".strip()
    if figure.low is None or figure.high is None:
        return Verdict(UNDECIDED, f"{few}; accepted would be {bounds}", figure)
    if low <= figure.low and figure.high <= high:
        return Verdict(CONFIRMED, f"within the accepted {bounds}", figure)
    if figure.high < low or figure.low > high:
        reason = f"{figure.value()} instead of {claim.figure()} (accepted: {bounds})"
        return Verdict(CONTRADICTED, reason, figure)
    return Verdict(UNDECIDED, f"the interval straddles the accepted {bounds}", figure)


def joined(*parts: str | None) -> str:
    """Join the parts that are not empty to one text."""
    return "; ".join(part for part in parts if part)
