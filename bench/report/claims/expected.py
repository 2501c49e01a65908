"""The presets' expected results beside what runs of the same preset gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bench.config.options import flag_of
from bench.config.presets import Preset, load_presets
from bench.report.analysis.metrics import accuracy, gpu_memory_gb, training_threads
from bench.report.analysis.selection import Selection, caption, seconds_of, seed_note, variant_of
from bench.report.analysis.validity import Record
from bench.report.analysis.values import Value, failure, fixed, missing
from bench.report.claims.model import format_documented
from bench.report.render.markdown import Table, one_line

# The guide's script trains this variant.
SUBJECT = "EfficientNetV2_S_CA"
KEYS = ("minutes", "accuracy_percent", "gpu_memory_gb")
HEADERS = {
    "minutes": "Minutes of training",
    "accuracy_percent": "Accuracy (%)",
    "gpu_memory_gb": "GPU memory (GB)",
}


def presets_table(selection: Selection) -> Table:
    """Minutes, accuracy and GPU memory of every preset, documented and measured."""
    headers = ["Preset", "Documented on"]
    for key in KEYS:
        headers += [f"{HEADERS[key]}, documented", f"{HEADERS[key]}, measured"]
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
    for key in KEYS:
        known = key in expected
        cells.append(format_documented(expected[key]) if known else "n/a (not stated)")
        cells.append((run if isinstance(run, Value) else _measured(run, key)).cell())
    if not isinstance(run, Value) and expected.get("minutes_of") == "sweep":
        cells[3] = _sweep_minutes(run, selection).cell()
    parts = (expected.get("source"), expected.get("note"))
    return [*cells, "; ".join(one_line(part) for part in parts if part)]


def _run_of(preset: Preset, selection: Selection) -> Record | Value:
    """The latest run of the preset that its documented figures may be held against, or why none."""
    of_preset = [
        record
        for record in selection.records
        if (record.get("sweep") or {}).get("preset") == preset.name
        and variant_of(record) == SUBJECT
    ]
    if not of_preset:
        return missing(f"no run of this preset with {SUBJECT}")
    record = Selection(of_preset).chosen(SUBJECT)
    if record is None or record.get("status") != "complete":
        return missing(f"run failed: {failure(record or {})}")
    broken = selection.invalid(record)
    if broken:
        return missing(broken, "invalid")
    changed = changed_options(preset.options, record)
    if changed:
        return missing(f"the run changed the preset's {', '.join(changed)}")
    return record


def changed_options(preset: Mapping[str, Any], record: Record) -> list[str]:
    """Flags of the preset's options that a run had other values for."""
    config = record.get("config") or {}
    changed = [name for name, value in preset.items() if config.get(name, value) != value]
    # It has no part in any preset, and changes what a training takes.
    changed += ["progressive"] if config.get("progressive") else []
    return [flag_of(name) for name in changed]


def _measured(record: Record, key: str) -> Value:
    training = record.get("training") or {}
    if key == "gpu_memory_gb":
        return gpu_memory_gb(record)
    if key == "accuracy_percent":
        found = accuracy(record)
        return attrs.evolve(found, device=one_line(training.get("device_name") or ""))
    if training.get("seconds") is None:
        return missing("training time not recorded")
    minutes = training["seconds"] / 60
    return Value(
        number=minutes,
        text=fixed(minutes, 1, digits=2),
        device=one_line(training.get("device_name") or "unknown device"),
        threads=training_threads(record),
    )


def _sweep_minutes(record: Record, selection: Selection) -> Value:
    """Minutes of a run's sweep, for presets documented that way.

    From first start to last end, and the timing session, which ends before the first run starts.
    """
    sweep = (record.get("sweep") or {}).get("id")
    runs = [other for other in selection.records if (other.get("sweep") or {}).get("id") == sweep]
    seconds = max(seconds_of(run, "finished") for run in runs) - min(map(seconds_of, runs))
    sessions = [run["session"].get("seconds") for run in runs if run.get("session")]
    timing = max((each for each in sessions if each is not None), default=None)
    training = record.get("training") or {}
    minutes = (seconds + (timing or 0)) / 60
    text = f"{fixed(minutes, 1, digits=2)} for the sweep's {len(runs)} runs"
    return Value(
        number=minutes,
        text=text if timing is None else f"{text} with timing",
        device=one_line(training.get("device_name") or "unknown device"),
        threads=training_threads(record),
    )
