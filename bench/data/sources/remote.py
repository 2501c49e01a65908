"""Shards behind a URL of a filesystem that fsspec knows: S3, Google Cloud, HTTP, SSH."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.data.sources.prefixes import url_of
from bench.errors import BenchError, error_line
from bench.system.files import write_json
from bench.system.paths import cache_folder

# What is read at once where a whole archive is gone through.
BLOCK = 1 << 22
# What filesystems call that which changes with a file's content.
CHANGES = (
    "ETag", "etag", "checksum", "md5Hash", "generation",
    "mtime", "created", "LastModified", "last_modified", "Last-Modified", "updated",
    "Content-MD5", "Digest",
)  # fmt: skip
# A new number for another form of what is kept.
VERSION = 2


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: as a path below the archive has it.
        offset: of its bytes.
        size: of them.
        text: its bytes where it says something of an image; else none.
    """

    name: str
    offset: int
    size: int
    text: bytes | None


def system_of(path: Path) -> tuple[Any, str]:
    """The filesystem of a path that is a URL's, and the place on it.

    Raises:
        BenchError: fsspec does not know it, or needs a package for it.
    """
    url = url_of(path)
    assert url is not None
    return open_url(url, "--data-dir")


def open_url(url: str, flag: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the place on it.

    Args:
        url: as fsspec takes it.
        flag: of the option that gave it, for messages.

    Raises:
        BenchError: fsspec does not know it, or needs a package for it.
    """
    import fsspec

    try:
        # Made anew in a process that was forked; else the one that there is.
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise BenchError(f"{flag} {url}: {error}") from error
    except Exception as error:  # every filesystem has errors of its own
        raise BenchError(
            f"{flag} {url}: {error_line(error)}: give a URL that fsspec knows and that you "
            "have the permission for, such as s3://bucket/folder"
        ) from error


def names_in(root: Path) -> list[str]:
    """The names in a folder, in order.

    Raises:
        BenchError: it cannot be listed.
    """
    system, place = system_of(root)
    try:
        found = system.ls(place, detail=False)
    except Exception as error:  # every filesystem has errors of its own
        raise BenchError(
            f"--data-dir {url_of(root)} cannot be listed ({type(error).__name__}: "
            f"{error_line(error)}): see that it is there and that you have the "
            "permission"
        ) from error
    return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)


def read(path: Path, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with _opened(path) as (system, place):
        data: bytes = system.cat_file(place, start=start, end=stop)
    return data


@functools.lru_cache(maxsize=1 << 16)
def status(path: Path) -> tuple[int, int]:
    """Size, and a number that changes with the content; asked for once in a process.

    The number is 0 where the filesystem tells nothing but the size.

    Raises:
        OSError: it is not there.
    """
    with _opened(path) as (system, place):
        found = system.info(place)
    size = int(found.get("size") or 0)
    told = [repr(found[key]) for key in CHANGES if found.get(key) is not None]
    if not told:
        return size, 0
    digest = hashlib.blake2b(json.dumps([size, *told]).encode(), digest_size=8).digest()
    return size, int.from_bytes(digest) >> 1


def members(path: Path, walk: Callable[[Any], Iterable[Member]]) -> Iterator[Member]:
    """An archive's members, in order: it is gone through once, and its list is kept in the cache.

    Args:
        path: of the archive.
        walk: lists the members of an open file.

    Raises:
        OSError: it cannot be read; or as ``walk``.
    """
    # Where nothing but the size is told, another archive may be behind it the next time.
    kept = _kept(path) if status(path)[1] else None
    found = None if kept is None else _known(kept)
    if found is None:
        with (
            _opened(path) as (system, place),
            system.open(place, "rb", block_size=BLOCK, cache_type="readahead") as file,
        ):
            found = list(walk(file))
        if kept is not None:
            _keep(kept, found)
    yield from found


def _kept(path: Path) -> Path:
    about = json.dumps([VERSION, str(path), *status(path)])
    name = hashlib.blake2b(about.encode(), digest_size=16).hexdigest()
    return cache_folder() / "shards" / f"{name}.json"


def _known(kept: Path) -> list[Member] | None:
    try:
        lines = json.loads(kept.read_text(encoding="utf8"))
        return [Member(n, o, s, None if t is None else t.encode("latin1")) for n, o, s, t in lines]
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _keep(kept: Path, found: list[Member]) -> None:
    lines = [[n, o, s, None if t is None else t.decode("latin1")] for n, o, s, t in found]
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, lines)
    except OSError:
        return  # it is gone through again the next time


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """Filesystem and place; what either raises becomes an ``OSError`` with the URL in it."""
    try:
        yield system_of(path)
    except (FileNotFoundError, BenchError, tarfile.TarError):
        raise
    except Exception as error:  # every filesystem has errors of its own
        raise OSError(
            f"{url_of(path)} cannot be read ({type(error).__name__}: {error_line(error)})"
        ) from error
