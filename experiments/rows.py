"""The bars of a page: what is required, what came out, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.stats.timing import Ratio, compare_speeds


@attrs.frozen
class Row:
    """One bar in the table of outcomes.

    Attributes:
        bar: what is required of the harness, in words.
        required: the bound.
        found: what came out, a rate with its interval.
        met: None where nothing is required and the figure only informs.
        made: how the figure was made.
    """

    bar: str
    required: str
    found: str
    met: bool | None
    made: str


# --- rates -----------------------------------------------------------------------------------


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of a rate, as fractions 0..1."""
    from scipy import stats

    bounds = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(bounds.low), float(bounds.high)


def percent(share: float, digits: int = 2) -> str:
    """``4.60 %``."""
    return f"{100 * share:.{digits}f} %"


def rate(count: int, total: int) -> str:
    """``4.60 % (3.72–5.61 %, 92 of 2,000)``: a rate with its exact 95 % interval."""
    low, high = map(percent, clopper_pearson(count, total))
    return f"{percent(count / total)} ({low}–{high}, {count:,} of {total:,})"


def rate_row(
    bar: str,
    count: int,
    total: int,
    made: str,
    *,
    least: float | None = None,
    most: float | None = None,
    informs: str = "informs",
) -> Row:
    """Return a rate that is judged by its bounds.

    Args:
        bar: what is counted, in words.
        count: how often it was so.
        total: of how many.
        made: how the figure was made.
        least: lower bound, 0..1.
        most: upper bound, 0..1.
        informs: what is said instead of the bounds where there are none.
    """
    low, high = (None if bound is None else percent(bound, 0) for bound in (least, most))
    if low and high:
        required = f"{low}–{high}"
    elif low or high:
        required = f"at least {low}" if low else f"at most {high}"
    else:
        return Row(bar, informs, rate(count, total), None, made)
    met = (least or 0.0) <= count / total <= (1.0 if most is None else most)
    return Row(bar, required, rate(count, total), met, made)


def all_row(
    bar: str, count: int, total: int, made: str, *, note: str = "", met: bool = True
) -> Row:
    """Return a row that every one of ``total`` has to meet, and ``met`` besides."""
    all_of_them = f"{total} of {total}"
    return Row(bar, all_of_them, f"{count} of {total}{note}", count == total and met, made)


# --- ratios ----------------------------------------------------------------------------------


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Speed of ours ÷ speed of theirs from the seconds of the same work, round by round."""
    ratio = compare_speeds(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert ratio is not None
    return ratio


def ratio_text(ratio: Ratio) -> str:
    """``1.82 (1.75–1.90, 7 rounds)``."""
    interval = "no interval" if ratio.low is None else f"{ratio.low:.3f}–{ratio.high:.3f}"
    return f"{ratio.ratio:.3f} ({interval}, {ratio.rounds} rounds)"


def speed_row(
    bar: str, ours: Sequence[float], theirs: Sequence[float], least: float | None, made: str
) -> Row:
    """How many times faster ours is, with its 95 % interval; the estimate is judged.

    Args:
        bar: what is compared, in words.
        ours: seconds of each round.
        theirs: seconds of the same work in the same rounds.
        least: the bar; None where the figure only informs.
        made: how the figure was made.
    """
    ratio = ratio_of(ours, theirs)
    if least is None:
        return Row(bar, "informs", ratio_text(ratio), None, made)
    return Row(bar, f"at least {least:g}", ratio_text(ratio), ratio.ratio >= least, made)
