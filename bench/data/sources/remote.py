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
    """Return the filesystem of a path that is a URL's, and the path on it.

    Raises:
        BenchError: fsspec does not know it, or needs a package for it.
    """
    url = url_of(path)
    assert url is not None
    return open_url(url, "--data-dir")


def open_url(url: str, flag: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and the path on it.

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
    """Return the names in a folder, in order.

    Raises:
        BenchError: it cannot be listed.
    """
    system, folder = system_of(root)
    try:
        names = system.ls(folder, detail=False)
    except Exception as error:  # every filesystem has errors of its own
        raise BenchError(
            f"--data-dir {url_of(root)} cannot be listed ({type(error).__name__}: "
            f"{error_line(error)}): see that it is there and that you have the "
            "permission"
        ) from error
    return sorted(str(name).rstrip("/").rpartition("/")[2] for name in names)


def read(path: Path, start: int = 0, stop: int | None = None) -> bytes:
    """Return bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with _opened(path) as (system, name):
        data: bytes = system.cat_file(name, start=start, end=stop)
    return data


@functools.lru_cache(maxsize=1 << 16)
def status(path: Path) -> tuple[int, int]:
    """Return size, and a number that changes with the content; asked for once in a process.

    The number is 0 where the filesystem tells nothing but the size.

    Raises:
        OSError: it is not there.
    """
    with _opened(path) as (system, name):
        info = system.info(name)
    size = int(info.get("size") or 0)
    changes = [repr(info[key]) for key in CHANGES if info.get(key) is not None]
    if not changes:
        return size, 0
    digest = hashlib.blake2b(json.dumps([size, *changes]).encode(), digest_size=8).digest()
    return size, int.from_bytes(digest) >> 1


def members(path: Path, walk: Callable[[Any], Iterable[Member]]) -> Iterator[Member]:
    """Yield an archive's members, in order: it is read through once, the list kept in the cache.

    Args:
        path: of the archive.
        walk: lists the members of an open file.

    Raises:
        OSError: it cannot be read; or as ``walk``.
    """
    key = json.dumps([VERSION, str(path), *status(path)])
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    cache = cache_folder() / "shards" / f"{digest.hexdigest()}.json"
    listing = _load(cache)
    if listing is None:
        with (
            _opened(path) as (system, name),
            system.open(name, "rb", block_size=BLOCK, cache_type="readahead") as file,
        ):
            listing = list(walk(file))
        # Where nothing but the size is told, another archive may be behind it the next time.
        if status(path)[1]:
            _save(cache, listing)
    yield from listing


def _load(cache: Path) -> list[Member] | None:
    try:
        lines = json.loads(cache.read_text(encoding="utf8"))
        return [Member(n, o, s, None if t is None else t.encode("latin1")) for n, o, s, t in lines]
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _save(cache: Path, listing: list[Member]) -> None:
    lines = [[n, o, s, None if t is None else t.decode("latin1")] for n, o, s, t in listing]
    # A failure costs another pass the next time.
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, lines)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield filesystem and path on it; what either raises becomes an ``OSError`` with the URL."""
    try:
        yield system_of(path)
    except (FileNotFoundError, BenchError, tarfile.TarError):
        raise
    except Exception as error:  # every filesystem has errors of its own
        raise OSError(
            f"{url_of(path)} cannot be read ({type(error).__name__}: {error_line(error)})"
        ) from error
