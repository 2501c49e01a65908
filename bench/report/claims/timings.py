"""The timings that a claim about speed can be held against: cases of sessions, as its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from bench.report.analysis.selection import distinct
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import CaseKey, counted
from bench.report.claims.conditions import (
    facts_of_run,
    facts_of_timing,
    has_reduction,
    reduction_of,
    same,
)
from bench.report.claims.judging import Evidence, Figure, joined
from bench.report.claims.quantities import RATIO
from bench.report.claims.statements import Claim
from bench.report.render.markdown import one_line
from bench.stats.timing import FEWEST_ROUNDS, locate

GUIDE_PIXELS = 224
# Metric: what is inside the clock, and the regime.
_TIMED = {
    "inference_speed": ("model", "throughput"),
    "latency": ("model", "latency"),
    "training_speed": ("train", "throughput"),
}


@attrs.frozen(eq=False)
class Timed:
    """A figure from one case of one session, with the conditions that it was timed under.

    Attributes:
        marks: what the session noted against the timing, such as the load of other programs.
    """

    case: CaseKey
    facts: Mapping[str, Any]
    figure: Figure
    rounds: int
    marks: tuple[str, ...] = ()

    def settings(self) -> str:
        """What the claim may have left unstated: ``batch 16, 224 pixels, float32``."""
        text = f"batch {self.case.batch_size}, {self.case.image_size} pixels, {self.case.dtype}"
        plain = self.case.memory_format in (None, "contiguous")
        return text if plain else f"{text}, {self.case.memory_format}"

    def few(self) -> str:
        """Why it has no interval."""
        return f"{counted(self.rounds, 'round')}, an interval needs {FEWEST_ROUNDS}"


def timings_for(claim: Claim, evidence: Evidence) -> Iterator[Timed]:
    """Every case that was timed: the ratio of the two models, or the figure of the one."""
    clock, regime = _TIMED[claim.metric]
    for session in sessions_of(evidence.selection):
        of_runs = _facts_of_runs(claim, session)
        for case in session.cases():
            if case.clock == clock and (case.regime == regime or clock == "train"):
                figure = _figure(claim, session, case)
                if figure is not None:
                    entry = session.timings[claim.variant][case]
                    rounds = session.rounds(claim.variant, case)
                    marks = [*(entry.get("marks") or [])]
                    if claim.form == RATIO:
                        other = claim.against or ""
                        rounds = {
                            number: rounds[number]
                            for number in rounds.keys() & session.rounds(other, case).keys()
                        }
                        marks += session.timings[other][case].get("marks") or []
                    facts = {**of_runs, **facts_of_timing(entry)}
                    lines = tuple(map(one_line, distinct(marks)))
                    yield Timed(case, facts, figure, len(rounds), lines)


def _facts_of_runs(claim: Claim, session: TimingSession) -> dict[str, Any]:
    """The conditions that the timed models had from their runs, as far as the claim states them."""
    wanted = [key for key in ("reduction", "classes", "preset") if key in claim.conditions]
    record = session.records.get(claim.variant)
    if not wanted or record is None:
        return {}
    facts = facts_of_run(record, {})
    other = session.records.get(claim.against or "")
    # A ratio has one reduction where only one of the two models has any.
    if other is not None and not has_reduction(record):
        facts["reduction"] = reduction_of(other)
    return {key: facts[key] for key in wanted}


def _figure(claim: Claim, session: TimingSession, case: CaseKey) -> Figure | None:
    rounds = session.rounds(claim.variant, case)
    if not rounds:
        return None
    machine = _machine(case, session.timings[claim.variant][case])
    number: float
    low: float | None
    high: float | None
    if claim.form == RATIO:
        ratio = session.ratio(claim.variant, claim.against or "", case)
        if ratio is None:
            return None
        number, low, high, count = ratio.ratio, ratio.low, ratio.high, ratio.rounds
        inverse, scale = claim.metric == "latency", 1.0
    else:
        found = locate(list(rounds.values()))
        number, low, high, count = found.median, found.low, found.high, found.rounds
        # Rounds hold seconds of a step: milliseconds keep their sense, images/s turn it round.
        inverse = claim.metric != "latency"
        scale = case.batch_size if inverse else 1000.0
    if inverse:
        number = 1 / number
        low, high = (None if high is None else 1 / high), (None if low is None else 1 / low)
    bounds = [None if bound is None else scale * bound for bound in (low, high)]
    return Figure(
        scale * number, bounds[0], bounds[1], counted(count, "round"), claim.unit, machine
    )


def _machine(case: CaseKey, entry: Mapping[str, Any]) -> str:
    name = one_line(entry.get("device_name") or case.device)
    if case.device != "cpu":
        return name
    return f"{name}, {counted(case.threads, 'thread')}"


def like(claim: Claim, timed: Sequence[Timed]) -> list[Timed]:
    """Those on the claimed device where there are some; of two sessions on one the later."""
    kept = list(timed)
    for key in ("device", "device_name"):
        if key in claim.conditions:
            stated = claim.conditions[key]
            kept = [one for one in kept if same(key, stated, one.facts[key])] or kept
    if "image_size" not in claim.conditions:
        kept = [one for one in kept if one.case.image_size == GUIDE_PIXELS] or kept
    return list({(one.figure.machine, one.case): one for one in kept}.values())


def ordered(timed: Sequence[Timed]) -> list[Timed]:
    """The case that decides comes first: a GPU, float32, channels-last, all threads."""

    def key(one: Timed) -> tuple[Any, ...]:
        case = one.case
        plain = (case.dtype == "float32", case.memory_format == "channels_last")
        return (case.device == "cuda", *plain, case.threads or 0, case.batch_size or 0)

    return sorted(timed, key=key, reverse=True)


def why_none(claim: Claim, evidence: Evidence) -> str:
    """Why there is no timing for a claim."""
    names = [name for name in (claim.variant, claim.against) if name is not None]
    reasons = [evidence.absence(name) for name in names]
    if not any(reasons):
        for name in names:
            record = evidence.selection.chosen(name) or {}
            if record.get("timing_error"):
                reasons.append(f"{name}: timing failed: {one_line(record['timing_error'])}")
            elif (record.get("config") or {}).get("timing") is False:
                reasons.append(f"{name}: timing was off")
    if not any(reasons):
        what = "training step" if claim.metric == "training_speed" else claim.metric
        what = what.replace("_", " ")
        together = " together" if len(names) > 1 else ""
        reasons = [f"no timing session has the {what} of {' and '.join(names)}{together}"]
    return joined([reason for reason in reasons if reason])
