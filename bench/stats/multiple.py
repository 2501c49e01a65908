"""Several comparisons at once: Holm's correction, verdicts in both orders, shared ranks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import attrs

ALPHA = 0.05
_OPPOSITE = {"faster": "slower", "slower": "faster", "better": "worse", "worse": "better"}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for making all of these comparisons (Holm 1979); None stays None.

    Below :data:`ALPHA` after the adjustment, the chance of even one false difference in the whole
    family is at most ALPHA.
    """
    return [adjusted for adjusted, _ in holm_levels(p_values)]


def holm_levels(p_values: Sequence[float | None]) -> list[tuple[float | None, float]]:
    """Each adjusted p value with the level at which Holm's procedure tested that comparison.

    The k-th smallest of m is tested at ALPHA ÷ (m − k + 1), and what comes after the first that is
    not declared at the level of that one. So an interval of this level excludes "no difference"
    exactly where the adjusted p value is below ALPHA.
    """
    tested = [(p, index) for index, p in enumerate(p_values) if p is not None]
    levels: list[tuple[float | None, float]] = [(None, ALPHA)] * len(p_values)
    largest, level, declared = 0.0, ALPHA, True
    for rank, (p, index) in enumerate(sorted(tested)):
        left = len(tested) - rank
        largest = max(largest, min(1.0, left * p))
        level = ALPHA / left if declared else level
        declared = declared and largest < ALPHA
        levels[index] = (largest, level)
    return levels


def opposite(verdict: str) -> str:
    """Return the verdict on the other variant against this one; a tie is one in both orders."""
    return _OPPOSITE.get(verdict, verdict)


class Verdict(Protocol):
    """One variant against another."""

    @property
    def verdict(self) -> str:
        """What is declared of the first against the second."""

    def turned(self) -> Self:
        """Return the second against the first."""


Name = TypeVar("Name", bound=Hashable)
Judged = TypeVar("Judged", bound=Verdict)


@attrs.frozen
class Family(Generic[Name, Judged]):
    """Pairs that were judged together, to be read in both orders.

    Attributes:
        pairs: by (one, other), in one of the two orders; None where there was nothing to compare.
        unjudged: the verdict on what is not among them.
    """

    pairs: Mapping[tuple[Name, Name], Judged | None]
    unjudged: str

    def pair(self, one: Name, other: Name) -> Judged | None:
        """Return one against the other as it was judged, or None."""
        judged = self.pairs.get((one, other))
        if judged is None and (turned := self.pairs.get((other, one))) is not None:
            judged = turned.turned()
        return judged

    def verdict(self, one: Name, other: Name) -> str:
        """Return what is declared of one against the other."""
        if (judged := self.pairs.get((one, other))) is not None:
            return judged.verdict
        turned = self.pairs.get((other, one))
        return self.unjudged if turned is None else opposite(turned.verdict)

    def ranks(self, names: Sequence[Name], best: str) -> dict[Name, int]:
        """Return shared ranks of these names, the first declared ``best`` against the others."""
        return shared_ranks(names, lambda one, other: self.verdict(one, other) == best)


def shared_ranks(names: Sequence[Name], better: Callable[[Name, Name], bool]) -> dict[Name, int]:
    """Rank of each name: 1 + how many are declared better than it; ties share a rank.

    Args:
        names: what is ranked.
        better: ``better(a, b)``: whether a is declared better than b.
    """
    return {
        name: 1 + sum(better(other, name) for other in names if other != name) for name in names
    }
