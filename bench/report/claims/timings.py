"""The timings that a claim about speed can be held against: cases of sessions, as its figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, distinct
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import GUIDE_PIXELS, CaseKey
from bench.report.claims.conditions import (
    OF_THE_WEIGHTS,
    differing,
    facts_of_run,
    facts_of_timing,
    has_reduction,
    reduction_of,
    same,
)
from bench.report.claims.judging import Figure, joined, missing_reason
from bench.report.claims.quantities import RATIO
from bench.report.claims.statements import Claim
from bench.report.render.markdown import one_line
from bench.stats.timing import locate
from bench.system.digits import counted

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
    marks: Sequence[str]

    def settings(self) -> str:
        """Return what the claim may have left unstated: ``batch 16, 224 pixels, float32``."""
        text = f"batch {self.case.batch_size}, {self.case.image_size} pixels, {self.case.dtype}"
        plain = self.case.memory_format in (None, "contiguous")
        return text if plain else f"{text}, {self.case.memory_format}"

    def marked(self) -> str:
        """Return what the session noted against it."""
        return f"marked: {', '.join(self.marks)}" if self.marks else ""

    def differs(self, claim: Claim, without: Collection[str] = ()) -> list[str]:
        """Return the claim's conditions that it was not timed under, some left out."""
        return differing(claim.conditions, self.facts, speed_exempt(self.case.device, without))


def speed_exempt(device: str, without: Collection[str] = ()) -> list[str]:
    """Return the conditions that have no part in a speed on a device, and those left out."""
    return [*OF_THE_WEIGHTS, *without, *(["threads"] if device != "cpu" else [])]


def timings_for(claim: Claim, selection: Selection) -> Iterator[Timed]:
    """Yield every case that was timed: the ratio of the two models, or the figure of the one."""
    clock, regime = _TIMED[claim.metric]
    names = [claim.variant, claim.against or ""][: 2 if claim.form == RATIO else 1]
    for session in sessions_of(selection):
        run_facts = _facts_of_runs(claim, session)
        for case in session.cases():
            if case.clock != clock or (clock != "train" and case.regime != regime):
                continue
            figure = _figure(claim, session, case)
            if figure is not None:
                entries = [session.timings[name][case] for name in names]
                marks = distinct(mark for entry in entries for mark in entry.get("marks") or [])
                facts = {**run_facts, **facts_of_timing(entries[0])}
                yield Timed(case, facts, figure, [one_line(mark) for mark in marks])


def _facts_of_runs(claim: Claim, session: TimingSession) -> dict[str, Any]:
    """Return the stated conditions that the timed models had from their runs."""
    wanted = [key for key in ("reduction", "classes", "preset") if key in claim.conditions]
    record = session.records.get(claim.variant)
    if not wanted or record is None:
        return {}
    facts = facts_of_run(record)
    other = session.records.get(claim.against or "")
    # A ratio has one reduction where only one of the two models has any.
    if other is not None and not has_reduction(record):
        facts["reduction"] = reduction_of(other)
    return {key: facts[key] for key in wanted}


def _figure(claim: Claim, session: TimingSession, case: CaseKey) -> Figure | None:
    rounds = session.rounds(claim.variant, case)
    if not rounds:
        return None
    scale = 1.0
    if claim.form == RATIO:
        ratio = session.ratio(claim.variant, claim.against or "", case)
        if ratio is None:
            return None
        number, low, high, count = ratio.ratio, ratio.low, ratio.high, ratio.rounds
        inverse = claim.metric == "latency"
    else:
        location = locate(list(rounds.values()))
        number, low, high, count = location.median, location.low, location.high, location.rounds
        # Rounds hold seconds of a step: milliseconds keep their sense, images/s turn it round.
        inverse = claim.metric != "latency"
        scale = case.batch_size if inverse else 1000.0
    if inverse:
        number, low, high = 1 / number, high and 1 / high, low and 1 / low
    low, high = low and scale * low, high and scale * high
    machine = one_line(session.timings[claim.variant][case].get("device_name") or case.device)
    if case.device == "cpu":
        machine += f", {counted(case.threads, 'thread')}"
    return Figure(scale * number, low, high, counted(count, "round"), claim.unit, machine)


def nearest(claim: Claim, timed: Sequence[Timed]) -> list[Timed]:
    """Return those on the claimed device, if any, ordered; of two sessions on one the later."""
    for key in ("device", "device_name"):
        if key in claim.conditions:
            stated = claim.conditions[key]
            timed = [each for each in timed if same(key, stated, each.facts[key])] or timed
    if "image_size" not in claim.conditions:
        timed = [each for each in timed if each.case.image_size == GUIDE_PIXELS] or timed
    latest = {(each.figure.machine, each.case): each for each in timed}
    return ordered(latest.values())


def ordered(timed: Iterable[Timed]) -> list[Timed]:
    """Return the case that decides first: a GPU, float32, channels-last, all threads."""

    def key(each: Timed) -> tuple[Any, ...]:
        case = each.case
        plain = (case.dtype == "float32", case.memory_format == "channels_last")
        return (case.device == "cuda", *plain, case.threads or 0, case.batch_size or 0)

    return sorted(timed, key=key, reverse=True)


def untimed_reason(claim: Claim, selection: Selection) -> str:
    """Return why there is no timing for a claim."""
    names = [name for name in (claim.variant, claim.against) if name is not None]
    reasons = [reason for name in names if (reason := missing_reason(selection, name))]
    for name in names if not reasons else ():
        record = selection.chosen(name) or {}
        if record.get("timing_error"):
            reasons.append(f"{name}: timing failed: {one_line(record['timing_error'])}")
        elif lookup(record, "config", "timing") is False:
            reasons.append(f"{name}: timing was off")
    if not reasons:
        quantity = "training step" if claim.metric == "training_speed" else claim.metric
        together = " together" if len(names) > 1 else ""
        timed = f"{quantity.replace('_', ' ')} of {' and '.join(names)}{together}"
        reasons = [f"no timing session has the {timed}"]
    return joined(*reasons)
