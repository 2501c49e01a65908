"""Reads image files wherever they lie: in folders, or inside the shards of a data set."""

from __future__ import annotations

import stat
from io import BytesIO
from pathlib import Path

from bench.data import archives

STAMP = 4


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


def stamp(path: Path) -> tuple[int, ...]:
    """Its size, and what changes with its content: :data:`STAMP` numbers.

    Of a file those of :func:`bench.data.archives.changes_of`, of what lies in an archive these of
    the archive; behind a URL the number of :func:`bench.data.remote.status`.

    Raises:
        OSError: it is not there.
    """
    member = archives.find(path)
    if member is None:
        return archives.changes_of(path)
    return (member.size, *member.changes[1:], 0, 0)[:STAMP]


def kind(path: Path) -> int:
    """The file's mode, as of :func:`os.stat`.

    Raises:
        OSError: it is not there.
    """
    return path.stat().st_mode if archives.find(path) is None else stat.S_IFREG
