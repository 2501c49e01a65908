"""The Pareto front of accuracy and speed, from declared differences only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

Verdict = Callable[[str, str], str]
"""``better``, ``worse`` or ``tie``: the first variant against the second."""


@attrs.frozen
class Front:
    """The variants on the front, and those off it.

    Attributes:
        names: on the front.
        off: by variant, the one that keeps it off, and in what that one is better.
    """

    names: tuple[str, ...]
    off: dict[str, tuple[str, str]]


def front(names: Sequence[str], accuracy: Verdict, speed: Verdict) -> Front:
    """Which variants no other beats.

    A variant is off the front only where another is declared better in accuracy or speed and not
    declared worse in the other of the two. So two that tie in both are both on it, and a gap that
    was measured and not declared takes nobody off.
    """
    off: dict[str, tuple[str, str]] = {}
    for name in names:
        for other in names:
            verdicts = (accuracy(other, name), speed(other, name))
            known = all(verdict in ("better", "worse", "tie") for verdict in verdicts)
            if other != name and known and "better" in verdicts and "worse" not in verdicts:
                off.setdefault(name, (other, _what(verdicts)))
    # Ties are not transitive: where every variant is beaten by another, none is taken off.
    if len(off) == len(names):
        off = {}
    return Front(tuple(name for name in names if name not in off), off)


def _what(verdicts: tuple[str, str]) -> str:
    more_accurate, faster = (verdict == "better" for verdict in verdicts)
    if more_accurate and faster:
        return "faster and more accurate"
    if faster:
        return "faster and not declared less accurate"
    return "more accurate and not declared slower"
