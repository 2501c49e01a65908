"""``quantised.json``: what a run's 8-bit export costs in accuracy, beside its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.system.files import read_sealed

FILE = "quantised.json"
COLUMNS = ("ids", "labels", "predictions_float32", "predictions_int8")
SCHEMA, VERSION = "paddy-bench/quantised", 1


def read_quantised(folder: Path) -> dict[str, Any] | None:
    """What lies in a run's folder; none where it is not there, damaged or of another version."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = read_sealed(path)
    except (OSError, ValueError, RecursionError):
        return None
    if (found.get("schema"), found.get("schema_version")) != (SCHEMA, VERSION):
        return None
    return found if _whole(found) else None


def _whole(found: dict[str, Any]) -> bool:
    """Whether all that a report reads is there and of its type."""
    columns = [found.get(key) for key in COLUMNS]
    if not all(isinstance(column, list) and column for column in columns):
        return False
    ids, *numbers = (column or [] for column in columns)
    return (
        len({len(column) for column in (ids, *numbers)}) == 1
        and all(isinstance(name, str) for name in ids)
        and all(type(number) is int for column in numbers for number in column)
        and all(isinstance(found.get(key), str) for key in ("part", "method", "variant"))
        and all(is_size(found.get(key)) for key in ("size_mb", "size_float32_mb"))
        and type(found.get("calibration_images")) is int
    )


def is_size(value: Any) -> bool:
    """Whether a value is a size in MB."""
    return type(value) in (int, float) and 0 < value < 1e9
