"""Several comparisons at once: Holm's correction, and ranks that ties share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

ALPHA = 0.05


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
    known = [place for place, p in enumerate(p_values) if p is not None]
    order = sorted(known, key=lambda place: p_values[place] or 0.0)
    found: list[tuple[float | None, float]] = [(None, ALPHA)] * len(p_values)
    largest, level, declared = 0.0, ALPHA, True
    for rank, place in enumerate(order):
        left = len(order) - rank
        largest = max(largest, min(1.0, left * (p_values[place] or 0.0)))
        level = ALPHA / left if declared else level
        declared = declared and largest < ALPHA
        found[place] = (largest, level)
    return found


def shared_ranks(names: Sequence[str], better: Callable[[str, str], bool]) -> dict[str, int]:
    """Rank of each name: 1 + how many are declared better than it; ties share a rank.

    Args:
        names: what is ranked.
        better: ``better(a, b)``: whether a is declared better than b.
    """
    return {
        name: 1 + sum(better(other, name) for other in names if other != name) for name in names
    }
