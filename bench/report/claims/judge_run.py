"""Verdicts on what one run shows: counts, memory, minutes, its metrics.json, the defaults."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import attrs

from bench.config.options import options
from bench.report.analysis.metrics import (
    ALLOCATED,
    GUIDE_PIXELS,
    gmacs,
    gpu_memory_gb,
    training_threads,
    value_of,
)
from bench.report.analysis.selection import seconds_of
from bench.report.analysis.timings import counted, fps_entry
from bench.report.analysis.validity import Record, invalid_reason
from bench.report.analysis.values import Value
from bench.report.chapters.guide import written
from bench.report.claims.conditions import (
    OF_THE_MACHINE,
    classes_of,
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
    Evidence,
    Figure,
    Verdict,
    decide,
    joined,
)
from bench.report.claims.statements import Claim
from bench.report.render.markdown import one_line
from bench.stats.timing import FEWEST_ROUNDS, locate

HEAD_CLASSES = 1000
OWN = "the run's"


# --- counts: the same on every machine -------------------------------------------------------


def judge_count(claim: Claim, evidence: Evidence) -> Verdict:
    """Parameters, MACs, channels or size, which need no training and have no error."""
    record = evidence.selection.chosen(claim.variant)
    if record is None:
        return Verdict(NOT_MEASURED, f"{claim.variant} is in none of these runs")
    broken = invalid_reason(record)
    if broken:
        return Verdict(NOT_MEASURED, f"{claim.variant}: invalid: {broken}")
    if not record.get("counts"):
        return Verdict(NOT_MEASURED, f"{claim.variant}: not counted in its run")
    counted_as = _counts(claim, record)
    if otherwise := _built_otherwise(claim, evidence, record):
        return Verdict(NOT_COMPARABLE, otherwise)
    if not counted_as:
        return Verdict(NOT_COMPARABLE, _not_counted(claim))
    figures = {name: Figure.exact(number, claim.unit) for name, number in counted_as.items()}
    verdicts = [decide(claim, figure) for figure in figures.values()]
    # A claim that states no head is right where any of the heads makes it so.
    best = next((one for one in verdicts if one.word == CONFIRMED), verdicts[0])
    what = ", ".join(f"{figure.value()} {name}" for name, figure in figures.items())
    return attrs.evolve(best, reason=joined([best.reason, f"counted: {what}"]))


def _built_otherwise(claim: Claim, evidence: Evidence, record: Record) -> str:
    """What the counted model was built with other than stated; a machine has no part in it."""
    # The size of weights is that in float32.
    keys = ("reduction", "dtype") if claim.metric == "size" else ("reduction",)
    stated = {key: value for key, value in claim.conditions.items() if key in keys}
    differs = differing(stated, {"reduction": reduction_of(record), "dtype": "float32"})
    if differs:
        return f"conditions differ: {', '.join(differs)}"
    given = (record.get("config") or {}).get("reduction")
    if "reduction" in stated or given is None or not has_reduction(record):
        return ""
    # Unstated, it is the variant's own: that of the guide's variant is in the guide's table.
    tables = evidence.claims.parameters if claim.variant == SUBJECT else ()
    items = [item for table in tables for item in table.parameters if item.name == "reduction"]
    own = given in [int(item.default) for item in items]
    return "" if own else f"built with --reduction {given}: not the variant's own"


def _counts(claim: Claim, record: Record) -> dict[str, float]:
    """The counts that the claim can mean, with what each was counted for."""
    counts: Mapping[str, Any] = record.get("counts") or {}
    classes = classes_of(record)
    own, thousand = counts.get("parameters"), counts.get("parameters_1000_classes")
    if claim.metric == "macs":
        pixels = claim.conditions.get("image_size", GUIDE_PIXELS)
        value = gmacs(record, pixels).number
        return {} if value is None else {f"at {pixels} pixels": value}
    if claim.metric == "size":
        size, wanted = counts.get("size_mb"), claim.conditions.get("classes", classes)
        return {} if size is None or wanted != classes else {f"with {classes or OWN} classes": size}
    if claim.metric == "feature_channels":
        if own is None or thousand is None or classes in (None, HEAD_CLASSES):
            return {}
        # Each class of the linear classifier has one weight for every channel, and one bias.
        channels = (thousand - own) / (HEAD_CLASSES - classes) - 1
        return {"by the classifier's parameters": channels}
    heads = {HEAD_CLASSES: thousand, classes: own}
    stated = claim.conditions.get("classes")
    return {
        f"with {number or OWN} classes": count / 1e6
        for number, count in heads.items()
        if count is not None and stated in (None, number)
    }


def _not_counted(claim: Claim) -> str:
    pixels, classes = (claim.conditions.get(key) for key in ("image_size", "classes"))
    if claim.metric == "macs":
        return f"MACs were not counted at {pixels or GUIDE_PIXELS} pixels"
    return f"not counted with {classes} classes" if classes else "not counted in its run"


# --- training: minutes and memory ------------------------------------------------------------


def judge_training(claim: Claim, evidence: Evidence) -> Verdict:
    """Minutes and GPU memory, under the stated conditions only."""
    selection = evidence.selection
    absent = evidence.absence(claim.variant)
    trained = [
        record
        for record in selection.complete(claim.variant)
        if record.get("training") and selection.invalid(record) is None
    ]
    if not trained:
        return Verdict(NOT_MEASURED, absent or f"{claim.variant} was not trained in these runs")
    data = evidence.claims.data
    facts = {id(record): facts_of_run(record, data) for record in trained}
    fitting = [r for r in trained if not differing(claim.conditions, facts[id(r)])]
    latest = max(fitting or trained, key=seconds_of)
    missing = unstated(claim.conditions, _needs(claim))
    parts, judged = [f"unstated: {', '.join(missing)}"] if missing else [], ""
    if claim.metric == "gpu_memory":
        found = gpu_memory_gb(latest)
        if found.number is None:
            return Verdict(NOT_MEASURED, found.reason)
        kind = found.setting["memory"]
        figure = Figure.exact(found.number, claim.unit, found.device or "", f"peak {kind}")
        judged = f"judged by memory {kind}; recorded, in GB: {found.text}"
        if kind == ALLOCATED:
            parts.append("only what tensors took is recorded: the driver shows more")
    else:
        figure = _minutes(fitting or [latest])
    if not fitting:
        differs = ", ".join(differing(claim.conditions, facts[id(latest)]))
        parts.append(f"conditions differ: {differs}")
    if parts:
        return Verdict(NOT_COMPARABLE, joined([*parts, judged]), figure)
    verdict = decide(claim, figure, f"{figure.count}, an interval needs {FEWEST_ROUNDS}")
    return attrs.evolve(verdict, reason=joined([verdict.reason, judged]))


def _needs(claim: Claim) -> tuple[str, ...]:
    if claim.metric == "training_time":
        return ("preset", "device_name")
    # A preset fixes batch and size.
    return () if "preset" in claim.conditions else claim.kind.needs


def _minutes(records: list[Record]) -> Figure:
    minutes = [(record.get("training") or {}).get("seconds", 0) / 60 for record in records]
    name = one_line((records[-1].get("training") or {}).get("device_name") or "")
    machine = Value(device=name, threads=training_threads(records[-1])).place()
    count = counted(len(minutes), "training")
    if min(minutes) <= 0:
        return Figure(statistics.median(minutes), None, None, count, "minutes", machine)
    found = locate(minutes)
    return Figure(found.median, found.low, found.high, count, "minutes", machine)


# --- metrics.json ----------------------------------------------------------------------------


def judge_metrics(claim: Claim, evidence: Evidence) -> Verdict:
    """One of the six keys of metrics.json; a loss of one run has no interval."""
    speed = claim.metric == "fps"
    runs = runs_for(claim, claim.variant, evidence)
    records = runs.fitting or runs.others
    if not records:
        return Verdict(NOT_MEASURED, runs.absent)
    latest = max(records, key=seconds_of)
    found = value_of(latest, f"metrics_{claim.metric}")
    if found.number is None:
        return Verdict(NOT_MEASURED, f"{claim.variant}: {found.reason}")
    figure = Figure(found.number, None, None, "1 run", claim.unit, found.place())
    missing = unstated(claim.conditions, claim.kind.needs)
    parts = [f"unstated: {', '.join(missing)}"] if missing else []
    facts = facts_of_run(latest, evidence.claims.data)
    # What fps was timed under is not what the model was trained under.
    facts |= facts_of_timing(fps_entry(latest) or {}) if speed else {}
    without = () if speed else OF_THE_MACHINE
    differs = differing(claim.conditions, facts, without)
    if differs:
        parts.append(f"conditions differ: {', '.join(differs)}")
    if parts:
        return Verdict(NOT_COMPARABLE, joined(parts), figure)
    return decide(claim, figure, "one run has no interval")


# --- the program's options -------------------------------------------------------------------


def judge_default(claim: Claim, evidence: Evidence) -> Verdict:
    """The documented default against the program's."""
    field = next(field for field in options() if field.name == claim.option)
    default: Any = field.default
    evidence_text = "program default"
    if default is None and claim.option != "reduction":
        # What is decided run by run is no other number than the documented one.
        reason = f"the program has no fixed default here: {field.metadata['help']}"
        return Verdict(NOT_COMPARABLE, one_line(reason))
    if default is None:
        default, evidence_text = _of_the_variant(claim, evidence)
        if default is None:
            return Verdict(NOT_MEASURED, evidence_text)
    figure = Figure.exact(float(default), "")
    if _number(str(claim.value)) == float(default):
        return Verdict(CONFIRMED, evidence_text, figure)
    return Verdict(CONTRADICTED, f"{evidence_text}: {default} instead of {claim.value}", figure)


def _of_the_variant(claim: Claim, evidence: Evidence) -> tuple[float | None, str]:
    """The reduction that a variant declares, for the option that leaves it to the variant."""
    record = evidence.selection.chosen(claim.variant)
    parts = ((record or {}).get("variant") or {}).get("attention") or []
    if (record or {}).get("config", {}).get(claim.option) is None:
        for part in parts:
            _, found, number = one_line(part).partition(f"{claim.option} ")
            if found and number.isdigit():
                return float(number), f"program default: the variant's own, {one_line(part)}"
    return None, f"the default is the variant's own, and no run of {claim.variant} shows it"


def _number(text: str) -> float | None:
    try:
        return {"False": 0.0, "True": 1.0}.get(text) if text in ("False", "True") else float(text)
    except ValueError:
        return None


def judge_recommendation(claim: Claim, evidence: Evidence) -> Verdict:
    """A recommendation claims no outcome; what the presets set is the evidence."""
    used = [
        f"{name} {written(value)}"
        for name, preset in presets().items()
        if (value := preset.options.get(claim.option or "")) is not None and name != "smoke"
    ]
    said = f"the presets set {', '.join(used)}" if used else "no preset sets it"
    return Verdict(NOT_COMPARABLE, f"a recommendation: no outcome is stated; {said}")
