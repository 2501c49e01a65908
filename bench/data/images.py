"""The images of a data set, from files, archives and URLs, as 8-bit RGB and squared for models."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.sources import storage
from bench.imaging.decode import FORMATS, MAX_PIXELS, Decoded, DecodeError, decode
from bench.imaging.square import DETAIL, square

__all__ = [
    "FORMATS", "MAX_PIXELS", "UnreadableImage", "load_rgb", "load_square", "read_size",
    "refuse_special", "square",
]  # fmt: skip


class UnreadableImage(Exception):
    """A file that cannot be decoded as an image.

    Attributes:
        path: the file.
        reason: why, in one line.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load_rgb(path: Path, *, long_side: int | None = None) -> Image.Image:
    """Decode the first frame of an image file, upright, as 8-bit RGB.

    Args:
        path: the file.
        long_side: pixels that the longer side needs at least: a JPEG may come at 1/2, 1/4 or 1/8
            of its size, which its decoder does several times as fast. None: the full size, which
            for the largest JPEGs takes a gigabyte.

    Raises:
        UnreadableImage: missing, truncated, not an image of :data:`FORMATS`, or too many pixels
            (:func:`bench.imaging.decode.decode`).
    """
    return _decode(path, long_side).image


def load_square(path: Path, size: int) -> np.ndarray:
    """Return (S, S, 3) uint8: :func:`square` of an image, a JPEG decoded no finer than needed.

    Pixels differ from those of the full decode by less than 1 of 255 in the mean.

    Args:
        path: the file.
        size: S in pixels.

    Raises:
        UnreadableImage: as :func:`load_rgb`.
    """
    decoded = _decode(path, DETAIL * size)
    return np.asarray(square(decoded.image, size, decoded.box))


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels, upright; the whole file is decoded, as coarsely as it can.

    Raises:
        UnreadableImage: as :func:`load_rgb`.
    """
    return _decode(path, 1).size


def _decode(path: Path, least: int | None) -> Decoded:
    path = Path(path)
    refuse_special(path)
    try:
        return decode(storage.source(path), least=least)
    except DecodeError as error:
        # The decoder's own error: whoever explains it looks for the disk's.
        raise UnreadableImage(path, str(error)) from error.__cause__ or error
    except OSError as error:
        raise UnreadableImage(path, (error.strerror or str(error)).lower()) from error


def refuse_special(path: Path) -> None:
    """See that reading a file can come to an end: a pipe or a device need not.

    Raises:
        UnreadableImage: it is neither a regular file nor absent.
    """
    try:
        mode = storage.kind(path)
    except OSError:
        return  # opening it says what is wrong
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or device"
        raise UnreadableImage(path, f"{kind}, not a regular file")
