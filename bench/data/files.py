"""Reads image files wherever they lie: in folders, or inside the shards of a data set."""

from __future__ import annotations

import stat
from io import BytesIO
from pathlib import Path

from bench.data import archives


def source(path: Path) -> Path | BytesIO:
    """What Pillow is to open.

    Raises:
        OSError: it cannot be read.
    """
    member = archives.find(path)
    return path if member is None else BytesIO(archives.read(member))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read.
    """
    member = archives.find(path)
    return path.read_bytes() if member is None else archives.read(member)


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change (ns): another file has another one.

    Raises:
        OSError: it is not there.
    """
    member = archives.find(path)
    if member is not None:
        return member.size, member.mtime_ns
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def kind(path: Path) -> int:
    """The file's mode, as of :func:`os.stat`.

    Raises:
        OSError: it is not there.
    """
    return path.stat().st_mode if archives.find(path) is None else stat.S_IFREG
