"""Verdicts on what one run shows: counts, memory, minutes, its metrics.json, the defaults."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.config.options import options
from bench.records.schema import lookup
from bench.report.analysis.metrics import (
    ALLOCATED,
    GUIDE_PIXELS,
    gmacs,
    gpu_memory_gb,
    training_threads,
    value_of,
)
from bench.report.analysis.selection import Selection, seconds_of
from bench.report.analysis.timings import fps_entry
from bench.report.analysis.validity import Record, invalid_reason
from bench.report.analysis.values import Value
from bench.report.chapters.guide import written
from bench.report.claims.conditions import (
    OF_THE_MACHINE,
    classes_of,
    declared_reduction,
    differing,
    facts_of_run,
    facts_of_timing,
    has_reduction,
    presets,
    reduction_of,
    unstated,
)
from bench.report.claims.expected import SUBJECT
from bench.report.claims.judge_accuracy import runs_for
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    Figure,
    Verdict,
    decide,
    differs_from,
    missing_reason,
    refusals,
    too_few,
)
from bench.report.claims.model import load_claims
from bench.report.claims.statements import Claim
from bench.report.render.markdown import one_line
from bench.stats.timing import locate
from bench.system.digits import counted

HEAD_CLASSES = 1000
UNKNOWN_HEAD = "the run's"


# --- counts: the same on every machine -------------------------------------------------------


def judge_count(claim: Claim, selection: Selection) -> Verdict:
    """Judge parameters, MACs, channels or size, which need no training and have no error."""
    record = selection.chosen(claim.variant)
    if record is None:
        return Verdict(NOT_MEASURED, f"{claim.variant} is in none of these runs")
    reason = invalid_reason(record)
    if reason:
        return Verdict(NOT_MEASURED, f"{claim.variant}: invalid: {reason}")
    if not record.get("counts"):
        return Verdict(NOT_MEASURED, f"{claim.variant}: not counted in its run")
    counts = _counts(claim, record)
    refused = _built_otherwise(claim, record) or ("" if counts else _not_counted(claim))
    if refused:
        return Verdict(NOT_COMPARABLE, refused)
    figures = {name: Figure.exact(number, claim.unit) for name, number in counts.items()}
    verdicts = [decide(claim, figure) for figure in figures.values()]
    # A claim that states no head is right where any of the heads makes it so.
    best = next((verdict for verdict in verdicts if verdict.word == CONFIRMED), verdicts[0])
    shown = ", ".join(f"{figure.value()} {name}" for name, figure in figures.items())
    return best.noting(f"counted: {shown}")


def _built_otherwise(claim: Claim, record: Record) -> str:
    """Return what the counted model was built with other than stated; not the machine."""
    # The size of weights is that in float32.
    keys = ("reduction", "dtype") if claim.metric == "size" else ("reduction",)
    stated = {key: value for key, value in claim.conditions.items() if key in keys}
    differs = differing(stated, {"reduction": reduction_of(record), "dtype": "float32"})
    if differs:
        return refusals((), differs)[0]
    given = lookup(record, "config", "reduction")
    if "reduction" in stated or given is None or not has_reduction(record):
        return ""
    # Unstated, it is the variant's own: that of the guide's variant is in the guide's table.
    tables = load_claims().parameters if claim.variant == SUBJECT else ()
    items = [item for table in tables for item in table.parameters if item.name == "reduction"]
    documented = given in [int(item.default) for item in items]
    return "" if documented else f"built with --reduction {given}: not the variant's own"


def _counts(claim: Claim, record: Record) -> dict[str, float]:
    """Return the counts that the claim can mean, with what each was counted for."""
    counts, classes = record["counts"], classes_of(record)
    parameters, thousand = counts.get("parameters"), counts.get("parameters_1000_classes")
    if claim.metric == "macs":
        pixels = claim.conditions.get("image_size", GUIDE_PIXELS)
        value = gmacs(record, pixels).number
        return {} if value is None else {f"at {pixels} pixels": value}
    if claim.metric == "feature_channels":
        if parameters is None or thousand is None or classes in (None, HEAD_CLASSES):
            return {}
        # Each class of the linear classifier has one weight for every channel, and one bias.
        channels = (thousand - parameters) / (HEAD_CLASSES - classes) - 1
        return {"by the classifier's parameters": channels}
    heads, scale = {HEAD_CLASSES: thousand, classes: parameters}, 1e6
    if claim.metric == "size":
        heads, scale = {classes: counts.get("size_mb")}, 1
    return {
        f"with {number or UNKNOWN_HEAD} classes": count / scale
        for number, count in heads.items()
        if count is not None and claim.conditions.get("classes") in (None, number)
    }


def _not_counted(claim: Claim) -> str:
    classes = claim.conditions.get("classes")
    if claim.metric == "macs":
        pixels = claim.conditions.get("image_size", GUIDE_PIXELS)
        return f"MACs were not counted at {pixels} pixels"
    return f"not counted with {classes} classes" if classes else "not counted in its run"


# --- training: minutes and memory ------------------------------------------------------------


def judge_training(claim: Claim, selection: Selection) -> Verdict:
    """Judge minutes and GPU memory, under the stated conditions only."""
    trained = [
        record
        for record in selection.complete(claim.variant)
        if record.get("training") and selection.invalid(record) is None
    ]
    if not trained:
        reason = missing_reason(selection, claim.variant)
        return Verdict(NOT_MEASURED, reason or f"{claim.variant} was not trained in these runs")
    differs = {id(record): differs_from(claim, record) for record in trained}
    fitting = [record for record in trained if not differs[id(record)]]
    latest = max(fitting or trained, key=seconds_of)
    refused, note = refusals(unstated(claim.conditions, _needs(claim)), ()), ""
    if claim.metric == "gpu_memory":
        peak = gpu_memory_gb(latest)
        if peak.number is None:
            return Verdict(NOT_MEASURED, peak.reason)
        kind = peak.setting["memory"]
        figure = Figure.exact(peak.number, claim.unit, peak.device or "", f"peak {kind}")
        note = f"judged by memory {kind}; recorded, in GB: {peak.text}"
        if kind == ALLOCATED:
            refused.append("only what tensors took is recorded: the driver shows more")
    else:
        figure = _minutes(fitting or [latest])
    refused += refusals((), differs[id(latest)])
    return decide(claim, figure, too_few(figure.count), refused).noting(note)


def _needs(claim: Claim) -> tuple[str, ...]:
    if claim.metric == "training_time":
        return ("preset", "device_name")
    # A preset fixes batch and size.
    return () if "preset" in claim.conditions else claim.kind.needs


def _minutes(records: Sequence[Record]) -> Figure:
    minutes = [(lookup(record, "training", "seconds") or 0) / 60 for record in records]
    device = one_line(lookup(records[-1], "training", "device_name") or "")
    machine = Value(device=device, threads=training_threads(records[-1])).place()
    count = counted(len(minutes), "training")
    if min(minutes) <= 0:
        return Figure(statistics.median(minutes), None, None, count, "minutes", machine)
    location = locate(minutes)
    return Figure(location.median, location.low, location.high, count, "minutes", machine)


# --- metrics.json ----------------------------------------------------------------------------


def judge_metrics(claim: Claim, selection: Selection) -> Verdict:
    """Judge one of the six keys of metrics.json; a loss of one run has no interval."""
    runs = runs_for(claim, claim.variant, selection)
    if not runs.records:
        return Verdict(NOT_MEASURED, runs.missing_reason)
    latest = max(runs.records, key=seconds_of)
    value = value_of(latest, f"metrics_{claim.metric}")
    if value.number is None:
        return Verdict(NOT_MEASURED, f"{claim.variant}: {value.reason}")
    figure = Figure(value.number, None, None, "1 run", claim.unit, value.place())
    facts = facts_of_run(latest)
    without: Sequence[str] = OF_THE_MACHINE
    if claim.metric == "fps":
        # What fps was timed under is not what the model was trained under.
        facts |= facts_of_timing(fps_entry(latest) or {})
        without = ()
    missing = unstated(claim.conditions, claim.kind.needs)
    refused = refusals(missing, differing(claim.conditions, facts, without))
    return decide(claim, figure, "one run has no interval", refused)


# --- the program's options -------------------------------------------------------------------


def judge_default(claim: Claim, selection: Selection) -> Verdict:
    """Judge the documented default against the program's."""
    field = next(field for field in options() if field.name == claim.option)
    default, source = field.default, "program default"
    if claim.option == "reduction" and default is None:
        record = selection.chosen(claim.variant)
        declared = declared_reduction(record)
        if declared is None or lookup(record, "config", "reduction") is not None:
            reason = f"the default is the variant's own, and no run of {claim.variant} shows it"
            return Verdict(NOT_MEASURED, reason)
        default, source = float(declared[0]), f"program default: the variant's own, {declared[1]}"
    if default is None:
        # What is decided run by run is no other number than the documented one.
        reason = f"the program has no fixed default here: {field.metadata['help']}"
        return Verdict(NOT_COMPARABLE, one_line(reason))
    figure, text = Figure.exact(float(default), ""), str(claim.value)
    if float({"False": 0, "True": 1}.get(text, text)) == float(default):
        return Verdict(CONFIRMED, source, figure)
    return Verdict(CONTRADICTED, f"{source}: {default} instead of {claim.value}", figure)


def judge_recommendation(claim: Claim, selection: Selection) -> Verdict:
    """Answer that a recommendation claims no outcome; what the presets set is the evidence."""
    used = [
        f"{name} {written(value)}"
        for name, preset in presets().items()
        if (value := preset.options.get(claim.option or "")) is not None and name != "smoke"
    ]
    setting = f"the presets set {', '.join(used)}" if used else "no preset sets it"
    return Verdict(NOT_COMPARABLE, f"a recommendation: no outcome is stated; {setting}")
