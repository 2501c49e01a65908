"""Timing sessions read from records: ratios round by round, verdicts and shared ranks.

Only variants of one session are ever compared: sessions differ in machine, load and day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, variant_of
from bench.report.analysis.timings import (
    CaseKey,
    blocks_of,
    cases,
    counted,
    medians,
    too_few_rounds,
)
from bench.report.analysis.validity import Record, invalid_reason, once
from bench.report.render.markdown import one_line
from bench.stats import timing
from bench.stats.multiple import Family
from bench.stats.timing import FEWEST_ROUNDS, Ratio

# --- verdicts --------------------------------------------------------------------------------


@attrs.frozen
class CaseRanking:
    """Who is declared faster than whom in one case of a session.

    Attributes:
        family: the ratio of every pair, each with its verdict and the interval of the level at
            which Holm tested it.
        ranks: of the variants with enough rounds; ties share a rank.
        left_out: why a variant takes no rank.
    """

    family: Family[str, Ratio]
    ranks: Mapping[str, int]
    left_out: Mapping[str, str]

    @property
    def comparisons(self) -> int:
        """Size of the family that Holm's correction is for."""
        return len(self.family.pairs)

    def verdict(self, variant: str, other: str) -> str:
        """Return ``faster``, ``slower``, ``tie`` or ``undecided``: variant against other."""
        return self.family.verdict(variant, other)


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
        results: what :func:`once` computed.
    """

    id: str
    about: Mapping[str, Any]
    timings: Mapping[str, Mapping[CaseKey, Mapping[str, Any]]]
    reference: Mapping[CaseKey, Mapping[str, Any]]
    control: Mapping[CaseKey, Mapping[str, Any]]
    baseline: str | None
    records: Mapping[str, Record]
    invalid: Mapping[str, str]
    results: dict[Any, Any] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        invalid: Callable[[Record], str | None] = invalid_reason,
    ) -> list[TimingSession]:
        """Return one for each session among the records, in their order.

        Args:
            invalid: why a record's numbers cannot be believed, or None.
        """
        groups: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.get("session") and record.get("timing"):
                groups[str(record["session"].get("id"))].append(record)
        return [_session(name, group, invalid) for name, group in groups.items()]

    def cases(self) -> list[CaseKey]:
        """Return the cases that any of the variants was timed in, in their order."""
        return list(dict.fromkeys(case for entries in self.timings.values() for case in entries))

    def rounds(self, variant: str, case: CaseKey) -> dict[int, float]:
        """Return seconds of a step by round; empty where there are none that can be believed."""
        return medians(self.blocks(variant, case))

    def blocks(self, variant: str, case: CaseKey) -> dict[int, list[float]]:
        """Return seconds of a step by round and block; empty where none can be believed."""
        if variant in self.invalid:
            return {}
        return blocks_of(self.timings.get(variant, {}).get(case))

    def ratio(self, variant: str, baseline: str, case: CaseKey) -> Ratio | None:
        """Return speed of a variant ÷ that of another, or None where they share no round.

        Where the pair has a verdict, with the interval that belongs to it.
        """
        judged = self.standing(case).family.pair(variant, baseline)
        return judged or self.measured_ratio(variant, baseline, case)

    def measured_ratio(self, variant: str, baseline: str, case: CaseKey) -> Ratio | None:
        """Return the same with an interval of 95 % for this pair alone."""
        return timing.compare_speeds(self.blocks(variant, case), self.blocks(baseline, case))

    def control_ratio(self, case: CaseKey) -> Ratio | None:
        """Return the baseline under its second name ÷ the baseline: 1, but for the noise."""
        control = self.control.get(case)
        if control is None or self.baseline in self.invalid:
            return None
        return timing.compare_speeds(blocks_of(control), blocks_of(self.reference.get(case)))

    def noise_floor(self, case: CaseKey) -> float | None:
        """Return the baseline's relative gap to itself (0.02 is 2 %); None without a control."""
        return timing.noise_floor(self.control_ratio(case))

    @once
    def standing(self, case: CaseKey) -> CaseRanking:
        """Judge all pairs of variants, corrected after Holm, and rank the variants."""
        floor = self.noise_floor(case)
        reasons = {name: _no_rank(self, name, case, floor) for name in self.timings}
        left_out = {name: reason for name, reason in reasons.items() if reason}
        names = [name for name in self.timings if name not in left_out]
        ratios = {pair: self.measured_ratio(*pair, case) for pair in combinations(names, 2)}
        family = timing.judge_ratios(ratios, lambda _: floor)
        return CaseRanking(family, family.ranks(names, "faster"), left_out)


def _session(
    name: str, records: Sequence[Record], invalid: Callable[[Record], str | None]
) -> TimingSession:
    chosen: dict[str, Record] = {}
    reasons: dict[str, str | None] = {}
    for record in records:
        variant, reason = variant_of(record), invalid(record)
        # All seeds of a variant carry the same timing: one valid record is enough.
        if variant not in chosen or (reasons[variant] and not reason):
            chosen[variant], reasons[variant] = record, reason
    about = records[0]["session"]
    timings = {variant: cases(record["timing"]) for variant, record in chosen.items()}
    return TimingSession(
        id=name,
        about=about,
        timings=timings,
        reference=cases(about.get("reference") or [])
        or timings.get(about.get("baseline") or "", {}),
        control=cases(lookup(about, "control", "timing") or []),
        baseline=about.get("baseline"),
        records=chosen,
        invalid={variant: reason for variant, reason in reasons.items() if reason is not None},
    )


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
    """Return why a case has no noise floor."""
    if control is None:
        return "undecided: no A/A control in this case"
    return f"undecided: the A/A control has {counted(control.rounds, 'round')} of {FEWEST_ROUNDS}"


# --- what a report holds ---------------------------------------------------------------------


@once
def sessions_of(selection: Selection) -> list[TimingSession]:
    """Return the sessions of a report's complete runs; the tables of a report share them."""
    return TimingSession.of(selection.complete(), selection.invalid)


def newest_with(sessions: Sequence[TimingSession], *names: str) -> TimingSession | None:
    """Return the last session that timed all of these variants."""
    with_all = (one for one in reversed(sessions) if all(name in one.timings for name in names))
    return next(with_all, None)


def main_cases(session: TimingSession) -> list[CaseKey]:
    """Return latency and throughput of the model alone: all threads, at 224 pixels if timed.

    One of each for every device, precision and memory format.
    """
    alike: defaultdict[tuple[str, ...], list[CaseKey]] = defaultdict(list)
    for case in session.cases():
        if case.clock == "model":
            alike[case.device, case.regime, case.dtype, case.memory_format].append(case)
    return [max(group, key=_preferred) for group in alike.values()]


def _preferred(case: CaseKey) -> tuple[bool, int, int]:
    return case.image_size == 224, case.image_size or 0, case.threads or 0


def training_cases(session: TimingSession) -> list[CaseKey]:
    """Return the cases with a whole training step inside the clock."""
    return [case for case in session.cases() if case.clock == "train"]
