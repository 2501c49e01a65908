"""Each variant against its matched baseline: accuracy, size, work and speed, and what it means."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.report.cells import GUIDE_PIXELS, gmacs
from bench.report.conditions import classes_of
from bench.report.gates import Record
from bench.report.markdown import one_line
from bench.report.matching import AccuracyPair, accuracy_pair
from bench.report.runsets import broken, usable
from bench.report.selection import Selection
from bench.report.speeds import (
    TimingSession,
    main_cases,
    newest_with,
    sessions_of,
    training_cases,
)
from bench.report.speedtable import verdict_text
from bench.report.timed import CaseKey
from bench.report.values import fixed
from bench.stats.timing import Ratio


@attrs.frozen
class SpeedPair:
    """Speed of a variant against another's in one case of a session.

    Attributes:
        verdict: ``faster``, ``slower``, ``~ tie``, or why nothing is declared.
        floor: the noise floor, relative.
        comparisons: size of the family that the verdict is corrected for.
    """

    session: str
    case: CaseKey
    ratio: Ratio | None
    verdict: str
    floor: float | None
    comparisons: int

    @property
    def declared(self) -> bool:
        """Whether enough was measured for a verdict; a tie is one."""
        return self.verdict in ("faster", "slower", "~ tie")

    @property
    def smallest_visible(self) -> float | None:
        """The relative difference that would have been seen; never below the noise floor."""
        if self.ratio is None or self.ratio.smallest_visible is None or self.floor is None:
            return None
        return max(self.ratio.smallest_visible, self.floor)


@attrs.frozen
class Change:
    """A count of a variant minus that of the other, in the count's unit."""

    difference: float
    share: float

    def text(self, places: int) -> str:
        """``+156,280 (+0.77 %)``, the difference with so many decimal places."""
        number = fixed(self.difference, places, sign="+") if places else f"{self.difference:+,.0f}"
        return f"{number} ({fixed(100 * self.share, 2, sign='+')} %)"


@attrs.frozen
class Pair:
    """A variant against another.

    Attributes:
        reason: why nothing of the two is compared, or None.
        parameters: of the model with the run's head.
        gmacs: at 224 pixels.
    """

    variant: str
    other: str
    accuracy: AccuracyPair
    speeds: tuple[SpeedPair, ...] = ()
    parameters: Change | None = None
    gmacs: Change | None = None
    reason: str | None = None


def matched(selection: Selection) -> list[tuple[str, str]]:
    """The variants with a declared baseline that is in the report too, each with it."""
    found = []
    for name in selection.variants():
        record = selection.chosen(name) or {}
        baseline = (record.get("variant") or {}).get("baseline")
        if baseline and baseline != name and baseline in selection.variants():
            found.append((name, one_line(baseline)))
    return found


def compare_pairs(selection: Selection, names: Sequence[tuple[str, str]]) -> list[Pair]:
    """What is known of (variant, other) pairs; the verdicts are those of the whole selection."""
    known = sessions_of(selection)
    return [_pair(selection, accuracy_pair(selection, *pair), known) for pair in names]


def _pair(selection: Selection, accuracy: AccuracyPair, sessions: Sequence[TimingSession]) -> Pair:
    names = (accuracy.variant, accuracy.other)
    pair = Pair(*names, accuracy)
    reason = next((text for text in (broken(selection, name) for name in names) if text), None)
    if reason:
        return attrs.evolve(pair, reason=reason)
    one, two = (usable(selection, name) or {} for name in names)
    same_head = classes_of(one) == classes_of(two)
    return attrs.evolve(
        pair,
        speeds=speed_pairs(sessions, *names),
        parameters=_change(*(_parameters(record) for record in (one, two))) if same_head else None,
        gmacs=_change(*(gmacs(record, GUIDE_PIXELS).number for record in (one, two))),
    )


def speed_pairs(
    sessions: Sequence[TimingSession], variant: str, other: str
) -> tuple[SpeedPair, ...]:
    """Main cases and training steps of the last session that timed both."""
    session = newest_with(sessions, variant, other)
    if session is None:
        return ()
    cases = (*main_cases(session), *training_cases(session))
    return tuple(_speed_pair(session, variant, other, case) for case in cases)


def _speed_pair(session: TimingSession, variant: str, other: str, case: CaseKey) -> SpeedPair:
    return SpeedPair(
        session=session.id,
        case=case,
        ratio=session.ratio(variant, other, case),
        verdict=verdict_text(session, case, variant, other),
        floor=session.noise_floor(case),
        comparisons=session.standing(case).comparisons,
    )


def _parameters(record: Record) -> float | None:
    return (record.get("counts") or {}).get("parameters")


def _change(one: float | None, two: float | None) -> Change | None:
    if one is None or not two:
        return None
    return Change(one - two, one / two - 1)
