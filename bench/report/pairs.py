"""Each variant against its matched baseline: accuracy, size, work and speed, and what it means."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.report.cells import GUIDE_PIXELS, gmacs
from bench.report.conditions import classes_of
from bench.report.gates import Record
from bench.report.markdown import one_line
from bench.report.matching import AccuracyPair, accuracy_pair, adjusted
from bench.report.selection import Selection, seconds_of
from bench.report.speeds import (
    TimingSession,
    main_cases,
    newest_with,
    sessions_of,
    training_cases,
)
from bench.report.speedtable import verdict_text
from bench.report.timed import CaseKey
from bench.report.values import failure, fixed
from bench.stats.multiple import ALPHA
from bench.stats.timing import Ratio, compare_speeds


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


def compare_pairs(
    selection: Selection,
    names: Sequence[tuple[str, str]],
    sessions: Sequence[TimingSession] | None = None,
) -> list[Pair]:
    """Compare (variant, other) pairs; p values are corrected for all of them.

    Args:
        sessions: timing sessions to use; None: all of the report.
    """
    known = sessions_of(selection) if sessions is None else sessions
    accuracies = adjusted([accuracy_pair(selection, *pair, len(names)) for pair in names])
    return [_pair(selection, accuracy, known) for accuracy in accuracies]


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


def usable(selection: Selection, name: str) -> Record | None:
    """The latest complete and valid run of a variant, a trained one where there is one."""
    valid = [run for run in selection.complete(name) if selection.invalid(run) is None]
    trained = [run for run in valid if run.get("training")]
    return max(trained or valid, key=seconds_of, default=None)


def broken(selection: Selection, name: str) -> str | None:
    """Why no run of a variant takes part in a comparison, or None where one does."""
    if usable(selection, name) is not None:
        return None
    record = selection.chosen(name) or {}
    if record.get("status") != "complete":
        return f"{name}: run failed: {failure(record, limit=70)}"
    return f"{name}: invalid: {selection.invalid(record)}"


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
    number = session.standing(case).comparisons
    rounds = session.blocks(variant, case), session.blocks(other, case)
    return SpeedPair(
        session=session.id,
        case=case,
        # What could be seen is what would have been declared among all comparisons of the case.
        ratio=compare_speeds(*rounds, alpha=ALPHA / max(1, number)),
        verdict=verdict_text(session, case, variant, other),
        floor=session.noise_floor(case),
        comparisons=number,
    )


def _parameters(record: Record) -> float | None:
    return (record.get("counts") or {}).get("parameters")


def _change(one: float | None, two: float | None) -> Change | None:
    if one is None or not two:
        return None
    return Change(one - two, one / two - 1)
