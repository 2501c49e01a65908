"""Cache folder, scratch folders of sweeps, and measurements kept between sweeps."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from bench import ENVIRONMENT_PREFIX
from bench.system.files import write_json


def cache_folder() -> Path:
    """Return where what can be made again is kept; ``PADDY_BENCH_CACHE_DIR`` changes it."""
    folder = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    return Path(folder).expanduser() if folder else user_cache_path("paddy-bench")


SCRATCH_PREFIX = "features-"
# Between making its folder and locking it, a sweep needs milliseconds.
LEAST_ORPHAN_AGE_S = 60.0


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder beside the decoded images, since the system's temporary one may be memory.

    A living sweep holds a lock on its folder; the system lets go of it when the process ends,
    however it ends.
    """
    parent = cache_folder()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(parent)
        folder = tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent)
    except OSError:
        folder = tempfile.mkdtemp(prefix=f"paddy-bench-{SCRATCH_PREFIX}")
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks keeps orphans, nothing else.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_orphans(parent: Path) -> None:
    for folder in parent.glob(f"{SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                if time.time() - os.fstat(handle).st_mtime < LEAST_ORPHAN_AGE_S:
                    continue
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def recall(kind: str) -> dict[str, Any]:
    """Return the stored measurements of a kind, by key."""
    try:
        values = json.loads(_file(kind).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def remember(kind: str, values: Mapping[str, Any]) -> None:
    """Store measurements of a kind; what another process has added meanwhile stays."""
    file = _file(kind)
    with contextlib.suppress(OSError):
        if values:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {**recall(kind), **values})


def _file(kind: str) -> Path:
    return cache_folder() / f"{kind}.json"
