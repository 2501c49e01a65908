"""The unrounded figures of a run: a row of ``runs.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.gates import Record, judged_accuracy, judged_part, valid_accuracy
from bench.report.machines import machine_of
from bench.report.seeds import fold_of
from bench.report.selection import Selection, variant_of
from bench.report.timing_cell import GUIDE_PIXELS, throughput

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
