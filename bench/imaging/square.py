"""Pads a picture to a square and resizes it, and makes thumbnails: each in one step."""

from __future__ import annotations

import math

import attrs
import numpy as np
from PIL import Image

from bench.imaging.decode import MAX_PIXELS, Box

# The longer side of a JPEG is decoded to at least so many times the pixels of the result.
DETAIL = 3


def square(image: Image.Image, size: int, box: Box | None = None) -> Image.Image:
    """Pad with black to a centred square, then resize to ``size`` × ``size`` pixels.

    One step with Pillow's bilinear filter, which averages over the source area of a pixel when it
    shrinks (antialiasing). The edges of picture and square need not lie between pixels: a pixel
    that is in them with a part of its area counts with that part.

    Args:
        image: 8-bit RGB.
        size: S in pixels.
        box: the picture's place in the image (:class:`bench.imaging.decode.Decoded`); none: all.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    side = max(right - left, bottom - top)
    times = int(side // (DETAIL * size))
    if side * side > MAX_PIXELS and times > 1:
        # That square would take gigabytes: the means of N × N pixels, as from a JPEG's decoder.
        image = image.reduce(times)
        left, top, right, bottom = (edge / times for edge in (left, top, right, bottom))
        side = max(right - left, bottom - top)
    across = _Axis.of(image.width, left, right, side)
    down = _Axis.of(image.height, top, bottom, side)
    mask = None
    if min(down.drawn.min(), across.drawn.min()) < 1:
        shares = np.outer(down.drawn, across.drawn)
        mask = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
    if mask is not None or image.size != (across.length, down.length):
        canvas = Image.new("RGB", (across.length, down.length))
        canvas.paste(image, (across.before, down.before), mask)
        image = canvas
    place = (across.low, down.low, across.high, down.high)
    resized = image.resize((size, size), Image.Resampling.BILINEAR, place)
    rows, columns = down.covered(size), across.covered(size)
    if min(rows.min(), columns.min()) == 1:
        return resized
    pixels = np.asarray(resized) / np.outer(rows, columns)[:, :, None]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@attrs.frozen(eq=False)
class _Axis:
    """Picture and square along one side of the image that is resized.

    Attributes:
        before: black pixels before those of the decoded image.
        length: pixels in all.
        low, high: edges of the square.
        drawn: the share of each pixel of the decoded image that the picture has.
    """

    before: int
    length: int
    low: float
    high: float
    drawn: np.ndarray

    @classmethod
    def of(cls, count: int, start: float, stop: float, side: float) -> _Axis:
        """The axis of ``count`` pixels, the picture from ``start`` to ``stop`` in the middle."""
        pad = (side - (stop - start)) / 2
        before = math.ceil(max(0.0, pad - start))
        low = before + start - pad
        length = max(before + count, math.ceil(low + side))
        return cls(before, length, low, low + side, _shares(count, start, stop))

    def covered(self, size: int) -> np.ndarray:
        """(S,): the share of the filter's weights that lies in the square, for each pixel of S."""
        inside = _shares(self.length, self.low, self.high)
        if (inside == 1).all():
            return np.ones(size)
        line = Image.fromarray(inside.astype(np.float32)[None])
        box = (self.low, 0, self.high, 1)
        return np.asarray(line.resize((size, 1), Image.Resampling.BILINEAR, box), np.float64)[0]


def _shares(count: int, start: float, stop: float) -> np.ndarray:
    """(count,): how much of each pixel lies between ``start`` and ``stop``, 0..1."""
    edges = np.clip(np.arange(count + 1), start, stop)
    return np.diff(edges)


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """The picture with a longer side of at most ``side`` pixels; a smaller one stays as it is."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)
