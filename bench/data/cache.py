"""Decodes every image once: squared and resized pixels, kept on disk between sweeps.

All variants, seeds and epochs read them, in any number of processes. Where they cannot be kept,
the images are decoded each time that they are read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from bench.data.cache_folder import NotKeptError, because, open_file, size_text
from bench.data.images import UnreadableImage, load_square, read_size
from bench.data.index import ImageIndex
from bench.data.pixel_file import PixelFile, RowWriter
from bench.errors import BenchError
from bench.system.digits import counted

# Rows are brought to the disk for good in steps of so many bytes; a crash costs a step.
STEP_BYTES = 32e6


@attrs.frozen(eq=False, kw_only=True)
class DecodedImages:
    """Pixels of an index's images; pickled, it takes no pixels along.

    Attributes:
        root: the data folder.
        paths: relative to it, one for each position of the index.
        image_size: S in pixels.
        rows: position in the index → row.
        unreadable: relative path and reason of what could not be decoded.
        file: where rows are kept; none: nowhere.
        kept: (positions,) bool, the rows that are in the file.
        why_not: why not all are kept, without a folder's name; none: they are, or need not be.
        found: images that were there already.
        decoded: images that were decoded now.
        seconds: what all this took.
    """

    root: Path
    paths: tuple[str, ...]
    image_size: int
    rows: dict[int, int]
    unreadable: tuple[tuple[str, str], ...]
    file: PixelFile | None
    kept: np.ndarray
    why_not: str | None
    found: int
    decoded: int
    seconds: float

    def read(self, row: int) -> np.ndarray:
        """Return the (S, S, 3) uint8 pixels of a row, not to be written to.

        Raises:
            UnreadableImage: not kept, and the image was changed or removed meanwhile.
        """
        if self.kept[row] and self.file is not None and self.file.pixels is not None:
            return self.file.pixels[row]
        return load_square(self.root / self.paths[row], self.image_size)

    def describe(self) -> dict[str, Any]:
        """Return what a record says of where the pixels come from."""
        count = int(self.kept[list(self.rows.values())].sum())
        kinds = {len(self.rows): "cache", 0: "decoded at each access"}
        return {
            "kind": kinds.get(count, "cache in part, the rest decoded at each access"),
            "images": len(self.rows),
            "found": self.found,
            "decoded": self.decoded,
            "bytes": count * self.image_size**2 * 3,
            "seconds": self.seconds,
            "why_not_cached": self.why_not,
        }


def open_images(
    index: ImageIndex,
    positions: Sequence[int],
    *,
    image_size: int,
    cache: Path | None,
    limit: float,
    workers: int,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    say: Callable[[str], object] = lambda line: None,
) -> DecodedImages:
    """Return the pixels of images; what is not in the cache is decoded now, in threads.

    The cache has a folder for each set of pictures, image size, loader and version of Pillow, in
    which a picture is known by path, size, time of change (ns) and inode. Without a cache each
    image is still decoded once, coarsely, so that unreadable ones are known before any training.

    Args:
        index: where the images are.
        positions: which of them.
        image_size: S in pixels.
        cache: the harness's cache folder; none: nothing is kept.
        limit: most bytes that all decoded images in it may take; the longest unused go first.
        workers: threads (Pillow decodes outside the interpreter lock).
        on_progress: called with images done and in all.
        say: called with a line for the user: the size of what is built, or why nothing is kept.

    Raises:
        BenchError: no image can be decoded.
    """
    begin = time.perf_counter()
    parent = None if cache is None else cache / "decoded"
    file, problem, writer = None, None, None
    if parent is not None:
        try:
            file = open_file(parent, index, positions, image_size, limit)
        except NotKeptError as error:
            problem = error
    kept = np.zeros(len(index), bool) if file is None else file.done()
    missing = [i for i in positions if not kept[i]]
    if file is not None and missing:
        size = size_text(len(missing) * file.row_bytes)
        say(f"decoding {counted(len(missing), 'image')} at {image_size} pixels: {size} in {parent}")
        writer = RowWriter(file)
    unreadable = _decode(
        index, missing, image_size, writer, workers,
        lambda done: on_progress(len(positions) - len(missing) + done, len(positions)),
    )  # fmt: skip
    rows = {i: i for i in positions if i not in unreadable}
    if not rows:
        first = positions[0]
        raise BenchError(
            f"none of the {len(positions)} images in {index.root} can be decoded "
            f"(first: {index.paths[first]}: {unreadable[first]}): give --data-dir readable images"
        )
    if file is not None and writer is not None:
        kept = file.done()
        if writer.error is not None and not kept[list(rows)].all():
            problem = because(writer.error)
    if problem is not None:
        say(
            f"warning: decoded images are not kept in {parent}, but decoded each time: "
            f"{problem.why}: {problem.mend}"
        )
    return DecodedImages(
        root=index.root,
        paths=index.paths,
        image_size=image_size,
        rows=rows,
        unreadable=tuple((index.paths[i], unreadable[i]) for i in positions if i in unreadable),
        file=file,
        kept=kept,
        why_not=None if problem is None else problem.why,
        found=len(positions) - len(missing),
        decoded=len(missing) - len(unreadable),
        seconds=time.perf_counter() - begin,
    )


def _decode(
    index: ImageIndex,
    missing: Sequence[int],
    image_size: int,
    writer: RowWriter | None,
    workers: int,
    advance: Callable[[int], object],
) -> dict[int, str]:
    """Decode images into the writer's file; return the reasons of those that cannot be decoded."""

    def decode(i: int) -> str | None:
        path = index.path(i)
        try:
            if writer is None or writer.error is not None:
                # Nobody keeps the pixels: an eighth of the size shows as well what is damaged.
                read_size(path)
            else:
                writer.write(i, load_square(path, image_size))
        except UnreadableImage as error:
            return error.reason
        return None

    unreadable: dict[int, str] = {}
    step = max(1, int(STEP_BYTES / (image_size**2 * 3)))
    closing = contextlib.nullcontext() if writer is None else contextlib.closing(writer)
    with closing, ThreadPoolExecutor(max(1, workers)) as pool:
        advance(0)
        # What the loop has not taken from ``map`` when it ends early is not begun any more.
        for done, (i, reason) in enumerate(zip(missing, pool.map(decode, missing), strict=True), 1):
            if reason is not None:
                unreadable[i] = reason
            if writer is not None and (done % step == 0 or done == len(missing)):
                writer.mark(missing[(done - 1) // step * step : done])
            advance(done)
    return unreadable
