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
    """Where the harness keeps what it can make again; ``PADDY_BENCH_CACHE_DIR`` changes it."""
    own = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    return Path(own).expanduser() if own else user_cache_path("paddy-bench")


PREFIX = "features-"
# Between making its folder and locking it, a sweep needs milliseconds.
YOUNG_S = 60.0


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Beside the decoded images, since the system's folder for temporary files may be memory.

    A living sweep holds a lock on its folder; the system lets go of it when the process ends,
    however it ends.
    """
    parent = cache_folder()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(parent)
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
    except OSError:
        folder = tempfile.mkdtemp(prefix=f"paddy-bench-{PREFIX}")
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
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                if time.time() - os.fstat(handle).st_mtime < YOUNG_S:
                    continue
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


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
        write_json(file, {**recall(kind), **found})
    except OSError:
        return


def _file(kind: str) -> Path:
    return cache_folder() / f"{kind}.json"
