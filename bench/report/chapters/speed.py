"""The tables of timing sessions: one for each case, every variant with interval, verdict, rank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.selection import Selection, caption, distinct
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import (
    RATIO_NOTE,
    CaseKey,
    counted,
    images_text,
    latency_text,
    percent_text,
    ratio_text,
    rounds_of,
    step_seconds,
    too_few_rounds,
)
from bench.report.analysis.values import significant
from bench.report.render.markdown import Table, attributes, one_line
from bench.stats.timing import (
    FEWEST_FOR_P95,
    FEWEST_ROUNDS,
    LEAST_DIFFERENCE,
    Location,
    locate,
)

MOST_FAULTS = 3000
# In the files of tables: p values with and without Holm's correction, and the interval's level.
RATIO = ("ratio", "low", "high", "p_value", "p_adjusted", "level")
RAW = (
    "session", "machine", "variant", "state", *(field.name for field in attrs.fields(CaseKey)),
    "rounds", "seconds_per_step", "seconds_low", "seconds_high", "images_per_s",
    "images_per_s_low", "images_per_s_high", "latency_p95_ms", "latency_steps", "baseline",
    "ratio", "ratio_low", "ratio_high", "p_value", "p_adjusted", "level", "verdict", "rank",
    "noise_floor", "comparisons", "faults_per_step", "measured_at",
)  # fmt: skip


def speed_tables(selection: Selection) -> list[Table]:
    """A table for each case of each session, latency and throughput alike."""
    sessions = sessions_of(selection)
    return [
        _table(session, case, number if len(sessions) > 1 else None)
        for number, session in enumerate(sessions, start=1)
        for case in session.cases()
    ]


def _table(session: TimingSession, case: CaseKey, number: int | None) -> Table:
    kind, figures = "Throughput", ["Images/s, 95 % interval"]
    if case.latency:
        kind, figures = "Latency", ["Latency (ms), 95 % interval", "95th percentile (ms)"]
    ratio = f"Speed ÷ {session.baseline}, interval"
    headers = ["Rank", "Variant", *figures, "Rounds", ratio, "Verdict", "Marks"]

    def position(name: str) -> tuple[bool, float]:
        """Fastest first; what cannot be ranked keeps its place behind."""
        place = location(session, case, name)
        return place is None, place.median if place else 0.0

    order = sorted(session.timings, key=position)
    rows = [_row(session, case, name) for name in order]
    if case in session.control:
        rows.append(_control_row(session, case))
    raw = [_raw(session, case, name) for name in order]
    table_id, title = numbered("speed", f"{kind}: {case.label()}", session, number)
    table_id += f"-{slug(attrs.astuple(case))}"
    return Table(table_id, title, _caption(session, case), headers, rows, (RAW, raw))


def numbered(
    prefix: str, title: str, session: TimingSession, number: int | None
) -> tuple[str, str]:
    """Return id and title of a table, which name the session where there are several."""
    if number is None:
        return prefix, title
    return f"{prefix}-{number}", f"{title} (session {one_line(session.id)})"


def slug(values: Iterable[Any]) -> str:
    """Return values as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, values)).lower()).strip("-")


# --- rows ------------------------------------------------------------------------------------


def location(session: TimingSession, case: CaseKey, name: str) -> Location | None:
    """Return the median of a variant's rounds with its interval, None without a valid round."""
    rounds = session.rounds(name, case)
    return locate(list(rounds.values())) if rounds else None


def _row(session: TimingSession, case: CaseKey, name: str) -> list[str]:
    standing, rounds = session.standing(case), session.rounds(name, case)
    if not rounds:
        reason = standing.left_out.get(name, "")
        return ["n/a", name, *_figures(case, {}), "0", "n/a", f"n/a ({reason})", ""]
    entry, baseline = session.timings[name][case], session.baseline or ""
    ratio, verdict = "1 (reference)", "reference"
    if name != session.baseline:
        ratio = ratio_text(session.ratio(name, baseline, case))
        verdict = verdict_text(session, case, name)
    rank = str(standing.ranks.get(name, "n/a"))
    return [rank, name, *_figures(case, entry), str(len(rounds)), ratio, verdict, marks(entry)]


def _control_row(session: TimingSession, case: CaseKey) -> list[str]:
    entry, ratio = session.control[case], ratio_text(session.control_ratio(case))
    name = one_line(lookup(session.about, "control", "name") or "control (A/A)")
    rounds = str(len(rounds_of(entry)))
    return ["control", name, *_figures(case, entry), rounds, ratio, "noise floor", marks(entry)]


def _figures(case: CaseKey, entry: Mapping[str, Any]) -> list[str]:
    rounds = rounds_of(entry)
    if not rounds:
        return ["n/a"] * (2 if case.latency else 1)
    place = locate(list(rounds.values()))
    if case.latency:
        return [latency_text(place), _tail(entry)]
    return [images_text(place, case.batch_size)]


def _tail(entry: Mapping[str, Any]) -> str:
    """``3.32 (498 steps)``; of too few steps their maximum, which is called so."""
    steps, p95 = step_seconds(entry), entry.get("latency_p95_ms")
    if steps and len(steps) < FEWEST_FOR_P95:
        return f"n/a (maximum of {counted(len(steps), 'step')}: {significant(1000 * max(steps))})"
    return f"{significant(p95)} ({len(steps):,} steps)" if steps and p95 is not None else "n/a"


def verdict_text(
    session: TimingSession, case: CaseKey, variant: str, other: str | None = None
) -> str:
    """``faster``, ``slower``, ``~ tie``, or why nothing is declared.

    Args:
        other: what it is compared with; None: the session's baseline.
    """
    other = other or session.baseline or ""
    standing = session.standing(case)
    verdict = standing.verdict(variant, other)
    if verdict != "undecided":
        return "~ tie" if verdict == "tie" else verdict
    if reason := standing.left_out.get(variant):
        return reason
    if reason := standing.left_out.get(other):
        return f"n/a ({other}: {reason})"
    shared = session.ratio(variant, other, case)
    if shared is None:
        return f"n/a ({other} not timed in this session)"
    return too_few_rounds(shared.rounds)


def marks(entry: Mapping[str, Any]) -> str:
    """What makes an entry's figures doubtful."""
    texts = [one_line(mark) for mark in entry.get("marks") or []]
    faults = entry.get("minor_faults_per_step") or 0
    if faults > MOST_FAULTS and not any("fault" in text for text in texts):
        texts.append(f"{faults:,.0f} page faults a step")
    return "; ".join(texts)


def _raw(session: TimingSession, case: CaseKey, name: str) -> list[Any]:
    standing, baseline = session.standing(case), session.baseline or ""
    entry, place = session.timings[name].get(case) or {}, location(session, case, name)
    steps = step_seconds(entry)
    return [
        session.id, machine(session), name, standing.left_out.get(name, "ranked"),
        *attrs.astuple(case),
        place.rounds if place else 0, *attributes(place, ["median", "low", "high"]),
        *(case.batch_size / seconds if seconds else None
          for seconds in attributes(place, ["median", "high", "low"])),
        entry.get("latency_p95_ms") if place and len(steps) >= FEWEST_FOR_P95 else None,
        len(steps) if place else None, session.baseline,
        *attributes(session.ratio(name, baseline, case), RATIO),
        standing.verdict(name, baseline), standing.ranks.get(name),
        session.noise_floor(case), standing.comparisons, entry.get("minor_faults_per_step"),
        entry.get("measured_at"),
    ]  # fmt: skip


# --- caption ---------------------------------------------------------------------------------


def machine(session: TimingSession) -> str:
    """Whose machine a session ran on."""
    environments = [record.get("environment") or {} for record in session.records.values()]
    names = distinct(env.get("cpu_model") or env.get("device_name") for env in environments)
    marks = distinct(env.get("machine") for env in environments)
    text = ", ".join(map(one_line, names)) or "unrecorded machine"
    return f"{text} (machine {', '.join(map(one_line, marks))})" if marks else text


def _caption(session: TimingSession, case: CaseKey) -> str:
    entries = [entry[case] for entry in session.timings.values() if case in entry]
    devices = distinct(one_line(entry.get("device_name")) for entry in entries)
    inside = distinct(one_line(entry.get("inside_clock")) for entry in entries)
    standing, few = session.standing(case), session.about.get("rounds")
    return caption(
        f"Measured on {', '.join(devices)}, memory format {case.memory_format}. "
        f"Machine: {machine(session)}.",
        f"Inside the clock: {'; '.join(inside)}. {_effort(entries)}",
        RATIO_NOTE,
        _noise(session, case),
        f"Allocator: {'; '.join(distinct(_allocator(entry) for entry in entries))}.",
        *distinct(_tf32(entry) for entry in entries if case.device == "cuda"),
        f"Faster or slower: p below 0.05 after Holm's correction for "
        f"{counted(standing.comparisons, 'comparison')}, and a difference above both "
        f"{100 * LEAST_DIFFERENCE:g} % and the noise floor; otherwise ~ tie, and ranks are shared; "
        "the interval of a ratio is at the level at which Holm tested it."
        if standing.ranks
        else f"No rank and no verdict: {few} of at least {FEWEST_ROUNDS} rounds."
        if isinstance(few, int) and few < FEWEST_ROUNDS
        else "No rank and no verdict: the reason stands in each row.",
        _when(entries),
    )


def _effort(entries: Sequence[Mapping[str, Any]]) -> str:
    rounds = span(len(rounds_of(entry)) for entry in entries)
    parts = [part for entry in entries for part in entry.get("rounds") or []]
    blocks = span(len(part.get("block_seconds") or []) for part in parts)
    steps = span(part.get("steps_per_block") for part in parts)
    warmup = span(entry.get("warmup_steps") for entry in entries)
    return (
        f"Rounds: {rounds}, each one fresh process of every variant with {warmup} untimed warm-up "
        f"steps and {blocks} blocks of {steps} steps, whose median is the round's sample."
    )


def _noise(session: TimingSession, case: CaseKey) -> str:
    ratio, floor = session.control_ratio(case), session.noise_floor(case)
    if ratio is None:
        return "Noise floor: none, the baseline was not timed twice."
    if floor is None:
        rounds = counted(ratio.rounds, "round")
        return f"Noise floor: none, the control has {rounds}, a floor needs {FEWEST_ROUNDS}."
    return (
        f"Noise floor: {percent_text(floor)} % between {session.baseline} and itself "
        f"(A/A, {counted(ratio.rounds, 'round')})."
    )


def _allocator(entry: Mapping[str, Any]) -> str:
    found = dict(entry.get("allocator") or {})
    setting = one_line(found.pop("setting", "not recorded"))
    names = [f"{name}={value}" for name, value in found.items()]
    return one_line(" ".join(names) or setting)


def _tf32(entry: Mapping[str, Any]) -> str:
    state = entry.get("tf32")
    if not isinstance(state, Mapping):
        return "TF32: not recorded."
    where = [name for name, on in state.items() if on]
    return f"TF32 in place of float32: {' and '.join(where) if where else 'nowhere'}."


def _when(entries: Sequence[Mapping[str, Any]]) -> str:
    measured = period(entry.get("measured_at") for entry in entries)
    return f"Measured {measured}." if measured else "Time of measuring not recorded."


def period(times: Iterable[Any]) -> str:
    """Return the first and the last of ISO times, empty where none is recorded."""
    recorded = sorted(str(time) for time in times if time)
    return " to ".join(distinct([recorded[0], recorded[-1]])) if recorded else ""


def span(values: Iterable[Any]) -> str:
    """``10`` or ``8–10``."""
    numbers = [value for value in values if isinstance(value, int)]
    if not numbers:
        return "an unrecorded number of"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"
