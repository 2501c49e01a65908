"""Modes of inference in a timing session: each against the same variant's eager run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

import attrs

from bench.config.options import INEXACT_MODES, MODES
from bench.records.schema import lookup
from bench.report.analysis.selection import distinct
from bench.report.analysis.speeds import TimingSession, no_floor
from bench.report.analysis.timings import EAGER, TimingKey, mode_of, rounds_of, too_few_rounds
from bench.report.render.markdown import one_line
from bench.stats import timing
from bench.stats.multiple import Family
from bench.stats.timing import FEWEST_ROUNDS, Ratio

Entry = Mapping[str, Any]
VariantMode = tuple[str, str]


@attrs.frozen
class Setting(TimingKey):
    """What the modes of a table share; their memory formats differ."""

    device: str
    image_size: int
    threads: int
    dtype: str


def settings_of(session: TimingSession) -> list[Setting]:
    """Return the settings in which the session timed another mode than eager."""
    return distinct(
        Setting.of(entry)
        for record in session.records.values()
        for entry in record["timing"]
        if mode_of(entry) != EAGER
    )


@attrs.frozen(eq=False, slots=False)
class ModeTimings:
    """The modes of every variant of a session, in one setting and regime.

    Attributes:
        session: what they were timed in.
        entries: of the records, by variant and mode.
        reference, control: of the baseline under its two names, by mode.
    """

    session: TimingSession
    entries: Mapping[VariantMode, Entry]
    reference: Mapping[str, Entry]
    control: Mapping[str, Entry]

    @classmethod
    def of(cls, session: TimingSession, setting: Setting, regime: str) -> ModeTimings:
        """Return those of a session.

        Args:
            regime: "latency" or "throughput".
        """

        def by_mode(entries: Iterable[Entry]) -> dict[str, Entry]:
            return {
                mode_of(entry): entry
                for entry in entries
                if entry.get("clock") == "model"
                and entry.get("regime") == regime
                and Setting.of(entry) == setting
            }

        records, about = session.records, session.about
        entries = {
            (variant, mode): entry
            for variant, record in records.items()
            for mode, entry in by_mode(record["timing"]).items()
        }
        reference = about.get("reference") or lookup(records, session.baseline or "", "timing")
        control = lookup(about, "control", "timing")
        return cls(session, entries, by_mode(reference or []), by_mode(control or []))

    def modes(self, variant: str) -> list[str]:
        """Return the modes that a variant has an entry of, in the order of the option."""
        modes = [mode for name, mode in self.entries if name == variant]
        return sorted(modes, key=lambda mode: MODES.index(mode) if mode in MODES else len(MODES))

    def rounds(self, variant: str, mode: str) -> dict[int, float]:
        """Return seconds of a step by round; empty where there are none that can be believed."""
        entry = self.entries.get((variant, mode))
        if entry is None or entry.get("mode_error") or variant in self.session.invalid:
            return {}
        return rounds_of(entry)

    def ratio(self, variant: str, mode: str, other: str = EAGER) -> Ratio | None:
        """Return speed of a mode ÷ that of another mode of the same variant.

        Where the pair has a verdict, with the interval that belongs to it.
        """
        pair = (variant, mode), (variant, other)
        return self.family.pair(*pair) or self._measured(*pair)

    def _measured(self, one: VariantMode, two: VariantMode) -> Ratio | None:
        return timing.compare_speeds(self.rounds(*one), self.rounds(*two))

    def control_ratio(self, mode: str) -> Ratio | None:
        """Return the baseline under its second name ÷ itself, both in one mode."""
        if self.session.baseline in self.session.invalid:
            return None
        entries = [self.control.get(mode), self.reference.get(mode)]
        if any(entry is None or entry.get("mode_error") for entry in entries):
            return None
        return timing.compare_speeds(*map(rounds_of, entries))

    def floor(self, *modes: str) -> float | None:
        """Return the noise floor of a comparison: the largest gap of the baseline to itself.

        Eager's always counts, so that there is none without it.
        """
        gaps = [timing.noise_floor(self.control_ratio(mode)) for mode in (EAGER, *modes)]
        return None if gaps[0] is None else max(gap for gap in gaps if gap is not None)

    # --- verdicts ----------------------------------------------------------------------------

    @cached_property
    def family(self) -> Family[VariantMode, Ratio]:
        """All pairs of modes of all variants, corrected after Holm."""
        pairs = [
            ((variant, one), (variant, two))
            for variant in distinct(name for name, _ in self.entries)
            for one, two in combinations(self._ranked(variant), 2)
        ]
        ratios = {pair: self._measured(*pair) for pair in pairs}
        return timing.judge_ratios(ratios, lambda pair: self.floor(*(mode for _, mode in pair)))

    @property
    def comparisons(self) -> int:
        """Size of the family that Holm's correction is for."""
        return len(self.family.pairs)

    def _ranked(self, variant: str) -> list[str]:
        if self.floor() is None:
            return []
        return [
            mode for mode in self.modes(variant) if len(self.rounds(variant, mode)) >= FEWEST_ROUNDS
        ]

    def best(self, variant: str) -> list[str]:
        """Return the modes that no other mode of the variant is declared faster than.

        Of those that compute what the variant computes.
        """
        ranked = [(variant, mode) for mode in self._ranked(variant) if mode not in INEXACT_MODES]
        if len(ranked) < 2:
            return []
        return [
            mode for (_, mode), rank in self.family.ranks(ranked, "faster").items() if rank == 1
        ]

    def verdict(self, variant: str, mode: str) -> str:
        """Return ``faster``, ``slower``, ``~ tie`` against eager, or why there is no verdict."""
        if variant in self.session.invalid:
            return f"n/a (invalid: {self.session.invalid[variant]})"
        entry = self.entries.get((variant, mode)) or {}
        if entry.get("mode_error"):
            return f"n/a ({one_line(entry['mode_error'])})"
        if not self.rounds(variant, mode):
            return "n/a (not timed in this case)"
        if mode == EAGER:
            return "reference"
        verdict = self.family.verdict((variant, mode), (variant, EAGER))
        if verdict != "undecided":
            return "~ tie" if verdict == "tie" else verdict
        shared = self.ratio(variant, mode)
        if shared is None:
            return "n/a (eager was not timed)"
        if shared.rounds < FEWEST_ROUNDS:
            return too_few_rounds(shared.rounds)
        return no_floor(self.control_ratio(EAGER))
