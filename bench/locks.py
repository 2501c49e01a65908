"""Locks that the system lets go of when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class HeldError(Exception):
    """Another process has it."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file for as long as the block runs; it is made and removed.

    File systems without locks (some network drives) let everybody in.

    Raises:
        HeldError: another process has it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(handle)
        try:
            yield
        finally:
            # By its holder only: removing another's would let a third one in.
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def held(path: Path) -> bool:
    """Whether a process has it now."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        _take(handle)
    except HeldError:
        return True
    finally:
        os.close(handle)
    return False


def _take(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HeldError from error
    except OSError:
        return
