"""Decodes an image file of any usual format and mode as upright 8-bit RGB, on Pillow alone."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# Pillow's own limit; ours does not move with Pillow's.
MAX_PIXELS = 89_478_485
# A baseline JPEG is decoded line by line, at a reduced scale in a fraction of the memory.
MAX_BASELINE_PIXELS = 256_000_000
# The scales 1/N at which a JPEG's decoder can give the picture, coarsest first.
SCALES = (8, 4, 2)

ORIENTATION_TAG = 274
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of them, those that exchange width and height, and those after which the file's first column
# (row) is at the right (bottom).
SIDEWAYS, FROM_RIGHT, FROM_BELOW = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)

# Left, top, right and bottom in pixels, fractions included.
Box = tuple[float, float, float, float]


class DecodeError(Exception):
    """Why a file cannot be decoded, in one line."""


@attrs.frozen(eq=False)
class Decoded:
    """An upright 8-bit RGB picture.

    Attributes:
        image: its pixels, perhaps at a reduced scale.
        box: the picture's place in them: where the scale does not divide the file's width or
            height, a part of the outermost pixels lies outside of the picture.
        size: width and height of the file's picture, upright, in the file's pixels.
    """

    image: Image.Image
    box: Box
    size: tuple[int, int]


def decode(
    source: Path | BinaryIO,
    *,
    least: int | None = None,
    side: Callable[[tuple[int, int]], int] = max,
) -> Decoded:
    """Decode the first frame of an image file.

    EXIF orientation is applied. Transparency is laid over black, the colour of the padding. 16-bit
    greyscale is scaled by 1/257 (65535 → 255); 32-bit integers and floats as :func:`_grey_8bit`.

    Args:
        source: a path, or a file at its begin.
        least: pixels that a side needs at least: a JPEG is decoded at the smallest of the scales
            1, 1/2, 1/4 and 1/8 that leaves as many (1 where none does), which is several times as
            fast. Other formats come in full. None: the full size.
        side: which side that is: ``max``, the longer one, or ``min``.

    Raises:
        DecodeError: missing, truncated, not an image of :data:`FORMATS`, or more than
            :data:`MAX_BASELINE_PIXELS` (baseline JPEG) or :data:`MAX_PIXELS` (all others) pixels.
    """
    length = -1
    try:
        opened = source.open("rb") if isinstance(source, Path) else nullcontext(source)
        with _quiet(), opened as file:
            length = file.seek(0, os.SEEK_END)
            with open_image(file) as image:
                return _decode(image, least, side)
    except DecodeError:
        raise
    # Pillow's decoders answer damaged bytes with almost any exception (OSError, SyntaxError,
    # struct.error, IndexError, …); every one of them means the same here.
    except Exception as error:
        raise DecodeError(_reason(error, length)) from error


def open_image(file: BinaryIO) -> ImageFile:
    """Identify an image by its content: as ``PIL.Image.open``, without a limit of its pixels.

    That limit is a variable of the whole process, and stops below :data:`MAX_BASELINE_PIXELS`.

    Raises:
        PIL.UnidentifiedImageError: it is of none of :data:`FORMATS`.
    """
    file.seek(0)
    prefix = file.read(16)
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        # A text instead of True: Pillow was built without that format.
        if factory is None or (accept is not None and accept(prefix) is not True):
            continue
        try:
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise Image.UnidentifiedImageError("not an image of a known format")


def _decode(image: ImageFile, least: int | None, side: Callable[[tuple[int, int]], int]) -> Decoded:
    _refuse_large(image)
    size = image.size
    times = 1
    if least is not None and isinstance(image, JpegImageFile):
        times = next((n for n in SCALES if side(size) >= least * n), 1)
    if times > 1:
        # Pillow divides each side by what is asked for, cuts off the fraction and takes the lesser
        # of the two: halfway between two scales, neither rounding nor a short side changes it.
        request = tuple(length / (times + 0.5) for length in size)
        image.draft(None, request)  # type: ignore[arg-type]
    image.load()
    orientation = _orientation(image)
    if orientation in SIDEWAYS:
        size = size[::-1]
    width, height = size[0] / times, size[1] / times
    rgb = _as_rgb(image)
    if orientation in UPRIGHT:
        rgb = rgb.transpose(UPRIGHT[orientation])
    left = rgb.width - width if orientation in FROM_RIGHT else 0
    top = rgb.height - height if orientation in FROM_BELOW else 0
    return Decoded(rgb, (left, top, left + width, top + height), size)


def _refuse_large(image: ImageFile) -> None:
    kind, limit = str(image.format), MAX_PIXELS
    advice = "shrink it, or save it as a baseline JPEG"
    if isinstance(image, JpegImageFile):
        kind = "progressive JPEG"
        if not image.info.get("progressive"):
            kind, limit = "baseline JPEG", MAX_BASELINE_PIXELS
    width, height = image.size
    if width * height > MAX_BASELINE_PIXELS:
        advice = "shrink it"
    if width * height > limit:
        raise DecodeError(
            f"{width}×{height} pixels are more than the {limit // 10**6} megapixels that are read "
            f"of a {kind}: {advice}"
        )


# --- modes -----------------------------------------------------------------------------------


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_grey_8bit(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    # The usual case; converting would copy it.
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_8bit(values: np.ndarray) -> np.ndarray:
    """Return greyscale of more than 8 bits (H, W) as uint8.

    uint16 is divided by 257. 32-bit integers and floats carry no scale of their own: values up to 1
    (floats) are taken as fractions, up to 255 as 8-bit, above as 16-bit.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0)
    top = wide.max()
    if values.dtype.kind == "f" and top <= 1:
        wide = wide * 255
    elif top > 255:
        wide = wide / 257
    return np.clip(np.rint(wide), 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1  # damaged EXIF beside pixels that were read


# --- failures and warnings -------------------------------------------------------------------


def _reason(error: Exception, length: int) -> str:
    if length == 0:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


_lock = threading.Lock()
_readers = 0
_filters: warnings.catch_warnings | None = None  # type: ignore[type-arg]


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore warnings while any thread decodes: what matters of a file becomes a reason.

    ``warnings.catch_warnings`` alone would be undone in the wrong order by overlapping threads.
    """
    global _readers, _filters
    with _lock:
        if _readers == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None
