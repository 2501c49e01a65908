"""``quantised.json``: what a run's 8-bit export costs in accuracy, beside its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.results.sealed import read_sealed

FILE = "quantised.json"
SCHEMA, VERSION = "paddy-bench/quantised", 1


def read_quantised(folder: Path) -> dict[str, Any] | None:
    """What lies in a run's folder; none where it is not there, damaged or of another version."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = read_sealed(path)
    except (OSError, ValueError):
        return None
    if (found.get("schema"), found.get("schema_version")) != (SCHEMA, VERSION):
        return None
    columns = [found.get(key) for key in ("ids", "labels", "predictions_float32",
                                          "predictions_int8")]  # fmt: skip
    whole = all(isinstance(column, list) and column for column in columns)
    return found if whole and len({len(column or ()) for column in columns}) == 1 else None
