"""All runs of a report, one row each, rounded in the table and unrounded in ``runs.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bench.records.schema import lookup
from bench.report.analysis.machines import load_marks, machine_of
from bench.report.analysis.metrics import accuracy, gmacs, gpu_memory, train_images_per_s
from bench.report.analysis.seeds import fold_of, macro_f1_of, seed_of
from bench.report.analysis.selection import (
    Selection,
    caption,
    data_note,
    distinct,
    seed_note,
    timing_note,
    training_note,
    variant_of,
)
from bench.report.analysis.timings import GUIDE_PIXELS, eager, throughput
from bench.report.analysis.validity import (
    Record,
    judged_accuracy,
    judged_part,
    valid_accuracy,
)
from bench.report.analysis.values import Value, failure, missing, significant
from bench.report.render.markdown import MOST_ROWS, Table, one_line

MACS_UNIT = "GMACs (fvcore counts one multiply-add as one)"


# --- figures of a run ------------------------------------------------------------------------


def seed_text(record: Record) -> str:
    """``0``, ``0, fold 2 of 5``."""
    seed, fold = seed_of(record), fold_of(record)
    text = "n/a" if seed is None else str(seed)
    return f"{text}, fold {fold[0]} of {fold[1]}" if fold else text


def _pixels(record: Record) -> int:
    return int(lookup(record, "config", "image_size") or 0)


def _count(key: str, number: Callable[[Any], str] = "{:,}".format) -> Callable[[Record], Value]:
    def value(record: Record) -> Value:
        count = lookup(record, "counts", key)
        return missing("not recorded") if count is None else Value(count, number(count))

    return value


def _declared(record: Record) -> Value:
    counted, declared = (
        lookup(record, "counts", key) for key in ("parameters", "parameters_declared")
    )
    if counted is None:
        return missing("not counted")
    if declared is None:
        return missing("none declared")
    return Value(text="yes" if counted == declared else f"no: {declared:,}")


def _at_run_size(value: Value, record: Record) -> Value:
    text = f"{value.text} at {_pixels(record)}"
    return value if value.mark else attrs.evolve(value, text=text)


def _macro_f1(record: Record) -> Value:
    f1 = macro_f1_of([record])
    return missing("not recorded") if f1 is None else Value(f1.mean, f1.text())


def _best_epoch(record: Record) -> Value:
    training = record.get("training") or {}
    best = training.get("best_epoch")
    if best is None:
        return missing("not recorded")
    stopped = ", stopped early" if training.get("stopped_early") else ""
    return Value(best, f"{best} of {training.get('epochs_run')}{stopped}")


def _peak_memory(record: Record) -> Value:
    training = record.get("training") or {}
    peak = training.get("peak_memory_mb")
    if peak is None:
        return missing("not recorded")
    if memory := gpu_memory(record):
        text = ", ".join(f"{significant(size)} {name}" for name, size in memory.items())
        return Value(next(iter(memory.values())), text)
    return Value(peak, f"{peak:,.0f} ({one_line(training.get('peak_memory_kind'))})")


def _marks(record: Record) -> Value:
    """What may have disturbed a run's timings."""
    marks = [str(mark) for entry in eager(record) for mark in entry.get("marks") or []]
    concurrent = lookup(record, "training", "beside")
    if concurrent:
        marks.append(f"trained beside up to {one_line(concurrent)} others")
    return Value(text=one_line("; ".join(distinct([*marks, *load_marks(record)]))) or "none")


COUNTS: dict[str, Callable[[Record], Value]] = {
    "Params, the run's head": _count("parameters"),
    "As declared": _declared,
    "Params, 1000-class head": _count("parameters_1000_classes"),
    "GMACs at 224": lambda record: gmacs(record, GUIDE_PIXELS),
    "GMACs at the run's size": lambda record: _at_run_size(gmacs(record, _pixels(record)), record),
    "Size (MB)": _count("size_mb", significant),
}
SIZE_AND_ACCURACY = COUNTS | {
    "Accuracy (%), 95 % interval": accuracy,
    "Macro-F1, 95 % interval": _macro_f1,
    "Best epoch": _best_epoch,
}
SPEED: dict[str, Callable[[Record], Value]] = {
    "Training images/s": train_images_per_s,
    "CPU images/s at the run's size": lambda record: _at_run_size(
        throughput(record, "cpu", _pixels(record)), record
    ),
    "CPU images/s at 224": lambda record: throughput(record, "cpu", GUIDE_PIXELS),
    "GPU images/s at 224": lambda record: throughput(record, "cuda", GUIDE_PIXELS),
    "Peak memory of training (MB)": _peak_memory,
    "Marks": _marks,
}


# --- tables ----------------------------------------------------------------------------------


def overview_tables(selection: Selection) -> list[Table]:
    """All runs: counts and accuracy, then speed and memory, with one CSV of unrounded figures."""
    records = selection.records
    note, labels = data_note(records), selection.labels
    folds = any(fold_of(record) for record in records)
    first = caption(
        note,
        "Accuracy and macro-F1: the part named (test where there is one, else validation); "
        "accuracy with its 95 % Wilson interval of the effective number of images, macro-F1 with "
        "that of the delete-one jackknife; "
        f"{seed_note(selection.records)}. Parameters: with the head of the run's classes, and with "
        f"one of 1000 classes. MACs: {MACS_UNIT}, batch 1.",
        "Undertrained models have no place in an order of accuracy.",
        labels.legend,
    )
    second = caption(
        note, training_note(records), timing_note(records, at_run_size=True),
        "Marks: load by other programs above 10 % of the machine, many page faults; what was "
        "trained beside others of its sweep on one machine has images/s of a part of it.",
        "MB are 10⁶ bytes.", labels.legend,
    )  # fmt: skip
    start = ["Variant", "Seed and fold" if folds else "Seed", *labels.headings(), "State"]
    raw = [raw_row(record, selection) for record in records]
    csv = list(raw_row({}, selection)), [list(row.values()) for row in raw]
    size, speed = (
        ([*start, *columns], [_row(record, columns, selection) for record in records[:MOST_ROWS]])
        for columns in (SIZE_AND_ACCURACY, SPEED)
    )
    total = len(records)
    return [
        Table("runs", "All runs: size and accuracy", first, *size, csv, total=total),
        Table("runs-speed", "All runs: speed and memory", second, *speed, csv=False, total=total),
    ]


def _row(
    record: Record, columns: Mapping[str, Callable[[Record], Value]], selection: Selection
) -> list[str]:
    cells = [variant_of(record), seed_text(record), *selection.labels.cells(record)]
    invalid = selection.invalid(record)
    if invalid:
        return [*cells, f"invalid ({invalid})", *["invalid"] * len(columns)]
    if record.get("status") == "complete":
        values = [get(record).cell(with_device=False) for get in columns.values()]
        return [*cells, "complete", *values]
    state = "not finished" if record.get("status") == "running" else "failed"
    counts = [
        value.text if heading in COUNTS and not (value := get(record)).mark else "n/a (run failed)"
        for heading, get in columns.items()
    ]
    return [*cells, f"{state} ({failure(record)})", *counts]


PARAMETERS = (
    "parameters", "parameters_declared", "parameters_1000_classes", "attention_parameters",
)  # fmt: skip
GPU_MEMORY = ("allocated_mb", "reserved_mb", "in_use_mb", "in_use_of")


def raw_row(record: Record, selection: Selection) -> dict[str, Any]:
    """Unrounded figures of a run by name and unit; None where there is none.

    An invalid run has the reason in ``state`` instead of figures; its record keeps them.
    """
    invalid = selection.invalid(record)
    state = f"invalid: {invalid}" if invalid else str(record.get("status"))
    if invalid:
        kept = ("variant", "sweep", "started", "config", "data", "environment")
        record = {key: record[key] for key in kept if key in record}
    counts, training = record.get("counts") or {}, record.get("training") or {}
    macs = {entry.get("image_size"): entry for entry in counts.get("macs") or []}
    pixels, fold = _pixels(record), fold_of(record)
    return {
        "variant": variant_of(record),
        "sweep": lookup(record, "sweep", "id"),
        "started": record.get("started"),
        "seed": seed_of(record),
        "fold": fold and fold[0],
        "machine": machine_of(record),
        "data_fingerprint": lookup(record, "data", "fingerprint"),
        "state": state,
        "synthetic_data": lookup(record, "data", "synthetic"),
        **{key: counts.get(key) for key in PARAMETERS},
        "image_size": pixels or None,
        **{
            f"gmacs_{size}_{key}": (macs.get(side) or {}).get(name)
            for size, side in (("224", GUIDE_PIXELS), ("run_size", pixels))
            for key, name in (("fvcore", "gmacs"), ("flop_counter", "gmacs_flop_counter"))
        },
        "size_mb": counts.get("size_mb"),
        **_raw_accuracy(record),
        "best_epoch": training.get("best_epoch"),
        "train_device": training.get("device_name"),
        "train_images_per_s": training.get("images_per_s"),
        **{
            f"{name}_images_per_s_{size}": throughput(record, device, side).number
            for name, device in (("cpu", "cpu"), ("gpu", "cuda"))
            for size, side in (("run_size", pixels), ("224", GUIDE_PIXELS))
        },
        "train_peak_memory_mb": training.get("peak_memory_mb"),
        "peak_memory_kind": training.get("peak_memory_kind"),
        **{f"train_gpu_{key}": lookup(training, "gpu_memory", key) for key in GPU_MEMORY},
    }


def _raw_accuracy(record: Record) -> dict[str, Any]:
    """The validation part's figures, those of the part judged, and why these say nothing."""
    judged, part = judged_accuracy(record), judged_part(record)
    columns = ("accuracy", "share"), ("accuracy_low", "low"), ("accuracy_high", "high")
    return {
        **{
            f"{name}_{column}": getattr(figures, key, None)
            for name, figures in (("valid", valid_accuracy(record)), ("judged", judged))
            for column, key in (*columns, ("images", "total"))
        },
        "judged_part": part if judged else None,
        "undertrained": judged and judged.undertrained,
        "judged_macro_f1": lookup(record, part, "macro_f1"),
        "valid_macro_f1": lookup(record, "validation", "macro_f1"),
    }
