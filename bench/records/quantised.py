"""``quantised.json``: what a run's 8-bit export costs in accuracy, beside its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.system.files import read_sealed

FILE = "quantised.json"
COLUMNS = ("ids", "labels", "predictions_float32", "predictions_int8")
SCHEMA, VERSION = "paddy-bench/quantised", 1


def read_quantised(folder: Path) -> dict[str, Any] | None:
    """Return a run's file; None where it is absent, damaged or of another version."""
    try:
        content = read_sealed(folder / FILE)
    except (OSError, ValueError, RecursionError):
        return None
    version = (content.get("schema"), content.get("schema_version"))
    return content if version == (SCHEMA, VERSION) and _complete(content) else None


def _complete(content: dict[str, Any]) -> bool:
    """Return whether all that a report reads is there and of its type."""
    columns: list[Any] = [content.get(key) for key in COLUMNS]
    if not all(isinstance(column, list) and column for column in columns):
        return False
    ids, *numbers = columns
    return (
        len(set(map(len, columns))) == 1
        and all(isinstance(name, str) for name in ids)
        and all(type(number) is int for column in numbers for number in column)
        and all(isinstance(content.get(key), str) for key in ("part", "method", "variant"))
        and all(is_size(content.get(key)) for key in ("size_mb", "size_float32_mb"))
        and type(content.get("calibration_images")) is int
    )


def is_size(value: Any) -> bool:
    """Return whether a value is a size in MB."""
    return type(value) in (int, float) and 0 < value < 1e9
