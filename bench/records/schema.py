"""What run.json holds, and whether a file is one that this version can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.system.files import broken_seal

SCHEMA = "paddy-bench/run"
SCHEMA_VERSION = 3
# Version 2 had no checksum, and no record before its run had ended.
READABLE = (2, 3)
STATUSES = ("complete", "failed", "running")
METRICS = ("valid_acc", "valid_loss", "train_acc", "train_loss", "best_epoch", "fps")

KEYS: dict[str, Any] = {
    "schema": str,
    "schema_version": int,
    "status": str,
    "error": dict | None,
    "sweep": dict,
    "started": str,
    "finished": str,
    "variant": dict,
    "config": dict,
    "config_sources": dict,
    "data": dict,
    "environment": dict,
    "counts": dict | None,
    "training": dict | None,
    "metrics": dict | None,
    "timing": list,
    "timing_error": str | None,
    "session": dict | None,
    "validation": dict | None,
    "test": dict | None,
    "warnings": list,
}


def problem_of(record: Any, data: bytes) -> str | None:
    """Return why a file is no record of this version, in a few words; None if it is one.

    Args:
        record: as it was parsed.
        data: its bytes.
    """
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return "is no record of paddy-bench"
    version = record.get("schema_version")
    if version not in READABLE:
        return (
            f"has schema version {version}, this program reads "
            f"{' and '.join(map(str, READABLE))}: "
            "render it with the version that wrote it, or run again"
        )
    broken = broken_seal(record, data) if version > 2 else None
    if broken is not None:
        return f"is damaged ({broken}): run again"
    for key, kinds in KEYS.items():
        if key not in record:
            return f"lacks {key!r}: it is damaged, run again"
        if not isinstance(record[key], kinds):
            return f"has a {type(record[key]).__name__} as {key!r}: it is damaged, run again"
    if record["status"] not in STATUSES:
        return f"has status {record['status']!r}: it is damaged, run again"
    return None


def lookup(record: Mapping[str, Any] | None, *keys: str) -> Any:
    """Return what a record has under nested keys; None where a block is absent or null."""
    value: Any = record
    for key in keys:
        value = (value or {}).get(key)
    return value
