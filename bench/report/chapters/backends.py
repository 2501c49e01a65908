"""The tables of inference modes: what eager, folded, compiled and exported models do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from bench.config.options import INEXACT_MODES
from bench.report.analysis.backends import Entry, ModeTimings, Setting, settings_of
from bench.report.analysis.selection import Selection, caption, distinct
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import (
    EAGER,
    RATIO_NOTE,
    counted,
    images_text,
    latency_text,
    mode_of,
    percent_text,
    ratio_text,
    rounds_of,
)
from bench.report.analysis.values import significant
from bench.report.chapters.speed import RATIO, machine, marks
from bench.report.render.markdown import Table, one_line
from bench.stats.timing import LEAST_DIFFERENCE, Location, locate

REGIMES = ("throughput", "latency")
SECONDS = {
    "compile_s": "compiled", "export_s": "exported", "quantise_s": "quantised", "load_s": "loaded",
}  # fmt: skip
RAW = (
    "session", "machine", "variant", "mode", "regime",
    *(field.name for field in attrs.fields(Setting)), "batch_size", "memory_format",
    "rounds", "seconds_per_step", "seconds_low", "seconds_high", "ratio_to_eager", "ratio_low",
    "ratio_high", "p_value", "p_adjusted", "level", "verdict", "best", "noise_floor", "comparisons",
    *SECONDS, "max_difference", "max_relative_difference", "size_mb", "error",
)  # fmt: skip


def mode_tables(selection: Selection) -> list[Table]:
    """A table for each setting in which a session timed several modes."""
    sessions = sessions_of(selection)
    return [
        _table(session, setting, number if len(sessions) > 1 else None)
        for number, session in enumerate(sessions, start=1)
        for setting in settings_of(session)
    ]


def _table(session: TimingSession, setting: Setting, number: int | None) -> Table:
    found = {regime: ModeTimings.of(session, setting, regime) for regime in REGIMES}
    parts = ["CPU" if setting.device == "cpu" else "GPU", f"{setting.image_size} pixels"]
    if setting.device == "cpu":
        parts.append(counted(setting.threads, "thread"))
    title = f"How a model is run: {', '.join([*parts, one_line(setting.dtype)])}"
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, attrs.astuple(setting))).lower())
    prefix = "modes"
    if number is not None:
        title += f" (session {one_line(session.id)})"
        prefix += f"-{number}"
    batches = distinct(entry.get("batch_size") for entry in found["throughput"].entries.values())
    batch = " or ".join(map(str, batches)) or "unrecorded"
    headers = [
        "Variant", "Mode",
        f"Images/s at batch {batch}, 95 % interval", "Speed ÷ own eager", "Verdict",
        "Latency at batch 1 (ms), 95 % interval", "1 ÷ latency, ÷ own eager", "Verdict (latency)",
        "Largest difference of outputs", "Before the first image (s)", "Marks",
    ]  # fmt: skip
    pairs = distinct(
        (name, mode)
        for name in session.records
        for regime in REGIMES
        for mode in found[regime].modes(name)
    )
    rows = [_row(found, name, mode) for name, mode in pairs]
    raw = [
        list(_raw(found[regime], setting, regime, *pair).values())
        for pair in pairs
        for regime in REGIMES
        if pair in found[regime].entries
    ]
    text = _caption(session, found)
    return Table(f"{prefix}-{slug.strip('-')}", title, text, headers, rows, (RAW, raw))


# --- rows ------------------------------------------------------------------------------------


def _row(found: Mapping[str, ModeTimings], name: str, mode: str) -> list[str]:
    cells = [name, mode]
    entries = [found[regime].entries.get((name, mode)) or {} for regime in REGIMES]
    for regime, entry in zip(REGIMES, entries, strict=True):
        cells += _figures(found[regime], name, mode, entry, latency=regime == "latency")
    facts = [entry.get("mode_facts") or {} for entry in entries]
    key = "max_relative_difference"
    seen = [fact[key] for fact in facts if fact.get(key) is not None]
    cells.append("reference" if mode == EAGER else f"{max(seen):.1e}" if seen else "n/a")
    cells.append("0" if mode == EAGER else _preparation(facts))
    cells.append("; ".join(distinct(mark for entry in entries if (mark := marks(entry)))))
    return cells


def _figures(
    timings: ModeTimings, name: str, mode: str, entry: Entry, *, latency: bool
) -> list[str]:
    rounds, verdict = timings.rounds(name, mode), timings.verdict(name, mode)
    if not rounds:
        return ["n/a", "n/a", verdict]
    location = locate(list(rounds.values()))
    text = latency_text(location) if latency else images_text(location, entry["batch_size"])
    best = timings.best(name)
    if mode in best:
        verdict += "; best" if len(best) == 1 else "; ~ best"
    ratio = "1 (reference)" if mode == EAGER else ratio_text(timings.ratio(name, mode))
    return [text, ratio, verdict]


def _preparation(facts: list[Mapping[str, Any]]) -> str:
    """``exported 5.12, loaded 0.3``: the longest of all processes."""
    parts = []
    for key, word in SECONDS.items():
        known = [fact[key] for fact in facts if fact.get(key) is not None]
        if known:
            parts.append(f"{word} {significant(max(known))}")
    return ", ".join(parts) or ("none" if any(facts) else "n/a")


def _raw(
    timings: ModeTimings, setting: Setting, regime: str, name: str, mode: str
) -> dict[str, Any]:
    entry, rounds = timings.entries[name, mode], timings.rounds(name, mode)
    facts = entry.get("mode_facts") or {}
    found = locate(list(rounds.values())) if rounds else Location(float("nan"), None, None, 0)
    ratio = timings.ratio(name, mode)
    values = (
        timings.session.id, machine(timings.session), name, mode, regime,
        *attrs.astuple(setting), entry.get("batch_size"), entry.get("memory_format"),
        found.rounds, found.median if rounds else None, found.low, found.high,
        *(getattr(ratio, key, None) for key in RATIO),
        timings.verdict(name, mode), mode in timings.best(name), timings.floor(mode),
        timings.comparisons, *(facts.get(key) for key in SECONDS), facts.get("max_difference"),
        facts.get("max_relative_difference"), facts.get("size_mb"), entry.get("mode_error"),
    )  # fmt: skip
    return dict(zip(RAW, values, strict=True))


# --- caption ---------------------------------------------------------------------------------


def _caption(session: TimingSession, found: Mapping[str, ModeTimings]) -> str:
    entries = [entry for timings in found.values() for entry in timings.entries.values()]
    devices = distinct(one_line(entry.get("device_name")) for entry in entries)
    rounds = sorted({len(rounds_of(entry)) for entry in entries if not entry.get("mode_error")})
    span = "–".join(map(str, distinct([rounds[0], rounds[-1]]))) if rounds else "0"
    floors = [
        f"{percent_text(floor)} % ({regime})"
        for regime, timings in found.items()
        if (floor := timings.floor()) is not None
    ]
    families = " and ".join(f"{found[r].comparisons} ({r})" for r in REGIMES)
    return caption(
        f"Measured on {', '.join(devices)}. Machine: {machine(session)}.",
        f"The model alone, {span} round{'' if span == '1' else 's'}, every mode in the same "
        "process of a round.",
        RATIO_NOTE,
        f"Noise floor of eager (A/A of {session.baseline}): {' and '.join(floors)}; where a mode's "
        "own is larger, it counts."
        if floors
        else "No noise floor: no verdict.",
        f"Faster or slower than the variant's own eager run: p below 0.05 after Holm's correction "
        f"for all pairs of modes of the table, {families}, and a difference above both "
        f"{100 * LEAST_DIFFERENCE:g} % and the noise floor; otherwise ~ tie; the interval of "
        "a ratio is at the level at which Holm tested it. Best: no other mode "
        "of the variant is declared faster; ~ best: it shares that with others.",
        "Outputs are compared with eager's before timing: largest difference ÷ largest output. "
        "Seconds before the first image are the longest of all processes: compiled code comes "
        "from a cache where it was compiled before, and an export is made once for all processes.",
        "onnxruntime-int8 is quantised: its outputs are another model's, so it is not compared for "
        "them, is never marked best, and its accuracy stands in the table of deployment."
        if any(mode_of(entry) in INEXACT_MODES for entry in entries)
        else "",
        *_packages(entries),
    )


def _packages(entries: list[Entry]) -> Iterator[str]:
    """Versions of what ran the modes, and the layout of their images."""
    kept = [(mode_of(entry), entry) for entry in entries if mode_of(entry) != EAGER]
    known = distinct(
        one_line(f"{package} {number}")
        for _, entry in kept
        for package, number in ((entry.get("mode_facts") or {}).get("versions") or {}).items()
    )
    opsets = distinct((entry.get("mode_facts") or {}).get("opset") for _, entry in kept)
    if known:
        opset = f", ONNX opset {', '.join(map(str, opsets))}" if opsets else ""
        yield f"Versions: {', '.join(known)}{opset}."
    last = distinct(
        one_line(mode_of(entry)) for entry in entries if entry.get("memory_format") != "contiguous"
    )
    if last:
        yield f"Memory format channels-last: {', '.join(last)}."
