"""Content hash, perceptual hash and thumbnail of image files, kept in a cache between runs."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from bench.data.images import UnreadableImage, refuse_special
from bench.data.index import ImageIndex
from bench.data.sources import storage
from bench.data.sources.prefixes import absolute
from bench.imaging.decode import DecodeError, decode
from bench.system.files import replacing

HASH_BITS = 64
THUMBNAIL = 16
# A JPEG's shorter side is decoded no finer than the perceptual hash needs, which looks at 32 × 32
# pixels.
DRAFT = 128
# Part of the cache file's name: a new number for a new way of hashing.
VERSION = 2


@attrs.frozen(eq=False)
class Hashes:
    """What is compared of N images.

    Attributes:
        contents: (N, 16) uint8, BLAKE2b of the file; zeros: empty or not to be read.
        hashes: (N, 8) uint8, the 64 bits of ``imagehash.phash``.
        thumbnails: (N, 16, 16, 3) uint8, mean colours of the picture's tiles.
        decoded: (N,) bool; where it is false, hash and thumbnail mean nothing.
    """

    contents: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray
    decoded: np.ndarray


def hash_images(
    index: ImageIndex,
    *,
    cache: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Hashes:
    """Hash every image of an index, in threads; what the cache knows is not read again.

    Args:
        index: the images.
        cache: folder for one file for each data folder; none: nothing is kept. An image is
            known by path and stamp (:func:`bench.data.sources.storage.stamp`). A cache that cannot
            be read or written is passed over.
        workers: threads.
        on_progress: called with (images done, images in all).
    """
    stamps = [_stamp(index, position) for position in range(len(index))]
    place = None if cache is None else _cache_file(cache, index.root)
    known = {} if place is None else _load(place)
    keys = list(zip(index.paths, stamps, strict=True))
    found = [known.get(key) for key in keys]
    missing = [position for position, one in enumerate(found) if one is None]
    on_progress(len(index) - len(missing), len(index))
    pool = ThreadPoolExecutor(max(1, workers))
    # One filter around all threads: the filters are the whole process's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = pool.map(lambda position: _hash(index.path(position)), missing)
            for done, (position, one) in enumerate(zip(missing, made, strict=True), start=1):
                found[position] = one
                on_progress(len(index) - len(missing) + done, len(index))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    contents, hashes, thumbnails, decoded = zip(*(one for one in found if one), strict=True)
    result = Hashes(np.stack(contents), np.stack(hashes), np.stack(thumbnails), np.array(decoded))
    if place is not None and missing:
        _save(place, keys, result)
    return result


# --- one image -------------------------------------------------------------------------------

_One = tuple[np.ndarray, np.ndarray, np.ndarray, bool]
Stamp = tuple[int, ...]


def _hash(path: Path) -> _One:
    import imagehash

    content, bits = np.zeros(16, np.uint8), np.zeros(HASH_BITS // 8, np.uint8)
    thumbnail = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    try:
        refuse_special(path)
        data = storage.read_bytes(path)
        if data:
            content = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)
        image = decode(BytesIO(data), least=DRAFT, side=min).image
    except (OSError, UnreadableImage, DecodeError):
        return content, bits, thumbnail, False
    bits = np.packbits(imagehash.phash(image).hash)
    tiles = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return content, bits, np.asarray(tiles), True


# --- the cache -------------------------------------------------------------------------------


def _stamp(index: ImageIndex, position: int) -> Stamp:
    try:
        stamp = storage.stamp(index.path(position))
    except OSError:
        return (0,) * storage.STAMP
    if not any(stamp[1:]):
        # A server that tells sizes alone: what was hashed holds for these contents of some.
        return (stamp[0], int(index.sample[:15] or "0", 16), *stamp[2:])
    return stamp


def _cache_file(cache: Path, root: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(absolute(root)), digest_size=16).hexdigest()
    return cache / "copies" / f"v{VERSION}-{name}.npz"


def _load(place: Path) -> dict[tuple[str, Stamp], _One]:
    try:
        # Opened here: numpy leaves a damaged file open.
        with place.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            paths, stamps = arrays["paths"].tolist(), arrays["stamps"].tolist()
            rows = [arrays[name] for name in ("contents", "hashes", "thumbnails")]
            decoded = arrays["decoded"].tolist()
        keys = [(path, tuple(stamp)) for path, stamp in zip(paths, stamps, strict=True)]
        known = dict(zip(keys, zip(*rows, decoded, strict=True), strict=True))
        # What could not be read then may be readable now.
        return {key: one for key, one in known.items() if one[0].any()}
    # A file cut short or of another program: every error means that it is made again.
    except Exception:
        return {}


def _save(place: Path, keys: list[tuple[str, Stamp]], result: Hashes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as file:
            np.savez(
                file,
                paths=np.array([path for path, _ in keys]),
                stamps=np.array([stamp for _, stamp in keys], dtype=np.int64),
                contents=result.contents,
                hashes=result.hashes,
                thumbnails=result.thumbnails,
                decoded=result.decoded,
            )
    except OSError:
        return
