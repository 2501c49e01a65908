"""Modes of inference in a timing session: each against the same variant's eager run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

import attrs

from bench.config.options import INEXACT_MODES, MODES
from bench.report.analysis.selection import distinct
from bench.report.analysis.speeds import TimingSession, no_floor
from bench.report.analysis.timings import EAGER, mode_of, rounds_of, too_few_rounds
from bench.report.render.markdown import one_line
from bench.stats import timing
from bench.stats.multiple import shared_ranks
from bench.stats.timing import FEWEST_ROUNDS, Ratio

Entry = Mapping[str, Any]


@attrs.frozen
class Setting:
    """What the modes of a table share; their memory formats differ."""

    device: str
    image_size: int
    threads: int
    dtype: str

    @classmethod
    def of(cls, entry: Entry) -> Setting:
        """The setting of a record's timing entry."""
        values: dict[str, Any] = {field.name: entry.get(field.name) for field in attrs.fields(cls)}
        return cls(**values)


def settings_of(session: TimingSession) -> list[Setting]:
    """The settings in which the session timed another mode than eager."""
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
    entries: Mapping[tuple[str, str], Entry]
    reference: Mapping[str, Entry]
    control: Mapping[str, Entry]

    @classmethod
    def of(cls, session: TimingSession, setting: Setting, regime: str) -> ModeTimings:
        """Those of a session.

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

        found = {
            (variant, mode): entry
            for variant, record in session.records.items()
            for mode, entry in by_mode(record["timing"]).items()
        }
        about, baseline = session.about, session.records.get(session.baseline or "")
        reference = about.get("reference") or (baseline or {}).get("timing") or []
        control = (about.get("control") or {}).get("timing") or []
        return cls(session, found, by_mode(reference), by_mode(control))

    def modes(self, variant: str) -> list[str]:
        """The modes that a variant has an entry of, in the order of the option."""
        known = [mode for name, mode in self.entries if name == variant]
        return sorted(known, key=lambda mode: MODES.index(mode) if mode in MODES else len(MODES))

    def rounds(self, variant: str, mode: str) -> dict[int, float]:
        """Seconds of a step by round; empty where there are none that can be believed."""
        entry = self.entries.get((variant, mode))
        if entry is None or entry.get("mode_error") or variant in self.session.invalid:
            return {}
        return rounds_of(entry)

    def ratio(self, variant: str, mode: str, other: str = EAGER) -> Ratio | None:
        """Speed of a mode ÷ that of another mode of the same variant.

        Where the pair has a verdict, with the interval that belongs to it.
        """
        judged = self._judged[1].get((variant, mode, other))
        if judged is None and (turned := self._judged[1].get((variant, other, mode))) is not None:
            judged = turned.turned()
        return judged or self._measured(variant, mode, other)

    def _measured(self, variant: str, mode: str, other: str) -> Ratio | None:
        return timing.compare_speeds(self.rounds(variant, mode), self.rounds(variant, other))

    def control_ratio(self, mode: str) -> Ratio | None:
        """The baseline under its second name ÷ itself, both in one mode."""
        if self.session.baseline in self.session.invalid:
            return None
        known = [self.control.get(mode), self.reference.get(mode)]
        if any(entry is None or entry.get("mode_error") for entry in known):
            return None
        return timing.compare_speeds(*map(rounds_of, known))

    def floor(self, *modes: str) -> float | None:
        """The noise floor of a comparison: the largest gap of the baseline to itself.

        Eager's always counts, so that there is none without it.
        """
        if timing.noise_floor(self.control_ratio(EAGER)) is None:
            return None
        gaps = [timing.noise_floor(self.control_ratio(mode)) for mode in (EAGER, *modes)]
        return max(gap for gap in gaps if gap is not None)

    # --- verdicts ----------------------------------------------------------------------------

    @cached_property
    def _judged(
        self,
    ) -> tuple[dict[tuple[str, str, str], str], dict[tuple[str, str, str], Ratio | None]]:
        """By variant, mode and other mode: all pairs of all variants, corrected after Holm."""
        pairs = [
            (variant, one, two)
            for variant in distinct(name for name, _ in self.entries)
            for one, two in combinations(self._ranked(variant), 2)
        ]
        measured = {pair: self._measured(*pair) for pair in pairs}
        return timing.judge_ratios(measured, lambda pair: self.floor(*pair[1:]))

    @cached_property
    def verdicts(self) -> dict[tuple[str, str, str], str]:
        """By variant, mode and other mode, in both orders."""
        words = {"faster": "slower", "slower": "faster"}
        found = self._judged[0]
        turned = {(name, b, a): words.get(word, word) for (name, a, b), word in found.items()}
        return {**found, **turned}

    @property
    def comparisons(self) -> int:
        """Size of the family that Holm's correction is for."""
        return len(self.verdicts) // 2

    def _ranked(self, variant: str) -> list[str]:
        enough = [
            mode for mode in self.modes(variant) if len(self.rounds(variant, mode)) >= FEWEST_ROUNDS
        ]
        return [] if self.floor() is None else enough

    def best(self, variant: str) -> list[str]:
        """The modes that no other mode of the variant is declared faster than.

        Of those that compute what the variant computes.
        """
        ranked = [mode for mode in self._ranked(variant) if mode not in INEXACT_MODES]
        if len(ranked) < 2:
            return []
        ranks = shared_ranks(
            ranked, lambda one, two: self.verdicts.get((variant, one, two)) == "faster"
        )
        return [mode for mode, rank in ranks.items() if rank == 1]

    def verdict(self, variant: str, mode: str) -> str:
        """``faster``, ``slower``, ``~ tie`` against eager, or why there is no verdict."""
        entry = self.entries.get((variant, mode)) or {}
        if variant in self.session.invalid:
            return f"n/a (invalid: {self.session.invalid[variant]})"
        if entry.get("mode_error"):
            return f"n/a ({one_line(entry['mode_error'])})"
        rounds = self.rounds(variant, mode)
        if not rounds:
            return "n/a (not timed in this case)"
        if mode == EAGER:
            return "reference"
        found = self.verdicts.get((variant, mode, EAGER), "undecided")
        if found != "undecided":
            return "~ tie" if found == "tie" else found
        shared = self.ratio(variant, mode)
        if shared is None:
            return "n/a (eager was not timed)"
        if shared.rounds < FEWEST_ROUNDS:
            return too_few_rounds(shared.rounds)
        return no_floor(self.control_ratio(EAGER))
