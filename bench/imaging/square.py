"""Pads a picture to a square and resizes it, and makes thumbnails: each in one step."""

from __future__ import annotations

import functools
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
        # One side after the other: Pillow divides by an area in whole 2⁻²⁴, 2 % short at 625².
        image = image.reduce((times, 1)).reduce((1, times))
        left, top, right, bottom = (edge / times for edge in (left, top, right, bottom))
        side = max(right - left, bottom - top)
    across = _axis(image.width, left, right, side, size)
    down = _axis(image.height, top, bottom, side, size)
    if across.cut or down.cut:
        shares = np.outer(_shares(image.height, top, bottom), _shares(image.width, left, right))
        mask = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
        black = Image.new("RGB", image.size)
        black.paste(image, mask=mask)
        image = black
    extent = (across.stop - across.start, down.stop - down.start)
    # Of both at once Pillow chooses which side comes first by their lengths, and rounds between.
    # The longer one first: what is padded is then what was made smaller.
    resized = image
    for horizontal in (True, False) if right - left >= bottom - top else (False, True):
        resized = _resize(resized, across if horizontal else down, horizontal)
    if across.covered is not None or down.covered is not None:
        rows, columns = (
            np.ones(pixels) if axis.covered is None else axis.covered
            for axis, pixels in ((down, extent[1]), (across, extent[0]))
        )
        levels = np.asarray(resized) / np.outer(rows, columns)[:, :, None]
        resized = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    if extent == (size, size):
        return resized
    black = Image.new("RGB", (size, size))
    black.paste(resized, (across.start, down.start))
    return black


def _resize(image: Image.Image, axis: _Axis, horizontal: bool) -> Image.Image:
    """Pad and resize one side; the other stays as it was."""
    width, height = image.size
    padded = (axis.length, height) if horizontal else (width, axis.length)
    if image.size != padded:
        canvas = Image.new("RGB", padded)
        canvas.paste(image, (axis.before, 0) if horizontal else (0, axis.before))
        image = canvas
    extent = axis.stop - axis.start
    shape = (extent, height) if horizontal else (width, extent)
    place = (axis.low, 0, axis.high, height) if horizontal else (0, axis.low, width, axis.high)
    return image.resize(shape, Image.Resampling.BILINEAR, place)


@attrs.frozen(eq=False)
class _Axis:
    """Picture and square along one side of the image that is resized.

    Attributes:
        start, stop: the pixels of the result that are resized; the picture reaches no others.
        before: black pixels before those of the decoded image.
        length: pixels in all.
        low, high: edges of what becomes the pixels from ``start`` to ``stop``.
        cut: whether the picture has only a part of some pixel of the decoded image.
        covered: for each pixel of the result the share of the filter's weights that lies in the
            square; none: all of them.
    """

    start: int
    stop: int
    before: int
    length: int
    low: float
    high: float
    cut: bool
    covered: np.ndarray | None


# Most sets have pictures of a few sizes.
@functools.lru_cache(maxsize=256)
def _axis(count: int, begin: float, end: float, side: float, size: int) -> _Axis:
    """Return the axis of ``count`` pixels, the picture from ``begin`` to ``end`` in the middle."""
    pad = (side - (end - begin)) / 2
    before = math.ceil(max(0.0, pad - begin))
    low = before + begin - pad
    # Only where whole pixels of both meet can the square be cut without moving a weight.
    step = size // math.gcd(int(side), size) if side == int(side) else size
    scale = side / size
    reach = 2 + math.ceil(1 / scale)
    start = max(0, math.floor((pad / scale - reach) / step) * step)
    stop = min(size, math.ceil(((side - pad) / scale + reach) / step) * step)
    before -= round(start * side / size)
    high = low + (stop - start) * side / size
    length = max(before + count, math.ceil(high))
    cut = bool(_shares(count, begin, end).min() < 1)
    inside = _shares(length, low, high)
    covered = None
    if (inside < 1).any():
        line = Image.fromarray(inside.astype(np.float32)[None])
        resized = line.resize((stop - start, 1), Image.Resampling.BILINEAR, (low, 0, high, 1))
        covered = np.asarray(resized, np.float64)[0]
    return _Axis(start, stop, before, length, low, high, cut, covered)


def _shares(count: int, start: float, stop: float) -> np.ndarray:
    """Return (count,): how much of each pixel lies between ``start`` and ``stop``, 0..1."""
    edges = np.clip(np.arange(count + 1), start, stop)
    return np.diff(edges)


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """Return the picture with a longer side of at most ``side`` pixels, never enlarged."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)
