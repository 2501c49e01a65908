"""Read image files in folders, and inside archives at their place without unpacking.

A path below an archive, ``train-000.tar/blast/17.jpg``, names a member of it; one below an Arrow
file, ``train.arrow/17``, the image of a row (:mod:`bench.data.sources.arrow`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from bench.data.sources import arrow, remote
from bench.data.sources.prefixes import url_of
from bench.data.sources.remote import Member as Listed

STAMP = 4


def source(path: Path) -> Path | BytesIO:
    """Return what Pillow is to open.

    Raises:
        OSError: it cannot be read.
    """
    member = find(path)
    return path if member is None else BytesIO(read(member))


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read.
    """
    member = find(path)
    return path.read_bytes() if member is None else read(member)


def stamp(path: Path) -> tuple[int, ...]:
    """Return its size, and what changes with its content: :data:`STAMP` numbers.

    Of a file those of :func:`changes_of`, of what lies in an archive these of the archive; behind
    a URL the number of :func:`bench.data.sources.remote.status`.

    Raises:
        OSError: it is not there.
    """
    member = find(path)
    if member is None:
        return changes_of(path)
    return (member.size, *member.changes[1:], 0, 0)[:STAMP]


def kind(path: Path) -> int:
    """Return the file's mode, as of :func:`os.stat`.

    Raises:
        OSError: it is not there.
    """
    return path.stat().st_mode if find(path) is None else stat.S_IFREG


def digest(data: bytes) -> str:
    """Return BLAKE2b of the data (16 bytes, in hex)."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


SUFFIX = ".tar"
# Where the name of an archive ends in a path below it.
ARCHIVE_END = re.compile(r"(?<=\.tar)/|(?<=\.arrow)/")
# What says something of an image beside it, and the longest that is looked at.
TEXT_SUFFIXES, MOST_TEXT = (".cls", ".json"), 1 << 20
# Archives whose tables of contents are kept in memory at once.
KEPT = 64


class Member(NamedTuple):
    """The position of a member's bytes in its archive, and what changes with the archive."""

    shard: Path
    offset: int
    size: int
    changes: tuple[int, ...] = ()


class Contents(Protocol):
    """Offset and size of each member, by name."""

    def __getitem__(self, name: str, /) -> tuple[int, int]:
        """Raises KeyError: there is no such member."""


def parts_of(path: Path | str) -> tuple[str, str] | None:
    """``a/b.tar/c/d.jpg`` → ``("a/b.tar", "c/d.jpg")``; none: no part of it is such an archive."""
    return next(_candidates(str(path)), None)


def _candidates(text: str) -> Iterator[tuple[str, str]]:
    """Yield each beginning of a path that may be an archive, and the rest; the shortest first."""
    for end in ARCHIVE_END.finditer(text):
        yield text[: end.start()], text[end.end() :]


def find(path: Path) -> Member | None:
    """Return the member that a path means; none: it is a path like any other.

    Raises:
        FileNotFoundError: the archive, or the member in it, is not there.
        OSError: it cannot be read.
    """
    remotely = url_of(path) is not None
    # A folder may be called so too; behind a URL nobody is asked, and it is above the archive.
    candidates = [
        candidate
        for candidate in _candidates(str(path))
        if remotely or not Path(candidate[0]).is_dir()
    ]
    if not candidates:
        return None
    archive, name = candidates[-1 if remotely else 0]
    shard = Path(archive)
    changes = remote.status(shard) if remotely else changes_of(shard)
    try:
        offset, size = _contents(shard, changes)[name]
    except KeyError:
        raise FileNotFoundError(2, "no such member", str(path)) from None
    except (tarfile.TarError, arrow.NoArrowError) as error:
        raise OSError(f"{shard} cannot be read as an archive: {error}") from error
    return Member(shard, offset, size, changes)


def changes_of(path: Path) -> tuple[int, ...]:
    """Return a file's size, time of change (ns), inode and time of the inode's change (ns).

    A replaced file has another inode. One that is written over and gets its old time back has
    another time of the inode, which no program can set.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    # Some filesystems number inodes up to 2^64, which no int64 holds.
    return status.st_size, status.st_mtime_ns, status.st_ino & (2**63 - 1), status.st_ctime_ns


def read(member: Member) -> bytes:
    """Return a member's bytes.

    Raises:
        OSError: the archive cannot be read, or ends too early.
    """
    if url_of(member.shard) is not None:
        data = remote.read(member.shard, member.offset, member.offset + member.size)
    else:
        with member.shard.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), member.size, member.offset)
    if len(data) > member.size:
        raise OSError(f"{url_of(member.shard)} is given whole only, not in parts: copy it")
    if len(data) != member.size:
        raise OSError(f"{member.shard} ends within a member")
    return data


@functools.lru_cache(maxsize=KEPT)
def _contents(shard: Path, changes: tuple[int, ...]) -> Contents:
    """Return an archive's table of contents, read again once the archive has changed."""
    if shard.suffix == arrow.SUFFIX:
        return arrow.contents(shard)
    return {member.name: (member.offset, member.size) for member in walk(shard)}


def walk(shard: Path) -> Iterator[Listed]:
    """Yield each regular member of a tar file, in order.

    Raises:
        tarfile.TarError, OSError: it cannot be read as a tar file.
    """
    if url_of(shard) is not None:
        yield from remote.members(shard, _walk)
        return
    with shard.open("rb") as file:
        yield from _walk(file)


def _walk(file: Any) -> Iterator[Listed]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            # Links and devices are nothing that an image can be.
            if member.isreg():
                # As a path below the archive has it: ``./a//b.jpg`` is ``a/b.jpg``.
                name = str(PurePosixPath(member.name.lstrip("/")))
                has_text = name.lower().endswith(TEXT_SUFFIXES) and member.size <= MOST_TEXT
                content = archive.extractfile(member) if has_text else None
                text = None if content is None else content.read()
                yield Listed(name, member.offset_data, member.size, text)
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all
