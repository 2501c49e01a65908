"""Tells data sets apart: by what is listed of every image, and by the bytes of some of them.

Times and places are no part of it: a copy of a data set is the same data set. Version 1, of
records without ``fingerprint_version``, was the listing alone.
"""

from __future__ import annotations

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
    """BLAKE2b (16 bytes, hex) over path, size, class, part and group of each image, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        line = f"{entry.path}\0{entry.file_size}\0{entry.label}\0{entry.part or ''}"
        group = f"\0{entry.group}" if entry.group else ""
        digest.update(f"{line}{group}\n".encode())
    return digest.hexdigest()


def sample_digest(root: Path, entries: Sequence[Entry]) -> str:
    """BLAKE2b (16 bytes, hex) over path and content of up to :data:`SAMPLE` images.

    Files on a disk are read each time. What was read behind a URL is kept in the cache for as long
    as its filesystem tells of no change (entity tag, checksum, generation, time); where it tells
    nothing but sizes, it is read each time too.

    Raises:
        BenchError: an image behind a URL cannot be read now.
    """
    places = range(len(entries))
    if len(entries) > SAMPLE:
        places = sorted(random.Random(SEED).sample(places, SAMPLE))  # type: ignore[assignment]
    chosen = [entries[place] for place in places]
    kept = None if url_of(root) is None else _kept(root, chosen)
    try:
        if kept is not None and len(found := kept.read_text(encoding="ascii")) == 32:
            return found
    except (OSError, ValueError):
        pass  # it is made again
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor(THREADS) as pool:
        contents = pool.map(functools.partial(_content, root), chosen)
        for entry, content in zip(chosen, contents, strict=True):
            digest.update(f"{entry.path}\0{content}\n".encode())
    if kept is not None:
        _keep(kept, digest.hexdigest())
    return digest.hexdigest()


def fingerprint_of(listing: str, sample: str) -> str:
    """Version 2 of a data set's fingerprint: BLAKE2b (16 bytes, hex) over both digests."""
    return hashlib.blake2b(f"{VERSION}\0{listing}\0{sample}".encode(), digest_size=16).hexdigest()


def _content(root: Path, entry: Entry) -> str:
    """BLAKE2b of an image's bytes, in hex."""
    try:
        if entry.offset is not None:
            archive, _ = storage.parts_of(entry.path) or (entry.path, "")
            data = storage.read(storage.Member(root / archive, entry.offset, entry.file_size))
            return hashlib.blake2b(data, digest_size=16).hexdigest()
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


# --- behind a URL ----------------------------------------------------------------------------


def _kept(root: Path, chosen: Sequence[Entry]) -> Path | None:
    """Where the digest of a sample is kept; none: nothing tells whether it has changed."""
    about = hashlib.blake2b(str(root).encode(), digest_size=16)
    shards = {parts[0] for entry in chosen if (parts := storage.parts_of(entry.path))}
    for shard in sorted(shards):
        try:
            size, change = remote.status(root / shard)
        except OSError:
            return None
        if not change:
            return None
        about.update(f"{shard}\0{size}\0{change}\n".encode())
    for entry in chosen:
        about.update(f"{entry.path}\0{entry.offset}\0{entry.file_size}\n".encode())
    return cache_folder() / "samples" / about.hexdigest()


def _keep(kept: Path, digest: str) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(digest, encoding="ascii")
    except OSError:
        return  # it is read again the next time
