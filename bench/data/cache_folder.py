"""The folders that keep decoded images: their names, their limit, and what goes to make room."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import PIL

from bench.data.index import ImageIndex
from bench.data.pixel_file import DONE, PIXELS, PixelFile, open_or_make, remove
from bench.data.sources import storage
from bench.imaging import LOADER

# Part of a folder's name: a new number for another form of the files.
VERSION = 1
# Folders of builders that were killed: a living one renames its own within milliseconds.
STALE_S = 3600.0
MEND = "mend that, or set PADDY_BENCH_CACHE_DIR to another disk, or give --no-cache"


class NotKeptError(Exception):
    """Why decoded images are not kept (in words without a folder's name), and what helps."""

    def __init__(self, why: str, mend: str = MEND) -> None:
        super().__init__(why)
        self.why, self.mend = why, mend


def open_file(
    parent: Path, index: ImageIndex, positions: Sequence[int], image_size: int, limit: float
) -> PixelFile:
    """Return the file of an index's pictures, with room for what it lacks of the positions.

    There is one for each set of pictures, image size, loader and version of Pillow; a picture is
    known by path and stamp (:func:`bench.data.sources.storage.stamp`), all together by the content
    of some.

    Args:
        parent: holds a folder for each file.
        index: the pictures, a row for each of its positions.
        positions: those that are wanted.
        image_size: S in pixels.
        limit: most bytes that all files may take; the longest unused ones go first.

    Raises:
        NotKeptError: there is no room, or it cannot be made.
    """
    folder = parent / _key(index, image_size)
    try:
        file = open_or_make(folder, len(index), image_size)
        file.touch()
        done = file.done()
        new = sum(not done[i] for i in positions) * file.row_bytes
        whole = int(done.sum()) * file.row_bytes + new
        if not new:
            return file
        if whole > limit:
            why = f"they take {size_text(whole)}, and --cache-limit is {size_text(limit)}"
            raise NotKeptError(why, "raise it, or give --no-cache")
        make_room(parent, folder, limit - whole)
        free = shutil.disk_usage(folder).free
        if new > free:
            raise NotKeptError(f"they take {size_text(new)}, and {size_text(free)} are free")
    except OSError as error:
        raise because(error) from error
    return file


def because(error: OSError) -> NotKeptError:
    """Return a failure of the disk as the reason why nothing is kept."""
    return NotKeptError((error.strerror or str(error)).lower())


def size_text(count: float) -> str:
    """Return bytes for people: ``1.57 GB``, ``38.5 MB``."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _key(index: ImageIndex, image_size: int) -> str:
    """Return another name for other pictures, another size and another way of decoding."""
    digest = hashlib.blake2b(digest_size=16)
    kind = f"{VERSION}\0{LOADER}\0{PIL.__version__}\0{image_size}\0{index.sample}\n"
    digest.update(kind.encode())
    for i, path in enumerate(index.paths):
        try:
            stamp = "\0".join(map(str, storage.stamp(index.path(i))))
        except OSError:
            stamp = ""
        digest.update(f"{path}\0{stamp}\n".encode())
    return digest.hexdigest()


# --- room ------------------------------------------------------------------------------------


def make_room(parent: Path, keep: Path, limit: float) -> None:
    """Remove the longest unused folders until the others take at most ``limit`` bytes of disk.

    Args:
        parent: holds a folder for each file.
        keep: the one that stays and is not counted.
        limit: bytes.
    """
    others: list[tuple[float, int, Path]] = []
    for folder in parent.iterdir():
        if folder == keep or not folder.is_dir():
            continue
        used = _last_use(folder)
        if not folder.name.startswith("."):
            others.append((used, _disk_bytes(folder), folder))
        elif used < time.time() - STALE_S:
            remove(folder)
    total = sum(size for _, size, _ in others)
    for _, size, folder in sorted(others):
        if total <= limit:
            return
        remove(folder)
        total -= size


def _disk_bytes(folder: Path) -> int:
    """Return what a file takes on disk: less than its size where rows are missing."""
    total = 0
    for name in (PIXELS, DONE):
        with contextlib.suppress(OSError):
            total += (folder / name).stat().st_blocks * 512
    return total


def _last_use(folder: Path) -> float:
    """Return when it was read or written last, in seconds since 1970."""
    for path in (folder / DONE, folder):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0
