"""Files inside tar archives, read at their place without unpacking.

A path below an archive, ``train-000.tar/blast/17.jpg``, names a member of it.
"""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SUFFIX = ".tar"
# Archives whose tables of contents are kept in memory at once.
KEPT = 64


class Member(NamedTuple):
    """Where a member's bytes lie in its archive, and when the archive was changed."""

    shard: Path
    offset: int
    size: int
    mtime_ns: int


def parts_of(path: Path | str) -> tuple[str, str] | None:
    """``a/b.tar/c/d.jpg`` → ``("a/b.tar", "c/d.jpg")``; none: no part of it is such an archive."""
    text = str(path)
    place = text.find(f"{SUFFIX}/")
    if place < 0:
        return None
    end = place + len(SUFFIX)
    return text[:end], text[end + 1 :]


def find(path: Path) -> Member | None:
    """The member that a path means; none: it is a path like any other.

    Raises:
        FileNotFoundError: the archive, or the member in it, is not there.
        OSError: it cannot be read.
    """
    parts = parts_of(path)
    if parts is None or Path(parts[0]).is_dir():
        return None
    shard, name = Path(parts[0]), parts[1]
    status = shard.stat()
    try:
        offset, size = _contents(shard, status.st_size, status.st_mtime_ns)[name]
    except KeyError:
        raise FileNotFoundError(2, "no such member", str(path)) from None
    except tarfile.TarError as error:
        raise OSError(f"{shard} is no tar file: {error}") from error
    return Member(shard, offset, size, status.st_mtime_ns)


def read(member: Member) -> bytes:
    """A member's bytes.

    Raises:
        OSError: the archive cannot be read, or ends too early.
    """
    handle = os.open(member.shard, os.O_RDONLY)
    try:
        data = os.pread(handle, member.size, member.offset)
    finally:
        os.close(handle)
    if len(data) != member.size:
        raise OSError(f"{member.shard} ends within a member")
    return data


@functools.lru_cache(maxsize=KEPT)
def _contents(shard: Path, size: int, mtime_ns: int) -> dict[str, tuple[int, int]]:
    """Offset and size of every member, by name; kept as long as the archive is not changed."""
    return {name: (offset, length) for name, offset, length in walk(shard)}


def walk(shard: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each regular member.

    Raises:
        tarfile.TarError, OSError: it cannot be read as a tar file.
    """
    with tarfile.open(shard, "r:") as archive:
        for member in archive:
            # Links and devices are nothing that an image can be.
            if member.isreg():
                # As a path below the archive has it: ``./a//b.jpg`` is ``a/b.jpg``.
                name = str(PurePosixPath(member.name.lstrip("/")))
                yield name, member.offset_data, member.size
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all
