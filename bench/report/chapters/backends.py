"""The tables of inference modes: what eager, folded, compiled and exported models do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from bench.report.chapters.speed import RATIO, machine, marks, numbered, slug
from bench.report.render.markdown import Table, attributes, one_line
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
    modes = {regime: ModeTimings.of(session, setting, regime) for regime in REGIMES}
    parts = ["CPU" if setting.device == "cpu" else "GPU", f"{setting.image_size} pixels"]
    if setting.device == "cpu":
        parts.append(counted(setting.threads, "thread"))
    title = f"How a model is run: {', '.join([*parts, one_line(setting.dtype)])}"
    table_id, title = numbered("modes", title, session, number)
    batches = distinct(entry.get("batch_size") for entry in modes["throughput"].entries.values())
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
        for timings in modes.values()
        for mode in timings.modes(name)
    )
    rows = [_row(modes, *pair) for pair in pairs]
    raw = [
        _raw(timings, setting, regime, *pair)
        for pair in pairs
        for regime, timings in modes.items()
        if pair in timings.entries
    ]
    table_id += f"-{slug(attrs.astuple(setting))}"
    return Table(table_id, title, _caption(session, modes), headers, rows, (RAW, raw))


# --- rows ------------------------------------------------------------------------------------


def mode_location(timings: ModeTimings | None, name: str, mode: str) -> Location | None:
    """Return the median of a mode's rounds with its interval, None without a valid round."""
    rounds = timings.rounds(name, mode) if timings else {}
    return locate(list(rounds.values())) if rounds else None


def _row(modes: Mapping[str, ModeTimings], name: str, mode: str) -> list[str]:
    entries = [timings.entries.get((name, mode)) or {} for timings in modes.values()]
    facts = [entry.get("mode_facts") or {} for entry in entries]
    differences = _recorded(facts, "max_relative_difference")
    difference = f"{max(differences):.1e}" if differences else "n/a"
    return [
        name,
        mode,
        *_figures(modes["throughput"], name, mode, latency=False),
        *_figures(modes["latency"], name, mode, latency=True),
        "reference" if mode == EAGER else difference,
        "0" if mode == EAGER else _preparation(facts),
        "; ".join(distinct(filter(None, map(marks, entries)))),
    ]


def _figures(timings: ModeTimings, name: str, mode: str, *, latency: bool) -> list[str]:
    place, verdict = mode_location(timings, name, mode), timings.verdict(name, mode)
    if place is None:
        return ["n/a", "n/a", verdict]
    batch_size = timings.entries[name, mode]["batch_size"]
    best = timings.best(name)
    if mode in best:
        verdict += "; best" if len(best) == 1 else "; ~ best"
    return [
        latency_text(place) if latency else images_text(place, batch_size),
        "1 (reference)" if mode == EAGER else ratio_text(timings.ratio(name, mode)),
        verdict,
    ]


def _recorded(facts: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [fact[key] for fact in facts if fact.get(key) is not None]


def _preparation(facts: Sequence[Mapping[str, Any]]) -> str:
    """``exported 5.12, loaded 0.3``: the longest of all processes."""
    parts = [
        f"{word} {significant(max(seconds))}"
        for key, word in SECONDS.items()
        if (seconds := _recorded(facts, key))
    ]
    return ", ".join(parts) or ("none" if any(facts) else "n/a")


def _raw(timings: ModeTimings, setting: Setting, regime: str, name: str, mode: str) -> list[Any]:
    entry, place = timings.entries[name, mode], mode_location(timings, name, mode)
    facts = entry.get("mode_facts") or {}
    return [
        timings.session.id, machine(timings.session), name, mode, regime,
        *attrs.astuple(setting), entry.get("batch_size"), entry.get("memory_format"),
        place.rounds if place else 0, *attributes(place, ["median", "low", "high"]),
        *attributes(timings.ratio(name, mode), RATIO),
        timings.verdict(name, mode), mode in timings.best(name), timings.floor(mode),
        timings.comparisons,
        *map(facts.get, (*SECONDS, "max_difference", "max_relative_difference", "size_mb")),
        entry.get("mode_error"),
    ]  # fmt: skip


# --- caption ---------------------------------------------------------------------------------


def _caption(session: TimingSession, modes: Mapping[str, ModeTimings]) -> str:
    entries = [entry for timings in modes.values() for entry in timings.entries.values()]
    devices = distinct(one_line(entry.get("device_name")) for entry in entries)
    rounds = [len(rounds_of(entry)) for entry in entries if not entry.get("mode_error")] or [0]
    span = "–".join(map(str, distinct([min(rounds), max(rounds)])))
    floors = [
        f"{percent_text(floor)} % ({regime})"
        for regime, timings in modes.items()
        if (floor := timings.floor()) is not None
    ]
    families = " and ".join(f"{modes[regime].comparisons} ({regime})" for regime in REGIMES)
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


def _packages(entries: Sequence[Entry]) -> Iterator[str]:
    """Versions of what ran the modes, and the layout of their images."""
    facts = [entry.get("mode_facts") or {} for entry in entries if mode_of(entry) != EAGER]
    versions = distinct(
        one_line(f"{package} {number}")
        for fact in facts
        for package, number in (fact.get("versions") or {}).items()
    )
    opsets = distinct(fact.get("opset") for fact in facts)
    if versions:
        opset = f", ONNX opset {', '.join(map(str, opsets))}" if opsets else ""
        yield f"Versions: {', '.join(versions)}{opset}."
    last = distinct(
        one_line(mode_of(entry)) for entry in entries if entry.get("memory_format") != "contiguous"
    )
    if last:
        yield f"Memory format channels-last: {', '.join(last)}."
