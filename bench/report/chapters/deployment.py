"""The table of deployment: float32 and int8 in ONNX Runtime, with size, speed and accuracy lost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import attrs

from bench.records.quantised import is_size
from bench.records.schema import lookup
from bench.report.analysis.backends import ModeTimings, Setting, settings_of
from bench.report.analysis.selection import Selection, caption, distinct, seconds_of, variant_of
from bench.report.analysis.speeds import TimingSession, sessions_of
from bench.report.analysis.timings import EAGER, RATIO_NOTE, latency_text, percent_text, ratio_text
from bench.report.analysis.validity import Record, units_of
from bench.report.analysis.values import significant
from bench.report.chapters.attention import p_text, points_text, word
from bench.report.chapters.backends import mode_location
from bench.report.chapters.speed import machine, numbered
from bench.report.render.markdown import Table, attributes, one_line
from bench.stats import timing
from bench.stats.accuracy import TrainedDifference, compare_trained
from bench.stats.multiple import ALPHA, holm_levels
from bench.stats.multireader import table_of, unit_numbers
from bench.stats.timing import FEWEST_ROUNDS
from bench.system.digits import counted

FLOAT, INT8 = "onnxruntime", "onnxruntime-int8"
REGIMES = ("latency", "throughput")
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
    losses = _losses(selection)
    timed = [
        (session, setting)
        for session in sessions_of(selection)
        for setting in settings_of(session)
        if setting.device == "cpu"
        and {FLOAT, INT8}
        & {mode for _, mode in ModeTimings.of(session, setting, "latency").entries}
    ]
    if not timed:
        return [_table(None, None, losses, None)] if losses else []
    return [
        _table(session, setting, losses, number if len(timed) > 1 else None)
        for number, (session, setting) in enumerate(timed, start=1)
    ]


# --- accuracy lost ---------------------------------------------------------------------------


@attrs.frozen
class Loss:
    """What int8 does to a run's accuracy.

    Attributes:
        export: the run's ``quantised``.
        float32, int8: accuracies 0..1.
        tested: int8 against float32, on the same images.
        p_adjusted: corrected for all variants of the report.
        level: at which Holm's procedure tested it.
    """

    export: Mapping[str, Any]
    float32: float
    int8: float
    tested: TrainedDifference
    p_adjusted: float
    level: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of the difference that belongs to the verdict."""
        return self.tested.interval(self.level)

    @property
    def verdict(self) -> str:
        """``worse``, ``better``, or that nothing could be shown."""
        if self.p_adjusted >= ALPHA:
            return "~ no loss shown"
        return "worse" if self.tested.difference < 0 else "better"


def _losses(selection: Selection) -> dict[str, Loss]:
    """By variant, of its latest run that was exported."""
    losses = {}
    for record in sorted(selection.complete(), key=seconds_of):
        export = record.get("quantised")
        if isinstance(export, dict) and not selection.invalid(record) and _fits(record, export):
            losses[variant_of(record)] = _loss(record, export)
    levels = holm_levels([loss.tested.p_value for loss in losses.values()])
    return {
        name: attrs.evolve(loss, p_adjusted=p_value or 0.0, level=level)
        for (name, loss), (p_value, level) in zip(losses.items(), levels, strict=True)
    }


def _loss(record: Record, export: Mapping[str, Any]) -> Loss:
    """int8 against float32, not yet corrected for the other variants."""
    small, exact = (
        {
            str(name): label == guess
            for name, label, guess in zip(
                export["ids"], export["labels"], export[f"predictions_{kind}"], strict=True
            )
        }
        for kind in ("int8", "float32")
    )
    correct, images = table_of({"int8": {0: small}, "float32": {0: exact}})
    tested = compare_trained(correct[0], correct[1], unit_numbers(images, units_of(record)))
    float32, int8 = (sum(hits.values()) / len(hits) for hits in (exact, small))
    return Loss(export, float32, int8, tested, tested.p_value, ALPHA)


def _fits(record: Record, about: Mapping[str, Any]) -> bool:
    """Whether it is of this very run: a copied file says nothing of another."""
    part = record.get(str(about.get("part"))) or {}
    known = dict(zip(part.get("ids") or [], part.get("labels") or [], strict=False))
    return (
        about.get("variant") == lookup(record, "variant", "name")
        and about.get("fingerprint") == lookup(record, "data", "fingerprint")
        and all(
            known.get(name) == label
            for name, label in zip(about["ids"], about["labels"], strict=True)
        )
    )


# --- table -----------------------------------------------------------------------------------


def _table(
    session: TimingSession | None,
    setting: Setting | None,
    losses: Mapping[str, Loss],
    number: int | None,
) -> Table:
    modes: dict[str, ModeTimings] = {}
    table_id, title = "deployment", "Deployment: ONNX Runtime in float32 and int8"
    if session is not None and setting is not None:
        modes = {regime: ModeTimings.of(session, setting, regime) for regime in REGIMES}
        title += f", CPU, {setting.image_size} pixels, threads: {setting.threads}"
        table_id, title = numbered(table_id, title, session, number)
    ranks = _ranks(modes.get("latency"))
    names = distinct([*(session.records if session else ()), *losses])
    raw = [_raw(session, setting, modes, ranks, losses.get(name), name) for name in names]
    rows = [_row(modes, ranks, losses.get(name), name) for name in names]
    return Table(table_id, title, _caption(session, modes, losses), HEADERS, rows, (RAW, raw))


def _ranks(timings: ModeTimings | None) -> dict[str, int]:
    """Of the variants as int8, by latency; ties share a rank."""
    if timings is None or (floor := timings.floor(INT8)) is None:
        return {}
    rounds = {name: timings.rounds(name, INT8) for name, mode in timings.entries if mode == INT8}
    names = [name for name, seconds in rounds.items() if len(seconds) >= FEWEST_ROUNDS]
    ratios = {
        (one, two): timing.compare_speeds(rounds[one], rounds[two])
        for one, two in combinations(names, 2)
    }
    return timing.judge_ratios(ratios, lambda _: floor).ranks(names, "faster")


def _row(
    modes: Mapping[str, ModeTimings], ranks: Mapping[str, int], loss: Loss | None, name: str
) -> list[str]:
    cells = [
        name,
        *(_latency(modes.get("latency"), name, mode) for mode in (EAGER, FLOAT, INT8)),
        str(ranks.get(name, "n/a")),
        *(cell for regime in REGIMES for cell in _ratio(modes.get(regime), name)),
        *("n/a" if size is None else significant(size) for size in _sizes(modes, loss, name)),
    ]
    if loss is None:
        return [*cells, *["n/a (not exported as int8)"] * 2, "n/a", "n/a", "n/a"]
    return [
        *cells,
        *(f"{100 * share:.1f}" for share in (loss.float32, loss.int8)),
        points_text(loss.tested.difference, loss.bounds),
        p_text(loss.p_adjusted),
        loss.verdict,
    ]


def _latency(timings: ModeTimings | None, name: str, mode: str) -> str:
    place = mode_location(timings, name, mode)
    if place is not None:
        return latency_text(place)
    verdict = timings.verdict(name, mode) if timings else ""
    return verdict if verdict.startswith("n/a") else "n/a (not timed)"


def _ratio(timings: ModeTimings | None, name: str) -> list[str]:
    """Return the ratio int8 ÷ float32 and the verdict on it."""
    ratio = timings.ratio(name, INT8, FLOAT) if timings else None
    if timings is None or ratio is None:
        return ["n/a", "n/a"]
    return [ratio_text(ratio), word(timings.family.verdict((name, INT8), (name, FLOAT)))]


def _sizes(modes: Mapping[str, ModeTimings], loss: Loss | None, name: str) -> list[float | None]:
    """Of the two files in MB: of the run's own where it was exported, else of the timed ones."""
    if loss is not None:
        return [loss.export.get("size_float32_mb"), loss.export.get("size_mb")]
    return [
        next(filter(is_size, (_size(timings, name, mode) for timings in modes.values())), None)
        for mode in (FLOAT, INT8)
    ]


def _size(timings: ModeTimings, name: str, mode: str) -> Any:
    return lookup(timings.entries.get((name, mode)) or {}, "mode_facts", "size_mb")


def _raw(
    session: TimingSession | None,
    setting: Setting | None,
    modes: Mapping[str, ModeTimings],
    ranks: Mapping[str, int],
    loss: Loss | None,
    name: str,
) -> list[Any]:
    tested, export = loss and loss.tested, loss.export if loss else {}
    places = [mode_location(modes.get("latency"), name, mode) for mode in (EAGER, FLOAT, INT8)]
    ratios = [timings.ratio(name, INT8, FLOAT) for timings in modes.values()] or [None, None]
    return [
        session and session.id, name, *attributes(setting, ["image_size", "threads"]),
        *(place and place.median for place in places), ranks.get(name),
        *(value for ratio in ratios for value in attributes(ratio, ["ratio", "low", "high"])),
        *_sizes(modes, loss, name), export.get("part"), *attributes(tested, ["images"]),
        *attributes(loss, ["float32", "int8"]), *attributes(tested, ["difference"]),
        *(loss.bounds if loss else (None, None)),
        *attributes(tested, ["p_value"]), *attributes(loss, ["p_adjusted"]),
        export.get("calibration_images"),
    ]  # fmt: skip


def _caption(
    session: TimingSession | None, modes: Mapping[str, ModeTimings], losses: Mapping[str, Loss]
) -> str:
    floors = [
        f"{percent_text(floor)} % ({regime})"
        for regime, timings in modes.items()
        if (floor := timings.floor(INT8, FLOAT)) is not None
    ]
    exports = {name: loss.export for name, loss in losses.items()}
    parts, calibrated, methods = (
        distinct(one_line(export.get(key)) for export in exports.values())
        for key in ("part", "calibration_images", "method")
    )
    inputs = [
        lookup(entry, "mode_facts", "input")
        for timings in modes.values()
        for (_, mode), entry in timings.entries.items()
        if mode == INT8
    ]
    old = [one_line(name) for name, export in exports.items() if "input" not in export]
    noise = f" (noise floor {' and '.join(floors)})." if floors else "."
    timed = (
        f"Machine: {machine(session)}.",
        "Speeds: one session, every mode in the same process of a round; latency at batch 1; above "
        f"1 int8 is faster. Verdicts and rank as in the tables of modes{noise}",
        RATIO_NOTE,
    ) if session is not None else ("Nothing was timed here.",)  # fmt: skip
    return caption(
        *timed,
        f"Accuracy: of the run's exported files on its {' or '.join(parts)} part, both by ONNX "
        f"Runtime on the same images; {'; '.join(methods)}; calibrated on {' or '.join(calibrated)}"
        f" images of no held-out part. p is corrected after Holm for "
        f"{counted(len(losses), 'variant')}, and the interval is at the level of that test."
        if losses
        else "No run was exported as int8 (python -m bench export RUN --format onnx-int8): what it "
        "costs in accuracy is not known.",
        "int8 takes pixels and normalises them within its time." if "uint8" in inputs else "",
        f"Exported with an input of floats, whose last bits decide some predictions: "
        f"{', '.join(old)}; move these .int8.onnx and quantised.json away and export again."
        if old
        else "",
        "Sizes: of the ONNX files, MB = 10⁶ bytes.",
    )
