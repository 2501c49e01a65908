"""Locks that the system lets go of when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

TRIES = 100


class HeldError(Exception):
    """Another process has it."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file for as long as the block runs; it is made and removed.

    File systems without locks (some network drives) let everybody in.

    Raises:
        HeldError: another process has it.
    """
    for left in reversed(range(TRIES)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(handle)
        except HeldError:
            os.close(handle)
            raise
        # Its last holder may have removed it between our opening and our taking it. Some network
        # drives give a file another number each time: there the last try has to do.
        with contextlib.suppress(OSError):
            if not left or os.fstat(handle).st_ino == path.stat().st_ino:
                break
        os.close(handle)
    _handles.add(handle)
    try:
        yield
    finally:
        _handles.discard(handle)
        # By its holder only: removing another's would let a third one in.
        path.unlink(missing_ok=True)
        os.close(handle)


def held(path: Path) -> bool:
    """Return whether a process has it now."""
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


_handles: set[int] = set()


def _let_go() -> None:
    """Close the locks in a forked process, which would hold them after its parent was killed."""
    for handle in _handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_let_go)


def _take(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HeldError from error
    except OSError:
        return
