"""A folder for one sweep alone, gone when it ends; those of killed sweeps go with the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.system.paths import cache_folder

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
