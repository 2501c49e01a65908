"""The Pareto front of accuracy and speed, from declared differences only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

# Where the median pair of variants must differ by more to be told apart, a front means nothing.
MOST_DETECTABLE = 0.1

Verdict = Callable[[str, str], str]
"""``better``, ``worse`` or ``tie``: the first variant against the second."""

# By the verdicts on accuracy and speed: in what a variant beats another.
GAINS = {
    ("better", "better"): "faster and more accurate",
    ("tie", "better"): "faster and not declared less accurate",
    ("better", "tie"): "more accurate and not declared slower",
}


@attrs.frozen
class Front:
    """The variants on the front, and those off it.

    Attributes:
        names: on the front.
        off: by variant, the one that keeps it off, and in what that one is better.
    """

    names: tuple[str, ...]
    off: dict[str, tuple[str, str]]


def too_few_images(detectable: float | None) -> str | None:
    """Return why there is no front, or None.

    Args:
        detectable: minimum detectable difference of the median pair, a fraction.
    """
    if detectable is None or detectable <= MOST_DETECTABLE:
        return None
    return (
        "too few images for a front: half of the pairs could differ by "
        f"{100 * detectable:.0f} points unseen"
    )


def front(names: Sequence[str], accuracy: Verdict, speed: Verdict) -> Front:
    """Return which variants no member of the front beats.

    A variant beats another where it is declared better in accuracy or speed and not declared worse
    in the other of the two. Ties are not transitive, so being beaten by any variant is not enough:
    the winner may be off the front itself, beaten by a third that ties with the first. From the
    top down a variant is on the front unless a member beats it; where variants beat each other in
    a circle, all of them are.
    """

    def gain(other: str, name: str) -> str | None:
        verdicts = (accuracy(other, name), speed(other, name))
        return GAINS.get(verdicts) if other != name else None

    beaten_by = {name: {other for other in names if gain(other, name)} for name in names}
    on_front: set[str] = set()
    off: dict[str, tuple[str, str]] = {}
    left = list(names)
    while left:
        above = {name: _above(name, beaten_by, left) for name in left}
        top = [name for name in left if all(name in above[other] for other in above[name])]
        on_front.update(top)
        left = [name for name in left if name not in top]
        for name in left:
            winner = next((member for member in top if member in beaten_by[name]), None)
            if winner is not None:
                off[name] = (winner, str(gain(winner, name)))
        left = [name for name in left if name not in off]
    return Front(tuple(name for name in names if name in on_front), off)


def _above(name: str, beaten_by: Mapping[str, set[str]], left: Sequence[str]) -> set[str]:
    """Return what beats a variant, or beats one that does, among those left."""
    above: set[str] = set()
    new = beaten_by[name] & set(left)
    while new:
        above |= new
        new = {other for each in new for other in beaten_by[each]} & set(left) - above
    return above
