"""The tables of timing sessions: one for each case, every variant with interval, verdict, rank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

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
from bench.report.render.markdown import Table, one_line
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
    tables = []
    for number, session in enumerate(sessions, start=1):
        prefix = f"speed-{number}" if len(sessions) > 1 else "speed"
        for case in session.cases():
            tables.append(_table(session, case, prefix, several=len(sessions) > 1))
    return tables


def _table(session: TimingSession, case: CaseKey, prefix: str, *, several: bool) -> Table:
    values = attrs.astuple(case)
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, values)).lower()).strip("-")
    title = f"{'Latency' if case.latency else 'Throughput'}: {case.label()}"
    if several:
        title += f" (session {one_line(session.id)})"
    headers = ["Rank", "Variant"]
    if case.latency:
        headers += ["Latency (ms), 95 % interval", "95th percentile (ms)"]
    else:
        headers += ["Images/s, 95 % interval"]
    headers += ["Rounds", f"Speed ÷ {session.baseline}, interval", "Verdict", "Marks"]
    order = _order(session, case)
    rows = [_row(session, case, name) for name in order]
    if case in session.control:
        rows.append(_control_row(session, case))
    raw = [list(_raw(session, case, name).values()) for name in order]
    return Table(f"{prefix}-{slug}", title, _caption(session, case), headers, rows, (RAW, raw))


def _order(session: TimingSession, case: CaseKey) -> list[str]:
    """Fastest first; what cannot be ranked keeps its place behind."""

    def key(name: str) -> tuple[bool, float]:
        rounds = session.rounds(name, case)
        return (not rounds, locate(list(rounds.values())).median if rounds else 0.0)

    return sorted(session.timings, key=key)


# --- rows ------------------------------------------------------------------------------------


def _row(session: TimingSession, case: CaseKey, name: str) -> list[str]:
    standing = session.standing(case)
    rounds = session.rounds(name, case)
    reason = standing.left_out.get(name, "")
    if not rounds:
        empty = ["n/a"] * (2 if case.latency else 1)
        return ["n/a", name, *empty, "0", "n/a", f"n/a ({reason})", ""]
    entry = session.timings[name][case]
    cells = [str(standing.ranks.get(name, "n/a")), name, *_figures(case, entry)]
    cells.append(str(len(rounds)))
    if name == session.baseline:
        return [*cells, "1 (reference)", "reference", marks(entry)]
    ratio = session.ratio(name, session.baseline or "", case)
    return [*cells, ratio_text(ratio), verdict_text(session, case, name), marks(entry)]


def _control_row(session: TimingSession, case: CaseKey) -> list[str]:
    entry, ratio = session.control[case], session.control_ratio(case)
    name = one_line((session.about.get("control") or {}).get("name") or "control (A/A)")
    figures = _figures(case, entry)
    cells = ["control", name, *figures, str(len(rounds_of(entry)))]
    return [*cells, ratio_text(ratio), "noise floor", marks(entry)]


def _figures(case: CaseKey, entry: Mapping[str, Any]) -> list[str]:
    found = locate(list(rounds_of(entry).values())) if rounds_of(entry) else None
    if found is None:
        return ["n/a"] * (2 if case.latency else 1)
    if case.latency:
        return [latency_text(found), _tail(entry)]
    return [images_text(found, case.batch_size)]


def _tail(entry: Mapping[str, Any]) -> str:
    """``3.32 (498 steps)``; of too few steps their maximum, which is called so."""
    steps = step_seconds(entry)
    if not steps:
        return "n/a"
    if len(steps) < FEWEST_FOR_P95:
        return f"n/a (maximum of {counted(len(steps), 'step')}: {significant(1000 * max(steps))})"
    p95 = entry.get("latency_p95_ms")
    return "n/a" if p95 is None else f"{significant(p95)} ({len(steps):,} steps)"


def verdict_text(
    session: TimingSession, case: CaseKey, variant: str, other: str | None = None
) -> str:
    """``faster``, ``slower``, ``~ tie``, or why nothing is declared.

    Args:
        other: what it is compared with; None: the session's baseline.
    """
    other = other or session.baseline or ""
    standing = session.standing(case)
    found = standing.verdict(variant, other)
    if found != "undecided":
        return "~ tie" if found == "tie" else found
    for name in (variant, other):
        reason = standing.left_out.get(name)
        if reason:
            return reason if name == variant else f"n/a ({name}: {reason})"
    shared = session.ratio(variant, other, case)
    if shared is None:
        return f"n/a ({other} not timed in this session)"
    return too_few_rounds(shared.rounds)


def marks(entry: Mapping[str, Any]) -> str:
    """What makes an entry's figures doubtful."""
    found = [one_line(mark) for mark in entry.get("marks") or []]
    faults = entry.get("minor_faults_per_step") or 0
    if faults > MOST_FAULTS and not any("fault" in mark for mark in found):
        found.append(f"{faults:,.0f} page faults a step")
    return "; ".join(found)


def _raw(session: TimingSession, case: CaseKey, name: str) -> dict[str, Any]:
    standing, rounds = session.standing(case), session.rounds(name, case)
    entry = session.timings[name].get(case) or {}
    steps = step_seconds(entry)
    found = locate(list(rounds.values())) if rounds else Location(float("nan"), None, None, 0)
    ratio = session.ratio(name, session.baseline or "", case)
    batch, low, high = case.batch_size, found.low, found.high
    values = (
        session.id, machine(session), name, standing.left_out.get(name, "ranked"),
        *attrs.astuple(case),
        found.rounds, found.median if rounds else None, low, high,
        batch / found.median if rounds else None,
        batch / high if high else None, batch / low if low else None,
        entry.get("latency_p95_ms") if rounds and len(steps) >= FEWEST_FOR_P95 else None,
        len(steps) if rounds else None, session.baseline,
        *(getattr(ratio, key, None) for key in RATIO),
        standing.verdict(name, session.baseline or ""), standing.ranks.get(name),
        session.noise_floor(case), standing.comparisons, entry.get("minor_faults_per_step"),
        entry.get("measured_at"),
    )  # fmt: skip
    return dict(zip(RAW, values, strict=True))


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
    times = sorted(str(entry["measured_at"]) for entry in entries if entry.get("measured_at"))
    if not times:
        return "Time of measuring not recorded."
    return (
        f"Measured {times[0]}." if times[0] == times[-1] else f"Measured {times[0]} to {times[-1]}."
    )


def span(values: Iterable[Any]) -> str:
    """``10`` or ``8–10``."""
    numbers = [value for value in values if isinstance(value, int)]
    if not numbers:
        return "an unrecorded number of"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"
