"""Decode every image once: squared and resized pixels in one memory-mapped array.

All variants and epochs of a sweep read from it, in any number of processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import numpy as np

from bench.data.images import UnreadableImage, load_rgb, square
from bench.data.index import ImageIndex
from bench.errors import BenchError


@attrs.frozen(eq=False)
class DecodedImages:
    """Pixels of an index's images.

    Attributes:
        pixels: (N, S, S, 3) uint8, memory-mapped, one row for each decoded position.
        rows: position in the index → row.
        unreadable: relative path and reason of what could not be decoded.
    """

    pixels: np.ndarray
    rows: dict[int, int]
    unreadable: tuple[tuple[str, str], ...]


def decode(
    index: ImageIndex,
    positions: Sequence[int],
    *,
    image_size: int,
    folder: Path,
    workers: int,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> DecodedImages:
    """Decode, square and resize images in threads (Pillow decodes outside the interpreter lock).

    Args:
        index: where the images are.
        positions: which of them.
        image_size: S in pixels.
        folder: where the array's file goes.
        workers: threads.
        on_progress: called with images done and in all.

    Raises:
        BenchError: the folder's disk is too small, or no image can be decoded.
    """
    needed = len(positions) * image_size**2 * 3
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchError(
            f"the decoded images need {needed / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB "
            "are free: set TMPDIR to a larger disk, or lower --image-size or --train-limit"
        )
    shape = (len(positions), image_size, image_size, 3)
    pixels = np.lib.format.open_memmap(
        folder / f"images-{image_size}.npy", mode="w+", dtype=np.uint8, shape=shape
    )

    def decode_row(row: int) -> str | None:
        try:
            pixels[row] = np.asarray(square(load_rgb(index.path(positions[row])), image_size))
        except UnreadableImage as error:
            return error.reason
        return None

    rows: dict[int, int] = {}
    unreadable: list[tuple[str, str]] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        reasons = pool.map(decode_row, range(len(positions)))
        for row, (position, reason) in enumerate(zip(positions, reasons, strict=True)):
            if reason is None:
                rows[position] = row
            else:
                unreadable.append((index.paths[position], reason))
            on_progress(row + 1, len(positions))
    if not rows:
        raise BenchError(
            f"none of the {len(positions)} images in {index.root} can be decoded "
            f"(first: {unreadable[0][0]}: {unreadable[0][1]}): give --data-dir readable images"
        )
    return DecodedImages(pixels, rows, tuple(unreadable))
