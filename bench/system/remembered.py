"""What short measurements of this machine found, kept between sweeps: a file for each kind.

It is an aid only: a file that is damaged or cannot be written costs a measurement next time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.system.paths import cache_folder


def recall(kind: str) -> dict[str, Any]:
    """All that is kept of a kind, by key."""
    try:
        known = json.loads(_file(kind).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(kind: str, found: Mapping[str, Any]) -> None:
    """Add to what is kept of a kind; what another process has added meanwhile stays."""
    if not found:
        return
    file = _file(kind)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{kind}-", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf8") as part:
                json.dump({**recall(kind), **found}, part)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        return


def _file(kind: str) -> Path:
    return cache_folder() / f"{kind}.json"
