"""The table of deployment: float32 and int8 in ONNX Runtime, with size, speed and accuracy lost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import attrs

from bench.records.quantised import is_size
from bench.report.analysis.backends import ModeTimings, Setting, settings_of
from bench.report.analysis.selection import Selection, caption, distinct, seconds_of, variant_of
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import EAGER, RATIO_NOTE, latency_text, percent_text, ratio_text
from bench.report.analysis.validity import Record, units_of
from bench.report.analysis.values import significant
from bench.report.chapters.attention import p_text
from bench.report.chapters.speed import machine
from bench.report.render.markdown import Table, one_line
from bench.stats import timing
from bench.stats.accuracy import TrainedDifference, compare_trained
from bench.stats.multiple import ALPHA, holm_levels
from bench.stats.multireader import table_of, unit_numbers
from bench.stats.timing import FEWEST_ROUNDS, locate
from bench.system.digits import points

FLOAT, INT8 = "onnxruntime", "onnxruntime-int8"
HEADERS = (
    "Variant", "PyTorch (ms)", "ONNX Runtime (ms)", "int8 (ms)", "Rank, int8 latency",
    "int8 ÷ float32, batch 1", "Verdict", "int8 ÷ float32, larger batch", "Verdict (larger batch)",
    "float32 (MB)", "int8 (MB)", "Accuracy, float32 (%)", "Accuracy, int8 (%)",
    "int8 − float32 (points), interval", "p, Holm", "Verdict (accuracy)",
)  # fmt: skip
RAW = (
    "session", "variant", "image_size", "threads", "eager_s", "float32_s", "int8_s", "rank",
    "ratio_latency", "ratio_latency_low", "ratio_latency_high", "ratio_throughput",
    "ratio_throughput_low", "ratio_throughput_high", "float32_mb", "int8_mb", "part", "images",
    "accuracy_float32", "accuracy_int8", "difference", "low", "high", "p_value", "p_holm",
    "calibration_images",
)  # fmt: skip


def deployment_tables(selection: Selection) -> list[Table]:
    """One for each session and setting of a CPU in which ONNX Runtime was timed.

    Without a session, one of the accuracies alone; none where there is neither.
    """
    lost = _lost(selection)
    timed = [
        (session, setting)
        for session in sessions_of(selection)
        for setting in settings_of(session)
        if setting.device == "cpu" and _has_onnx(session, setting)
    ]
    tables = [
        _table(session, setting, lost, number if len(timed) > 1 else None)
        for number, (session, setting) in enumerate(timed, start=1)
    ]
    if tables or not lost:
        return tables
    return [_table(None, None, lost, None)]


def _has_onnx(session: TimingSession, setting: Setting) -> bool:
    found = ModeTimings.of(session, setting, "latency")
    return any(mode in (FLOAT, INT8) for _, mode in found.entries)


# --- accuracy lost ---------------------------------------------------------------------------


@attrs.frozen
class Lost:
    """What int8 does to a run's accuracy.

    Attributes:
        about: the run's ``quantised``.
        float32, int8: accuracies 0..1.
        found: int8 against float32, on the same images.
        p_adjusted: corrected for all variants of the report.
        level: at which Holm's procedure tested it.
    """

    about: Mapping[str, Any]
    float32: float
    int8: float
    found: TrainedDifference
    p_adjusted: float
    level: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of the difference that belongs to the verdict."""
        return self.found.interval(self.level)

    @property
    def verdict(self) -> str:
        """``worse``, ``better``, or that nothing could be shown."""
        if self.p_adjusted >= ALPHA:
            return "~ no loss shown"
        return "worse" if self.found.difference < 0 else "better"


def _lost(selection: Selection) -> dict[str, Lost]:
    """By variant, of its latest run that was exported."""
    known = {}
    for record in sorted(selection.complete(), key=seconds_of):
        about = record.get("quantised")
        if isinstance(about, dict) and selection.invalid(record) is None and _fits(record, about):
            known[variant_of(record)] = about, units_of(record)
    hits = {name: _hits(about) for name, (about, _) in known.items()}
    found = {name: _compared(*hits[name], known[name][1]) for name in known}
    levels = holm_levels([one.p_value for one in found.values()])
    return {
        name: Lost(known[name][0], _share(hits[name][0]), _share(hits[name][1]), one, p or 0.0, at)
        for (name, one), (p, at) in zip(found.items(), levels, strict=True)
    }


def _compared(
    exact: Mapping[str, bool], small: Mapping[str, bool], units: Mapping[str, str]
) -> TrainedDifference:
    """int8 against float32."""
    correct, images = table_of({"int8": {0: small}, "float32": {0: exact}})
    return compare_trained(correct[0], correct[1], unit_numbers(images, units))


def _fits(record: Record, about: Mapping[str, Any]) -> bool:
    """Whether it is of this very run: a copied file says nothing of another."""
    part = record.get(str(about.get("part"))) or {}
    known = dict(zip(part.get("ids") or [], part.get("labels") or [], strict=False))
    return (
        about.get("variant") == (record.get("variant") or {}).get("name")
        and about.get("fingerprint") == (record.get("data") or {}).get("fingerprint")
        and all(
            known.get(name) == label
            for name, label in zip(about["ids"], about["labels"], strict=True)
        )
    )


def _hits(about: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
    def of(kind: str) -> dict[str, bool]:
        rows = zip(about["ids"], about["labels"], about[f"predictions_{kind}"], strict=True)
        return {str(name): label == guess for name, label, guess in rows}

    return of("float32"), of("int8")


def _share(hits: Mapping[str, bool]) -> float:
    return sum(hits.values()) / len(hits)


# --- table -----------------------------------------------------------------------------------


def _table(
    session: TimingSession | None,
    setting: Setting | None,
    lost: Mapping[str, Lost],
    number: int | None,
) -> Table:
    found: dict[str, ModeTimings] = {}
    if session is not None and setting is not None:
        found = {
            regime: ModeTimings.of(session, setting, regime) for regime in ("latency", "throughput")
        }
    ranks = _ranks(found.get("latency"))
    timed = found["latency"].session.records if found else {}
    names = distinct([*timed, *lost])
    raw = [_raw(session, setting, found, ranks, lost.get(name), name) for name in names]
    rows = [_row(found, ranks, lost.get(name), name) for name in names]
    title = "Deployment: ONNX Runtime in float32 and int8"
    if setting is not None:
        title += f", CPU, {setting.image_size} pixels, threads: {setting.threads}"
    if number is not None and session is not None:
        title += f" (session {one_line(session.id)})"
    return Table(
        "deployment" if number is None else f"deployment-{number}",
        title,
        _caption(session, found, lost),
        HEADERS,
        rows,
        (RAW, [[row[key] for key in RAW] for row in raw]),
    )


def _ranks(timings: ModeTimings | None) -> dict[str, int]:
    """Of the variants as int8, by latency; ties share a rank."""
    if timings is None or (floor := timings.floor(INT8)) is None:
        return {}
    rounds = {name: timings.rounds(name, INT8) for name, mode in timings.entries if mode == INT8}
    enough = [name for name, found in rounds.items() if len(found) >= FEWEST_ROUNDS]
    pairs = list(combinations(enough, 2))
    measured = {(a, b): timing.compare_speeds(rounds[a], rounds[b]) for a, b in pairs}
    return timing.judge_ratios(measured, lambda _: floor).ranks(enough, "faster")


def _row(
    found: Mapping[str, ModeTimings], ranks: Mapping[str, int], lost: Lost | None, name: str
) -> list[str]:
    cells = [name]
    for mode in (EAGER, FLOAT, INT8):
        cells.append(_latency(found.get("latency"), name, mode))
    cells.append(str(ranks[name]) if name in ranks else "n/a")
    for regime in ("latency", "throughput"):
        cells += _ratio(found.get(regime), name)
    sizes = _sizes(found, lost, name)
    cells += ["n/a" if size is None else significant(size) for size in sizes]
    if lost is None:
        return [*cells, *["n/a (not exported as int8)"] * 2, "n/a", "n/a", "n/a"]
    one, (low, high) = lost.found, lost.bounds
    return [
        *cells,
        f"{100 * lost.float32:.1f}",
        f"{100 * lost.int8:.1f}",
        f"{points(100 * one.difference)} [{points(100 * low)} to {points(100 * high)}]",
        p_text(lost.p_adjusted),
        lost.verdict,
    ]


def _latency(timings: ModeTimings | None, name: str, mode: str) -> str:
    if timings is None:
        return "n/a (not timed)"
    rounds = timings.rounds(name, mode)
    if rounds:
        return latency_text(locate(list(rounds.values())))
    verdict = timings.verdict(name, mode)
    return verdict if verdict.startswith("n/a") else "n/a (not timed)"


def _ratio(timings: ModeTimings | None, name: str) -> list[str]:
    if timings is None:
        return ["n/a", "n/a"]
    ratio = timings.ratio(name, INT8, FLOAT)
    if ratio is None:
        return ["n/a", "n/a"]
    verdict = timings.family.verdict((name, INT8), (name, FLOAT))
    return [ratio_text(ratio), "~ tie" if verdict == "tie" else verdict]


def _sizes(
    found: Mapping[str, ModeTimings], lost: Lost | None, name: str
) -> tuple[float | None, float | None]:
    """Of the two files in MB: of the run's own where it was exported, else of the timed ones."""
    if lost is not None:
        return lost.about.get("size_float32_mb"), lost.about.get("size_mb")
    sizes: list[float | None] = []
    for mode in (FLOAT, INT8):
        entries = [timings.entries.get((name, mode)) or {} for timings in found.values()]
        known = [(entry.get("mode_facts") or {}).get("size_mb") for entry in entries]
        sizes.append(next((size for size in known if is_size(size)), None))
    return sizes[0], sizes[1]


def _raw(
    session: TimingSession | None,
    setting: Setting | None,
    found: Mapping[str, ModeTimings],
    ranks: Mapping[str, int],
    lost: Lost | None,
    name: str,
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RAW)
    row |= {"session": session and session.id, "variant": name, "rank": ranks.get(name)}
    row |= {"image_size": setting and setting.image_size, "threads": setting and setting.threads}
    for regime, timings in found.items():
        ratio = timings.ratio(name, INT8, FLOAT)
        for key in ("ratio", "low", "high"):
            column = f"ratio_{regime}" + ("" if key == "ratio" else f"_{key}")
            row[column] = getattr(ratio, key, None)
    if "latency" in found:
        for mode, key in ((EAGER, "eager_s"), (FLOAT, "float32_s"), (INT8, "int8_s")):
            rounds = found["latency"].rounds(name, mode)
            row[key] = locate(list(rounds.values())).median if rounds else None
    row["float32_mb"], row["int8_mb"] = _sizes(found, lost, name)
    if lost is not None:
        one = lost.found
        row |= {
            "part": lost.about.get("part"), "images": one.images,
            "accuracy_float32": lost.float32, "accuracy_int8": lost.int8,
            "difference": one.difference, "low": lost.bounds[0], "high": lost.bounds[1],
            "p_value": one.p_value, "p_holm": lost.p_adjusted,
            "calibration_images": lost.about.get("calibration_images"),
        }  # fmt: skip
    return row


def _caption(
    session: TimingSession | None,
    found: Mapping[str, ModeTimings],
    lost: Mapping[str, Lost],
) -> str:
    floors = [
        f"{percent_text(floor)} % ({regime})"
        for regime, timings in found.items()
        if (floor := timings.floor(INT8, FLOAT)) is not None
    ]
    parts = distinct(str(one.about.get("part")) for one in lost.values())
    calibrated = distinct(str(one.about.get("calibration_images")) for one in lost.values())
    methods = distinct(one_line(one.about.get("method")) for one in lost.values())
    return caption(
        f"Machine: {machine(session)}." if session is not None else "Nothing was timed here.",
        "Speeds: one session, every mode in the same process of a round; latency at batch 1; above "
        "1 int8 is faster. Verdicts and rank as in the tables of modes"
        + (f" (noise floor {' and '.join(floors)})." if floors else ".")
        if session is not None
        else "",
        RATIO_NOTE if session is not None else "",
        f"Accuracy: of the run's exported files on its {' or '.join(parts)} part, both by ONNX "
        f"Runtime on the same images; {'; '.join(methods)}; calibrated on {' or '.join(calibrated)}"
        f" images of no held-out part. p is corrected after Holm for {len(lost)} "
        f"variant{'' if len(lost) == 1 else 's'}, and the interval is at the level of that test."
        if lost
        else "No run was exported as int8 (python -m bench export RUN --format onnx-int8): what it "
        "costs in accuracy is not known.",
        "int8 takes pixels and normalises them within its time."
        if any(
            (entry.get("mode_facts") or {}).get("input") == "uint8"
            for timings in found.values()
            for (_, mode), entry in timings.entries.items()
            if mode == INT8
        )
        else "",
        f"Exported with an input of floats, whose last bits decide some predictions: "
        f"{', '.join(old)}; move these .int8.onnx and quantised.json away and export again."
        if (old := [one_line(name) for name, one in lost.items() if "input" not in one.about])
        else "",
        "Sizes: of the ONNX files, MB = 10⁶ bytes.",
    )
