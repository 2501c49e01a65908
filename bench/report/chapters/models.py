"""All runs of a report, one row each, rounded in the table and unrounded in ``runs.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from bench.report.analysis.machines import Labels, load_marks, machine_of
from bench.report.analysis.metrics import accuracy, gmacs, gpu_memory, train_images_per_s
from bench.report.analysis.seeds import fold_of, macro_f1_of
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
from bench.report.analysis.validity import Record, judged_accuracy, judged_part, valid_accuracy
from bench.report.analysis.values import Value, failure, missing, significant
from bench.report.render.markdown import MOST_ROWS, Table, one_line

MACS_UNIT = "GMACs (fvcore counts one multiply-add as one)"
Column = tuple[str, Callable[[Record], Value]]


# --- figures of a run ------------------------------------------------------------------------


def _seed(record: Record) -> str:
    seed, fold = (record.get("config") or {}).get("seed"), fold_of(record)
    text = "n/a" if seed is None else str(seed)
    return f"{text}, fold {fold[0]} of {fold[1]}" if fold else text


def _pixels(record: Record) -> int:
    return int((record.get("config") or {}).get("image_size") or 0)


def _part(record: Record, part: str, key: str, unit: Callable[[Any], str] = str) -> Value:
    value = (record.get(part) or {}).get(key)
    if value is None:
        return missing("not recorded")
    return Value(number=value, text=unit(value))


def _parameters(record: Record) -> Value:
    return _part(record, "counts", "parameters", "{:,}".format)


def _declared(record: Record) -> Value:
    counts = record.get("counts") or {}
    if counts.get("parameters") is None:
        return missing("not counted")
    if counts.get("parameters_declared") is None:
        return missing("none declared")
    same = counts["parameters"] == counts["parameters_declared"]
    return Value(text="yes" if same else f"no: {counts['parameters_declared']:,}")


def _parameters_1000(record: Record) -> Value:
    return _part(record, "counts", "parameters_1000_classes", "{:,}".format)


def _at_run_size(record: Record) -> Value:
    found = gmacs(record, _pixels(record))
    return found if found.mark else Value(found.number, f"{found.text} at {_pixels(record)}")


def _cpu_at_run_size(record: Record) -> Value:
    found = throughput(record, "cpu", _pixels(record))
    return found if found.mark else attrs.evolve(found, text=f"{found.text} at {_pixels(record)}")


def _macro_f1(record: Record) -> Value:
    found = macro_f1_of([record])
    return missing("not recorded") if found is None else Value(found.mean, found.text())


def _best_epoch(record: Record) -> Value:
    training = record.get("training") or {}
    if training.get("best_epoch") is None:
        return missing("not recorded")
    stopped = ", stopped early" if training.get("stopped_early") else ""
    text = f"{training['best_epoch']} of {training.get('epochs_run')}{stopped}"
    return Value(training["best_epoch"], text)


def _peak_memory(record: Record) -> Value:
    training = record.get("training") or {}
    if training.get("peak_memory_mb") is None:
        return missing("not recorded")
    if found := gpu_memory(record):
        text = ", ".join(f"{significant(size)} {name}" for name, size in found.items())
        return Value(next(iter(found.values())), text)
    text = f"{training['peak_memory_mb']:,.0f} ({one_line(training.get('peak_memory_kind'))})"
    return Value(training["peak_memory_mb"], text)


def _marks(record: Record) -> Value:
    """What may have disturbed a run's timings."""
    marks = [str(mark) for entry in eager(record) for mark in entry.get("marks") or []]
    beside = (record.get("training") or {}).get("beside")
    if beside:
        marks.append(f"trained beside up to {one_line(beside)} others")
    return Value(text=one_line("; ".join(distinct([*marks, *load_marks(record)]))) or "none")


def _timed(device: str) -> Callable[[Record], Value]:
    return lambda record: throughput(record, device, GUIDE_PIXELS)


COUNTS: tuple[Column, ...] = (
    ("Params, the run's head", _parameters),
    ("As declared", _declared),
    ("Params, 1000-class head", _parameters_1000),
    ("GMACs at 224", lambda record: gmacs(record, GUIDE_PIXELS)),
    ("GMACs at the run's size", _at_run_size),
    ("Size (MB)", lambda record: _part(record, "counts", "size_mb", significant)),
)
LEARNED: tuple[Column, ...] = (
    ("Accuracy (%), 95 % interval", accuracy),
    ("Macro-F1, 95 % interval", _macro_f1),
    ("Best epoch", _best_epoch),
)
TIMED: tuple[Column, ...] = (
    ("Training images/s", train_images_per_s),
    ("CPU images/s at the run's size", _cpu_at_run_size),
    ("CPU images/s at 224", _timed("cpu")),
    ("GPU images/s at 224", _timed("cuda")),
    ("Peak memory of training (MB)", _peak_memory),
    ("Marks", _marks),
)


# --- tables ----------------------------------------------------------------------------------


def overview_tables(selection: Selection) -> list[Table]:
    """All runs: counts and accuracy, then speed and memory, with one CSV of unrounded figures."""
    records = selection.records
    note, found = data_note(records), selection.labels
    folds = any(fold_of(record) for record in records)
    first = caption(
        note,
        "Accuracy and macro-F1: the part named (test where there is one, else validation); "
        "accuracy with its 95 % Wilson interval of the effective number of images, macro-F1 with "
        "that of the delete-one jackknife; "
        f"{seed_note(selection.records)}. Parameters: with the head of the run's classes, and with "
        f"one of 1000 classes. MACs: {MACS_UNIT}, batch 1.",
        "Undertrained models have no place in an order of accuracy.",
        found.legend,
    )
    second = caption(
        note, training_note(records), timing_note(records, at_run_size=True),
        "Marks: load by other programs above 10 % of the machine, many page faults; what was "
        "trained beside others of its sweep on one machine has images/s of a part of it.",
        "MB are 10⁶ bytes.", found.legend,
    )  # fmt: skip
    columns = (*COUNTS, *LEARNED)
    tables = (
        ("runs", "All runs: size and accuracy", first, columns, _raw(selection)),
        ("runs-speed", "All runs: speed and memory", second, TIMED, None),
    )
    return [
        Table(
            name,
            title,
            text,
            [
                "Variant",
                "Seed and fold" if folds else "Seed",
                *found.headings(),
                "State",
                *(heading for heading, _ in columns),
            ],
            [_row(record, columns, selection, found) for record in records[:MOST_ROWS]],
            raw,
            csv=raw is not None,
            total=len(records),
        )
        for name, title, text, columns, raw in tables
    ]


def _row(
    record: Record, columns: Sequence[Column], selection: Selection, tells: Labels
) -> list[str]:
    cells = [variant_of(record), _seed(record), *tells.cells(record)]
    broken = selection.invalid(record)
    if broken:
        return [*cells, f"invalid ({broken})", *["invalid"] * len(columns)]
    if record.get("status") == "complete":
        return [*cells, "complete", *(get(record).cell(with_device=False) for _, get in columns)]
    counted = [get for _, get in COUNTS]
    found = [get(record) if get in counted else missing("") for _, get in columns]
    texts = ["n/a (run failed)" if value.mark else value.text for value in found]
    state = "not finished" if record.get("status") == "running" else "failed"
    return [*cells, f"{state} ({failure(record)})", *texts]


def _raw(selection: Selection) -> tuple[list[str], list[list[Any]]]:
    rows = [raw_row(record, selection) for record in selection.records]
    return list(raw_row({}, selection)), [list(row.values()) for row in rows]


GPU_MEMORY = ("allocated_mb", "reserved_mb", "in_use_mb", "in_use_of")


def raw_row(record: Record, selection: Selection) -> dict[str, Any]:
    """Unrounded figures of a run by name and unit; None where there is none.

    An invalid run has the reason in ``state`` instead of figures; its record keeps them.
    """
    broken = selection.invalid(record)
    state = f"invalid: {broken}" if broken else str(record.get("status"))
    if broken:
        kept = ("variant", "sweep", "started", "config", "data", "environment")
        record = {key: record[key] for key in kept if key in record}
    counts, training = record.get("counts") or {}, record.get("training") or {}
    macs = {entry.get("image_size"): entry for entry in counts.get("macs") or []}
    pixels, fold = int((record.get("config") or {}).get("image_size") or 0), fold_of(record)
    return {
        "variant": variant_of(record),
        "sweep": (record.get("sweep") or {}).get("id"),
        "started": record.get("started"),
        "seed": (record.get("config") or {}).get("seed"),
        "fold": fold[0] if fold else None,
        "machine": machine_of(record),
        "data_fingerprint": (record.get("data") or {}).get("fingerprint"),
        "state": state,
        "synthetic_data": (record.get("data") or {}).get("synthetic"),
        "parameters": counts.get("parameters"),
        "parameters_declared": counts.get("parameters_declared"),
        "parameters_1000_classes": counts.get("parameters_1000_classes"),
        "attention_parameters": counts.get("attention_parameters"),
        "image_size": pixels or None,
        **_raw_macs("224", macs.get(GUIDE_PIXELS)),
        **_raw_macs("run_size", macs.get(pixels)),
        "size_mb": counts.get("size_mb"),
        **_raw_accuracy(record),
        "best_epoch": training.get("best_epoch"),
        "train_device": training.get("device_name"),
        "train_images_per_s": training.get("images_per_s"),
        "cpu_images_per_s_run_size": throughput(record, "cpu", pixels).number,
        "cpu_images_per_s_224": throughput(record, "cpu", GUIDE_PIXELS).number,
        "gpu_images_per_s_run_size": throughput(record, "cuda", pixels).number,
        "gpu_images_per_s_224": throughput(record, "cuda", GUIDE_PIXELS).number,
        "train_peak_memory_mb": training.get("peak_memory_mb"),
        "peak_memory_kind": training.get("peak_memory_kind"),
        **{f"train_gpu_{key}": (training.get("gpu_memory") or {}).get(key) for key in GPU_MEMORY},
    }


def _raw_accuracy(record: Record) -> dict[str, Any]:
    """The validation part's figures, those of the part judged, and why these say nothing."""
    row: dict[str, Any] = {}
    judged, part = judged_accuracy(record), judged_part(record)
    for name, found in (("valid", valid_accuracy(record)), ("judged", judged)):
        row |= {
            f"{name}_accuracy": found.share if found else None,
            f"{name}_accuracy_low": found.low if found else None,
            f"{name}_accuracy_high": found.high if found else None,
            f"{name}_images": found.total if found else None,
        }
    return row | {
        "judged_part": part if judged else None,
        "undertrained": judged.undertrained if judged else None,
        "judged_macro_f1": (record.get(part) or {}).get("macro_f1"),
        "valid_macro_f1": (record.get("validation") or {}).get("macro_f1"),
    }


def _raw_macs(size: str, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        f"gmacs_{size}_fvcore": (entry or {}).get("gmacs"),
        f"gmacs_{size}_flop_counter": (entry or {}).get("gmacs_flop_counter"),
    }
