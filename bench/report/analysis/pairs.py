"""Compare each variant with its matched baseline: accuracy, size, work, speed; in a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import attrs

from bench.records.schema import lookup
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
        detectable = self.ratio.minimum_detectable_difference if self.ratio else None
        if detectable is None or self.floor is None:
            return None
        return max(detectable, self.floor)


@attrs.frozen
class Change:
    """A count of a variant minus that of the other, in the count's unit."""

    difference: float
    share: float

    def text(self, places: int) -> str:
        """Return ``+156,280 (+0.77 %)``, the difference with so many decimal places."""
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
    """Return the variants with a declared baseline that is in the report too, each with it."""
    names = selection.variants()
    pairs = [(name, lookup(selection.chosen(name) or {}, "variant", "baseline")) for name in names]
    return [(name, one_line(other)) for name, other in pairs if other != name and other in names]


def compare_pairs(selection: Selection, names: Sequence[tuple[str, str]]) -> list[Pair]:
    """Compare (variant, other) pairs; the verdicts are those of the whole selection."""
    return [_pair(selection, *pair) for pair in names]


def _pair(selection: Selection, variant: str, other: str) -> Pair:
    accuracy = accuracy_pair(selection, variant, other)
    reason = broken(selection, variant) or broken(selection, other)
    if reason:
        return Pair(variant, other, accuracy, reason=reason)
    one, two = usable(selection, variant) or {}, usable(selection, other) or {}
    parameters = [lookup(record, "counts", "parameters") for record in (one, two)]
    return Pair(
        variant,
        other,
        accuracy,
        speeds=speed_pairs(sessions_of(selection), variant, other),
        parameters=_change(*parameters) if classes_of(one) == classes_of(two) else None,
        gmacs=_change(*(gmacs(record, GUIDE_PIXELS).number for record in (one, two))),
    )


def speed_pairs(
    sessions: Sequence[TimingSession], variant: str, other: str
) -> tuple[SpeedPair, ...]:
    """Return main cases and training steps of the last session that timed both."""
    session = newest_with(sessions, variant, other)
    if session is None:
        return ()
    return tuple(
        SpeedPair(
            session=session.id,
            case=case,
            ratio=session.ratio(variant, other, case),
            verdict=verdict_text(session, case, variant, other),
            floor=session.noise_floor(case),
            comparisons=session.standing(case).comparisons,
        )
        for case in (*main_cases(session), *training_cases(session))
    )


def _change(one: float | None, two: float | None) -> Change | None:
    if one is None or not two:
        return None
    return Change(one - two, one / two - 1)


def sentence(pair: Pair) -> str:
    """Return what a variant costs and gains against another, and what could not be seen.

    ``CA against V2-S: costs 4 % speed (CPU, batch 16) and gains nothing measurable on this data
    (23 test images: a difference below 25 points would likely not have been seen).``
    """
    if pair.reason:
        return f"{pair.variant} is not compared with {pair.other}: {pair.reason}."
    accuracy = _accuracy_clause(pair.accuracy)
    clauses = _speed_clauses(pair.speeds) + ([accuracy] if accuracy else [])
    undecided = "; ".join(_undecided(speed) for speed in pair.speeds if not speed.declared)
    refused = pair.accuracy.refused
    missing = [
        f"Speed undecided: {undecided}." if undecided else "",
        "" if pair.speeds else "Speed not compared: the two were not timed in one session.",
        ""
        if accuracy
        else f"Accuracy not compared: {refused.reason if refused else 'no verdict'}.",
    ]
    names, rest = f"{pair.variant} against {pair.other}", " ".join(filter(None, missing))
    if not clauses:
        return f"{names}: {rest[0].lower()}{rest[1:]}"
    return f"{names}: {_listed(clauses)}. {rest}".rstrip()


def _speed_clauses(speeds: Sequence[SpeedPair]) -> list[str]:
    """Join equal verdicts in one clause each: costs, gains, no difference."""
    clauses = []
    for verdict, verb in (("slower", "costs"), ("faster", "gains")):
        declared = [speed for speed in speeds if speed.verdict == verdict]
        listed = [
            f"{percent(speed)}{'' if number else ' speed'} ({where(speed.case)})"
            for number, speed in enumerate(declared)
        ]
        if listed:
            clauses.append(f"{verb} {_listed(listed)}")
    ties: defaultdict[str, list[str]] = defaultdict(list)
    for speed in speeds:
        if speed.verdict == "~ tie":
            ties[_unseen(speed)].append(where(speed.case))
    if ties:
        cases = "; ".join(f"{'; '.join(cases)}{unseen}" for unseen, cases in ties.items())
        clauses.append(f"shows no measurable difference in speed ({cases})")
    return clauses


def percent(speed: SpeedPair) -> str:
    """Return how much slower or faster, as the change of the speed: a ratio of 0.96 is ``4 %``."""
    change = 0.0 if speed.ratio is None else 100 * abs(speed.ratio.ratio - 1)
    return f"{two_digits(change)} %"


def two_digits(number: float) -> str:
    """Return ``4.2``, ``25``, ``130``."""
    return f"{number:.0f}" if number >= 10 else f"{float(f'{number:.2g}'):g}"


def where(case: CaseKey) -> str:
    """Return ``CPU, 2 threads, batch 16, 224 pixels``, and what is not plain or float32."""
    parts = (
        case.where(),
        counted(case.threads, "thread") if case.device == "cpu" else "",
        f"batch {case.batch_size}",
        f"{case.image_size} pixels",
        "training step" if case.clock == "train" else "",
        "" if case.dtype == "float32" else case.dtype,
    )
    return ", ".join(part for part in parts if part)


def _unseen(speed: SpeedPair) -> str:
    visible = speed.minimum_detectable_difference
    if visible is None:
        return ""
    return f": a difference below {two_digits(100 * visible)} % would likely not have been seen"


def _undecided(speed: SpeedPair) -> str:
    return f"{where(speed.case)} ({speed.verdict.removeprefix('undecided: ')})"


# --- accuracy --------------------------------------------------------------------------------


def _accuracy_clause(pair: AccuracyPair) -> str:
    found = pair.found
    if found is None:
        return ""
    basis = pair.images() + (", of these trained models" if found.scope == TRAINED else "")
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


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
