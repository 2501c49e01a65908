"""JSON files that carry a checksum: what is half-written or altered is recognised."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "checksum"


class Damaged(ValueError):
    """Why a file cannot be trusted, in a few words."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinities become null.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    _write(path, _finite(value))


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """As :func:`write_json`, with a checksum of everything else."""
    content = _finite({key: item for key, item in value.items() if key != SEAL})
    # As it will be read: a tuple is a list then, and a number that is a key a text.
    content = json.loads(json.dumps(content, allow_nan=False))
    _write(path, {**content, SEAL: seal(content)})


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file without its checksum.

    Raises:
        OSError: it cannot be read.
        Damaged: it is no whole JSON object, or its checksum is wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise Damaged("it is damaged: no whole JSON") from error
    if not isinstance(content, dict):
        raise Damaged("it is damaged: no JSON object")
    problem = broken_seal(content)
    if problem is not None:
        raise Damaged(f"it is damaged: {problem}")
    return {key: item for key, item in content.items() if key != SEAL}


def broken_seal(content: Mapping[str, Any]) -> str | None:
    """What is wrong with the checksum of a parsed file, in a few words; none: nothing."""
    if SEAL not in content:
        return "its checksum is missing"
    if content[SEAL] != seal(content):
        return "its checksum is wrong"
    return None


def seal(content: Mapping[str, Any]) -> str:
    """The checksum of parsed JSON, whatever the order of its keys and its spaces."""
    rest = {key: item for key, item in content.items() if key != SEAL}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write(path: Path, value: Any) -> None:
    # A name of its own: two processes may write the same file.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
