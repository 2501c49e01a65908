"""The presets' expected results beside what runs of the same preset gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bench.config.options import flag_of
from bench.config.presets import Preset, load_presets
from bench.records.schema import lookup
from bench.report.analysis.metrics import accuracy, gpu_memory_gb, training_threads
from bench.report.analysis.selection import Selection, caption, seconds_of, seed_note, variant_of
from bench.report.analysis.validity import Record
from bench.report.analysis.values import Value, failure, fixed, missing
from bench.report.claims.model import format_documented
from bench.report.render.markdown import Table, one_line

# The guide's script trains this variant.
SUBJECT = "EfficientNetV2_S_CA"
# Each expected figure: the metric that it is a claim about, and its heading.
FIGURES = {
    "minutes": ("training_time", "Minutes of training"),
    "accuracy_percent": ("accuracy", "Accuracy (%)"),
    "gpu_memory_gb": ("gpu_memory", "GPU memory (GB)"),
}


def presets_table(selection: Selection) -> Table:
    """Return minutes, accuracy and GPU memory of every preset, documented and measured."""
    headers = ["Preset", "Documented on"]
    for _, heading in FIGURES.values():
        headers += [f"{heading}, documented", f"{heading}, measured"]
    headers.append("Source and note")
    rows = [_row(preset, selection) for preset in load_presets().values()]
    text = caption(
        f"Measured: runs of the preset itself with {SUBJECT}, on the device named beside each "
        "figure; minutes are training with validation; accuracy is that of the part named, with "
        "its 95 % Wilson interval; GB are 10⁹ bytes.",
        selection.data_note(),
        f"{seed_note(selection.records).capitalize()}.",
    )
    return Table("presets", "Expected results of the presets", text, headers, rows)


def _row(preset: Preset, selection: Selection) -> list[str]:
    expected = preset.expected
    cells = [preset.name, one_line(expected.get("conditions") or preset.hardware)]
    run = _run_of(preset, selection)
    for key in FIGURES:
        cells.append(format_documented(expected[key]) if key in expected else "n/a (not stated)")
        if isinstance(run, Value):
            value = run
        elif key == "minutes" and expected.get("minutes_of") == "sweep":
            value = _sweep_minutes(run, selection)
        else:
            value = _measured(run, key)
        cells.append(value.cell())
    notes = (expected.get("source"), expected.get("note"))
    return [*cells, "; ".join(one_line(note) for note in notes if note)]


def _run_of(preset: Preset, selection: Selection) -> Record | Value:
    """Return the latest run of the preset that its figures may be held against, or why none."""
    of_preset = [
        record
        for record in selection.records
        if lookup(record, "sweep", "preset") == preset.name and variant_of(record) == SUBJECT
    ]
    if not of_preset:
        return missing(f"no run of this preset with {SUBJECT}")
    record = Selection(of_preset).chosen(SUBJECT)
    if record is None or record.get("status") != "complete":
        return missing(f"run failed: {failure(record or {})}")
    reason = selection.invalid(record)
    if reason:
        return missing(reason, "invalid")
    changed = changed_options(preset.options, record)
    if changed:
        return missing(f"the run changed the preset's {', '.join(changed)}")
    return record


def changed_options(preset: Mapping[str, Any], record: Record) -> list[str]:
    """Return flags of the preset's options that a run had other values for."""
    config = record.get("config") or {}
    changed = [name for name, value in preset.items() if config.get(name, value) != value]
    # It has no part in any preset, and changes what a training takes.
    changed += ["progressive"] if config.get("progressive") else []
    return [flag_of(name) for name in changed]


def _measured(record: Record, key: str) -> Value:
    if key == "gpu_memory_gb":
        return gpu_memory_gb(record)
    if key == "accuracy_percent":
        device = one_line(lookup(record, "training", "device_name") or "")
        return attrs.evolve(accuracy(record), device=device)
    seconds = lookup(record, "training", "seconds")
    return missing("training time not recorded") if seconds is None else _minutes(record, seconds)


def _minutes(record: Record, seconds: float, note: str = "") -> Value:
    return Value(
        number=seconds / 60,
        text=fixed(seconds / 60, 1, digits=2) + note,
        device=one_line(lookup(record, "training", "device_name") or "unknown device"),
        threads=training_threads(record),
    )


def _sweep_minutes(record: Record, selection: Selection) -> Value:
    """Return minutes of a run's sweep, for presets documented that way.

    From first start to last end, and the timing session, which ends before the first run starts.
    """
    sweep = lookup(record, "sweep", "id")
    runs = [other for other in selection.records if lookup(other, "sweep", "id") == sweep]
    seconds = max(seconds_of(run, "finished") for run in runs) - min(map(seconds_of, runs))
    sessions = [lookup(run, "session", "seconds") for run in runs]
    timing = max((session for session in sessions if session is not None), default=None)
    note = "" if timing is None else " with timing"
    return _minutes(record, seconds + (timing or 0), f" for the sweep's {len(runs)} runs{note}")
