"""Timing sessions read from records: ratios round by round, verdicts and shared ranks.

Only variants of one session are ever compared: sessions differ in machine, load and day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from bench.report.analysis.selection import Selection, variant_of
from bench.report.analysis.timings import (
    CaseKey,
    blocks_of,
    cases,
    counted,
    rounds_of,
    too_few_rounds,
)
from bench.report.analysis.validity import Record, invalid_reason
from bench.report.render.markdown import one_line
from bench.stats import timing
from bench.stats.multiple import shared_ranks
from bench.stats.timing import FEWEST_ROUNDS, Ratio

# --- verdicts --------------------------------------------------------------------------------

_FLIPPED = {"faster": "slower", "slower": "faster"}


@attrs.frozen
class CaseRanking:
    """Who is declared faster than whom in one case of a session.

    Attributes:
        ranks: of the variants with enough rounds; ties share a rank.
        left_out: why a variant takes no rank.
        comparisons: size of the family that Holm's correction is for.
        verdicts: by (variant, compared with), in one of the two orders.
        ratios: the same, each with the interval of the level at which Holm tested it.
    """

    ranks: Mapping[str, int]
    left_out: Mapping[str, str]
    comparisons: int
    verdicts: Mapping[tuple[str, str], str]
    ratios: Mapping[tuple[str, str], Ratio | None] = attrs.field(factory=dict)

    def verdict(self, variant: str, other: str) -> str:
        """``faster``, ``slower``, ``tie`` or ``undecided``: the variant against the other."""
        if (variant, other) in self.verdicts:
            return self.verdicts[variant, other]
        found = self.verdicts.get((other, variant), "undecided")
        return _FLIPPED.get(found, found)

    def ratio(self, variant: str, other: str) -> Ratio | None:
        """Speed of the variant ÷ the other's, as it was judged; None where the two were not."""
        if (variant, other) in self.ratios:
            return self.ratios[variant, other]
        found = self.ratios.get((other, variant))
        return None if found is None else found.turned()


@attrs.frozen(eq=False)
class TimingSession:
    """The variants that were timed together, and the control that says how noisy that was.

    Attributes:
        about: the record's ``session``.
        timings: entries by variant and case.
        reference: the baseline's own entries by case.
        control: its entries under its second name, by case.
        records: a record of each variant, valid where there is a valid one.
        invalid: why the numbers of a variant cannot be believed.
    """

    id: str
    about: Mapping[str, Any]
    timings: Mapping[str, Mapping[CaseKey, Mapping[str, Any]]]
    reference: Mapping[CaseKey, Mapping[str, Any]]
    control: Mapping[CaseKey, Mapping[str, Any]]
    baseline: str | None
    records: Mapping[str, Record]
    invalid: Mapping[str, str]
    _standings: dict[CaseKey, CaseRanking] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        invalid: Callable[[Record], str | None] = invalid_reason,
    ) -> list[TimingSession]:
        """One for each session among the records, in their order.

        Args:
            invalid: why a record's numbers cannot be believed, or None.
        """
        groups: dict[str, list[Record]] = {}
        for record in records:
            about = record.get("session")
            if about and record.get("timing"):
                groups.setdefault(str(about.get("id")), []).append(record)
        return [_session(name, group, invalid) for name, group in groups.items()]

    def cases(self) -> list[CaseKey]:
        """The cases that any of the variants was timed in, in their order."""
        return list(dict.fromkeys(case for entries in self.timings.values() for case in entries))

    def rounds(self, variant: str, case: CaseKey) -> dict[int, float]:
        """Seconds of a step by round; empty where there are none that can be believed."""
        if variant in self.invalid:
            return {}
        return rounds_of(self.timings.get(variant, {}).get(case))

    def blocks(self, variant: str, case: CaseKey) -> dict[int, list[float]]:
        """Seconds of a step by round and block; empty where there are none that can be believed."""
        if variant in self.invalid:
            return {}
        return blocks_of(self.timings.get(variant, {}).get(case))

    def ratio(self, variant: str, baseline: str, case: CaseKey) -> Ratio | None:
        """Speed of a variant ÷ that of another, or None where they share no round.

        Where the pair has a verdict, with the interval that belongs to it.
        """
        judged = self.standing(case).ratio(variant, baseline)
        return judged or self.measured_ratio(variant, baseline, case)

    def measured_ratio(self, variant: str, baseline: str, case: CaseKey) -> Ratio | None:
        """The same with an interval of 95 % for this pair alone."""
        return timing.compare_speeds(self.blocks(variant, case), self.blocks(baseline, case))

    def control_ratio(self, case: CaseKey) -> Ratio | None:
        """The baseline under its second name ÷ the baseline: 1, but for the noise."""
        control = self.control.get(case)
        if control is None or self.baseline in self.invalid:
            return None
        return timing.compare_speeds(blocks_of(control), blocks_of(self.reference.get(case)))

    def noise_floor(self, case: CaseKey) -> float | None:
        """Gap between the baseline and itself, relative (0.02 is 2 %); None without a control."""
        return timing.noise_floor(self.control_ratio(case))

    def standing(self, case: CaseKey) -> CaseRanking:
        """Verdicts over all pairs of variants, corrected after Holm, and the ranks they give."""
        if case not in self._standings:
            self._standings[case] = _standing(self, case)
        return self._standings[case]


def _session(
    name: str, records: Sequence[Record], invalid: Callable[[Record], str | None]
) -> TimingSession:
    chosen: dict[str, Record] = {}
    reasons: dict[str, str] = {}
    for record in records:
        variant, reason = variant_of(record), invalid(record)
        # All seeds of a variant carry the same timing: one valid record is enough.
        if variant not in chosen or (variant in reasons and reason is None):
            chosen[variant] = record
            reasons.pop(variant, None)
            if reason is not None:
                reasons[variant] = reason
    about = records[0]["session"]
    control = (about.get("control") or {}).get("timing") or []
    timings = {variant: cases(record["timing"]) for variant, record in chosen.items()}
    return TimingSession(
        id=name,
        about=about,
        timings=timings,
        reference=cases(about.get("reference") or [])
        or timings.get(about.get("baseline") or "", {}),
        control=cases(control),
        baseline=about.get("baseline"),
        records=chosen,
        invalid=reasons,
    )


def _standing(session: TimingSession, case: CaseKey) -> CaseRanking:
    floor = session.noise_floor(case)
    left_out: dict[str, str] = {}
    for name in session.timings:
        reason = _no_rank(session, name, case, floor)
        if reason:
            left_out[name] = reason
    names = [name for name in session.timings if name not in left_out]
    pairs = list(combinations(names, 2))
    measured = [session.measured_ratio(one, two, case) for one, two in pairs]
    verdicts, ratios = timing.judge_ratios(dict(zip(pairs, measured, strict=True)), lambda _: floor)
    standing = CaseRanking({}, left_out, len(pairs), verdicts, ratios)
    ranks = shared_ranks(names, lambda one, two: standing.verdict(one, two) == "faster")
    return attrs.evolve(standing, ranks=ranks)


def _no_rank(session: TimingSession, name: str, case: CaseKey, floor: float | None) -> str | None:
    if name in session.invalid:
        return f"invalid: {session.invalid[name]}"
    rounds = len(session.rounds(name, case))
    if rounds == 0:
        error = session.records[name].get("timing_error")
        return f"not timed in this case{': ' + one_line(error) if error else ''}"
    if rounds < FEWEST_ROUNDS:
        return too_few_rounds(rounds)
    return no_floor(session.control_ratio(case)) if floor is None else None


def no_floor(control: Ratio | None) -> str:
    """Why a case has no noise floor."""
    if control is None:
        return "undecided: no A/A control in this case"
    return f"undecided: the A/A control has {counted(control.rounds, 'round')} of {FEWEST_ROUNDS}"


# --- what a report holds ---------------------------------------------------------------------

_KNOWN: WeakKeyDictionary[Selection, list[TimingSession]] = WeakKeyDictionary()


def sessions_of(selection: Selection) -> list[TimingSession]:
    """The sessions of a report's complete runs; the tables of a report share them."""
    if selection not in _KNOWN:
        _KNOWN[selection] = TimingSession.of(selection.complete(), selection.invalid)
    return _KNOWN[selection]


def newest_with(sessions: Sequence[TimingSession], *names: str) -> TimingSession | None:
    """The last session that timed all of these variants."""
    with_all = [session for session in sessions if all(name in session.timings for name in names)]
    return with_all[-1] if with_all else None


def main_cases(session: TimingSession) -> list[CaseKey]:
    """Latency and throughput of the model alone: all threads, at 224 pixels if timed there.

    One of each for every device, precision and memory format.
    """
    found: dict[tuple[Any, ...], CaseKey] = {}
    for case in session.cases():
        if case.clock != "model":
            continue
        key = (case.device, case.regime, case.dtype, case.memory_format)
        if key not in found or _preferred(case) > _preferred(found[key]):
            found[key] = case
    return list(found.values())


def _preferred(case: CaseKey) -> tuple[bool, int, int]:
    return case.image_size == 224, case.image_size or 0, case.threads or 0


def training_cases(session: TimingSession) -> list[CaseKey]:
    """The cases with a whole training step inside the clock."""
    return [case for case in session.cases() if case.clock == "train"]
