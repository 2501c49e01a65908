"""Content hash, perceptual hash and thumbnail of image files, kept in a cache between runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

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


class Hashes(NamedTuple):
    """What is compared of an image, or of N.

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
    keys = [(path, _stamp(index, i)) for i, path in enumerate(index.paths)]
    file = None if cache is None else _cache_file(cache, index.root)
    known = {} if file is None else _load(file)
    missing = [i for i, key in enumerate(keys) if key not in known]
    cached = len(index) - len(missing)
    on_progress(cached, len(index))
    # One filter around all threads: the filters are the whole process's.
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers)) as pool:
        warnings.simplefilter("ignore")
        for done, (i, image) in enumerate(
            zip(missing, pool.map(lambda i: _hash(index.path(i)), missing), strict=True),
            start=cached + 1,
        ):
            known[keys[i]] = image
            on_progress(done, len(index))
    columns = zip(*(known[key] for key in keys), strict=True)
    hashes = Hashes(*(np.stack(column) for column in columns))
    if file is not None and missing:
        _save(file, keys, hashes)
    return hashes


def _hash(path: Path) -> Hashes:
    import imagehash

    content, bits = np.zeros(16, np.uint8), np.zeros(HASH_BITS // 8, np.uint8)
    tiles = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    try:
        refuse_special(path)
        data = storage.read_bytes(path)
        if data:
            content = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)
        image = decode(BytesIO(data), least=DRAFT, side=min).image
    except (OSError, UnreadableImage, DecodeError):
        return Hashes(content, bits, tiles, np.array(False))
    bits = np.packbits(imagehash.phash(image).hash)
    tiles = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return Hashes(content, bits, tiles, np.array(True))


# --- the cache -------------------------------------------------------------------------------

# Path and stamp.
Key = tuple[str, tuple[int, ...]]


def _stamp(index: ImageIndex, i: int) -> tuple[int, ...]:
    try:
        stamp = storage.stamp(index.path(i))
    except OSError:
        return (0,) * storage.STAMP
    if not any(stamp[1:]):
        # A server that tells sizes alone: what was hashed holds for these contents of some.
        return (stamp[0], int(index.sample[:15] or "0", 16), *stamp[2:])
    return stamp


def _cache_file(cache: Path, root: Path) -> Path:
    return cache / "copies" / f"v{VERSION}-{storage.digest(os.fsencode(absolute(root)))}.npz"


def _load(path: Path) -> dict[Key, Hashes]:
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            keys = zip(arrays["paths"].tolist(), map(tuple, arrays["stamps"].tolist()), strict=True)
            images = zip(*(arrays[name] for name in Hashes._fields), strict=True)
            known = {key: Hashes(*image) for key, image in zip(keys, images, strict=True)}
        # What could not be read then may be readable now.
        return {key: image for key, image in known.items() if image.contents.any()}
    # A file cut short or of another program: every error means that it is made again.
    except Exception:
        return {}


def _save(path: Path, keys: list[Key], hashes: Hashes) -> None:
    paths, stamps = zip(*keys, strict=True)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            arrays = {"paths": np.array(paths), "stamps": np.array(stamps, np.int64)}
            np.savez(file, **arrays, **hashes._asdict())  # type: ignore[arg-type]
