"""Tells data sets apart: by what is listed of every image, and by the bytes of some of them.

Times and places are no part of it: a copy of a data set is the same data set. Version 1, of
records without ``fingerprint_version``, was the listing alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.data.sources import remote, storage
from bench.data.sources.layouts import Entry
from bench.data.sources.prefixes import url_of
from bench.errors import BenchError
from bench.system.paths import cache_folder

VERSION = 2
# Images whose bytes are looked at, and the seed that they are drawn with: always the same ones.
SAMPLE, SEED = 1000, 0
THREADS = 8
UNREADABLE = "-"


def listing_digest(entries: Sequence[Entry]) -> str:
    """Return BLAKE2b (16 bytes, hex) over path, size, class, split, group of each, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        line = f"{entry.path}\0{entry.file_size}\0{entry.label}\0{entry.split or ''}"
        group = f"\0{entry.group}" if entry.group else ""
        digest.update(f"{line}{group}\n".encode())
    return digest.hexdigest()


def sample_digest(root: Path, entries: Sequence[Entry]) -> str:
    """Return BLAKE2b (16 bytes, hex) over path and content of up to :data:`SAMPLE` images.

    Files on a disk are read each time. What was read behind a URL is kept in the cache for as long
    as its filesystem tells of no change (entity tag, checksum, generation, time); where it tells
    nothing but sizes, it is read each time too.

    Raises:
        BenchError: an image behind a URL cannot be read now.
    """
    if len(entries) > SAMPLE:
        indices = random.Random(SEED).sample(range(len(entries)), SAMPLE)
        entries = [entries[index] for index in sorted(indices)]
    cache = None if url_of(root) is None else _cache_file(root, entries)
    if cache is not None:
        # What cannot be read is made again.
        with contextlib.suppress(OSError, ValueError):
            if len(known := cache.read_text(encoding="ascii")) == 32:
                return known
    with ThreadPoolExecutor(THREADS) as pool:
        contents = pool.map(functools.partial(_content, root), entries)
        lines = [f"{entry.path}\0{made}\n" for entry, made in zip(entries, contents, strict=True)]
    digest = storage.digest("".join(lines).encode())
    if cache is not None:
        with contextlib.suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.write_text(digest, encoding="ascii")
    return digest


def fingerprint_of(listing: str, sample: str) -> str:
    """Return version 2 of a data set's fingerprint: BLAKE2b (16 bytes, hex) over both digests."""
    return storage.digest(f"{VERSION}\0{listing}\0{sample}".encode())


def _content(root: Path, entry: Entry) -> str:
    """Return BLAKE2b of an image's bytes, in hex."""
    try:
        if entry.offset is not None:
            archive, _ = storage.parts_of(entry.path) or (entry.path, "")
            member = storage.Member(root / archive, entry.offset, entry.file_size)
            return storage.digest(storage.read(member))
        path = root / entry.path
        if not stat.S_ISREG(path.stat().st_mode):
            return UNREADABLE  # a pipe or a device may have no end
        with path.open("rb") as file:
            return hashlib.file_digest(
                file, functools.partial(hashlib.blake2b, digest_size=16)
            ).hexdigest()
    except OSError as error:
        if url_of(root) is not None:
            raise BenchError(f"{error}: see that the data can be reached, and try again") from error
        return UNREADABLE


def _cache_file(root: Path, entries: Sequence[Entry]) -> Path | None:
    """Return the file of a remote sample's digest; none: nothing tells whether it has changed."""
    lines = [str(root)]
    shards = {parts[0] for entry in entries if (parts := storage.parts_of(entry.path))}
    for shard in sorted(shards):
        try:
            size, change = remote.status(root / shard)
        except OSError:
            return None
        if not change:
            return None
        lines.append(f"{shard}\0{size}\0{change}\n")
    lines += [f"{entry.path}\0{entry.offset}\0{entry.file_size}\n" for entry in entries]
    return cache_folder() / "samples" / storage.digest("".join(lines).encode())
