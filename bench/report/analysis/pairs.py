"""Compare each variant with its matched baseline: accuracy, size, work, speed; in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.report.analysis.matching import AccuracyPair, accuracy_pair
from bench.report.analysis.metrics import GUIDE_PIXELS, gmacs
from bench.report.analysis.run_sets import broken, usable
from bench.report.analysis.selection import Selection
from bench.report.analysis.speeds import (
    TimingSession,
    main_cases,
    newest_with,
    sessions_of,
    training_cases,
)
from bench.report.analysis.timings import CaseKey
from bench.report.analysis.validity import Record
from bench.report.analysis.values import counted, fixed
from bench.report.chapters.speed import verdict_text
from bench.report.claims.conditions import classes_of
from bench.report.render.markdown import one_line
from bench.stats.pairs import TRAINED
from bench.stats.timing import Ratio
from bench.system.digits import points


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
    def minimum_detectable_difference(self) -> float | None:
        """The relative difference that would have been seen; never below the noise floor."""
        if (
            self.ratio is None
            or self.ratio.minimum_detectable_difference is None
            or self.floor is None
        ):
            return None
        return max(self.ratio.minimum_detectable_difference, self.floor)


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


def sentence(pair: Pair) -> str:
    """What a variant costs and gains against another, and what could not be seen.

    ``CA against V2-S: costs 4 % speed (CPU, batch 16) and gains nothing measurable on this data
    (23 test images: a difference below 25 points would likely not have been seen).``
    """
    if pair.reason:
        return f"{pair.variant} is not compared with {pair.other}: {pair.reason}."
    clauses = [*_speed_clauses(pair.speeds)]
    accuracy = _accuracy_clause(pair)
    if accuracy:
        clauses.append(accuracy)
    parts = []
    if clauses:
        parts.append(f"{pair.variant} against {pair.other}: {_listed(clauses)}.")
    undecided = [_undecided(speed) for speed in pair.speeds if not speed.declared]
    if undecided:
        parts.append(f"Speed undecided: {'; '.join(undecided)}.")
    if not pair.speeds:
        parts.append("Speed not compared: the two were not timed in one session.")
    if not accuracy:
        parts.append(f"Accuracy not compared: {_refusal(pair)}.")
    text = " ".join(parts)
    return text if clauses else f"{pair.variant} against {pair.other}: {text[0].lower()}{text[1:]}"


def _speed_clauses(speeds: Sequence[SpeedPair]) -> list[str]:
    """Equal verdicts in one clause each: costs, gains, no difference."""
    found: dict[str, list[SpeedPair]] = {}
    for speed in speeds:
        found.setdefault(speed.verdict, []).append(speed)
    clauses = []
    for verdict, verb in (("slower", "costs"), ("faster", "gains")):
        listed = [
            f"{percent(speed)}{' speed' if place == 0 else ''} ({where(speed.case)})"
            for place, speed in enumerate(found.get(verdict, []))
        ]
        if listed:
            clauses.append(f"{verb} {_listed(listed)}")
    ties: dict[str, list[str]] = {}
    for speed in found.get("~ tie", []):
        ties.setdefault(_unseen(speed), []).append(where(speed.case))
    if ties:
        listed = [f"{'; '.join(cases)}{unseen}" for unseen, cases in ties.items()]
        clauses.append(f"shows no measurable difference in speed ({'; '.join(listed)})")
    return clauses


def percent(speed: SpeedPair) -> str:
    """How much slower or faster, as the change of the speed: a ratio of 0.96 is ``4 %``."""
    change = 0.0 if speed.ratio is None else 100 * abs(speed.ratio.ratio - 1)
    return f"{two_digits(change)} %"


def two_digits(number: float) -> str:
    """``4.2``, ``25``, ``130``."""
    return f"{number:.0f}" if number >= 10 else f"{float(f'{number:.2g}'):g}"


def where(case: CaseKey) -> str:
    """``CPU, 2 threads, batch 16, 224 pixels``, with what is not the plain model in float32."""
    parts = [case.where()]
    if case.device == "cpu":
        parts.append(counted(case.threads, "thread"))
    parts += [f"batch {case.batch_size}", f"{case.image_size} pixels"]
    if case.clock == "train":
        parts.append("training step")
    if case.dtype != "float32":
        parts.append(case.dtype)
    return ", ".join(parts)


def _unseen(speed: SpeedPair) -> str:
    visible = speed.minimum_detectable_difference
    if visible is None:
        return ""
    return f": a difference below {two_digits(100 * visible)} % would likely not have been seen"


def _undecided(speed: SpeedPair) -> str:
    return f"{where(speed.case)} ({speed.verdict.removeprefix('undecided: ')})"


# --- accuracy --------------------------------------------------------------------------------


def _accuracy_clause(pair: Pair) -> str:
    accuracy, found = pair.accuracy, pair.accuracy.found
    if found is None:
        return ""
    basis = accuracy.images()
    if found.scope == TRAINED:
        basis += ", of these trained models"
    if found.verdict == "tie":
        visible = 100 * found.minimum_detectable
        unseen = (
            "no difference, however large, could have been seen"
            if visible >= 100
            else f"a difference below {two_digits(visible)} points would likely not have been seen"
        )
        return f"gains nothing measurable on this data ({basis}: {unseen})"
    size = f"{two_digits(100 * abs(found.difference))} points of accuracy"
    interval = f"interval {points(100 * found.low)} to {points(100 * found.high)}"
    verb = "gains" if found.verdict == "better" else "loses"
    return f"{verb} {size} ({interval}, {basis})"


def _refusal(pair: Pair) -> str:
    refused = pair.accuracy.refused
    return refused.reason if refused else "no verdict"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
