"""Several comparisons at once: Holm's correction, and ranks that ties share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

ALPHA = 0.05


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for making all of these comparisons (Holm 1979); None stays None.

    Below :data:`ALPHA` after the adjustment, the chance of even one false difference in the whole
    family is at most ALPHA.
    """
    from statsmodels.stats.multitest import multipletests

    known = [p for p in p_values if p is not None]
    if len(known) < 2:
        return list(p_values)
    # statsmodels collects garbage at every call: among the records of ten thousand runs that takes
    # half a second.
    gc.freeze()
    try:
        adjusted = iter(multipletests(known, alpha=ALPHA, method="holm")[1])
    finally:
        gc.unfreeze()
    return [None if p is None else float(next(adjusted)) for p in p_values]


def shared_ranks(names: Sequence[str], better: Callable[[str, str], bool]) -> dict[str, int]:
    """Rank of each name: 1 + how many are declared better than it; ties share a rank.

    Args:
        names: what is ranked.
        better: ``better(a, b)``: whether a is declared better than b.
    """
    return {
        name: 1 + sum(better(other, name) for other in names if other != name) for name in names
    }
