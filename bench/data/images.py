"""Reads a photograph of any usual format and mode as 8-bit RGB, and squares it for the models."""

from __future__ import annotations

import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bench.data import files
from bench.data.opencv import opencv, warp

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
# Pillow's own limit; ours does not move when somebody switches Pillow's off.
MAX_PIXELS = 89_478_485

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
# Of them, those that lie on their side.
SIDEWAYS = (5, 6, 7, 8)


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


# --- reading ---------------------------------------------------------------------------------


def load_rgb(path: Path, *, long_side: int | None = None) -> Image.Image:
    """Decode the first frame of an image file, upright, as 8-bit RGB.

    EXIF orientation is applied. Transparency is laid over black, the colour of the padding. 16-bit
    greyscale is scaled by 1/257 (65535 → 255); 32-bit integers and floats as :func:`_grey_8bit`.

    Args:
        path: the file.
        long_side: pixels that the longer side needs at least: a JPEG may come at 1/2, 1/4 or 1/8
            of its size, which its decoder does several times as fast. None: the full size.

    Raises:
        UnreadableImage: missing, truncated, not an image of :data:`FORMATS`, or more than
            :data:`MAX_PIXELS` pixels.
    """
    return _decode(path, long_side)[0]


def _decode(path: Path, long_side: int | None) -> tuple[Image.Image, tuple[float, float] | None]:
    """The image; where it is smaller than its file says, the file's width and height in its pixels.

    They are no whole numbers where the scale does not divide the file's.
    """
    path = Path(path)
    refuse_special(path)
    try:
        with _quiet(), Image.open(files.source(path), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImage(path, f"{width}×{height} pixels are too many to decode")
            times = 0 if long_side is None else max(image.size) // long_side
            extent = None
            if times > 1 and isinstance(image, JpegImageFile):
                # Pillow looks at both sides: the shorter one is asked for in proportion.
                done = image.draft(None, (max(1, width // times), max(1, height // times)))
                extent = done and done[1][2:]
            image.load()
            orientation = _orientation(image)
            if extent is not None and orientation in SIDEWAYS:
                extent = extent[::-1]
            return _upright(_as_rgb(image), orientation), extent
    except UnreadableImage:
        raise
    # Pillow's decoders answer damaged bytes with almost any exception (OSError, SyntaxError,
    # struct.error, IndexError, …); every one of them means the same here.
    except Exception as error:
        raise UnreadableImage(path, _reason(path, error)) from error


def refuse_special(path: Path) -> None:
    """See that reading a file can come to an end: a pipe or a device need not.

    Raises:
        UnreadableImage: it is neither a regular file nor absent.
    """
    try:
        mode = files.kind(path)
    except OSError:
        return  # opening it says what is wrong
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or device"
        raise UnreadableImage(path, f"{kind}, not a regular file")


def square(image: Image.Image, size: int) -> Image.Image:
    """Pad with black to a centred square, then resize to ``size`` × ``size`` pixels.

    The filter is Pillow's bilinear one, which averages over the whole source area of a pixel when
    it shrinks (antialiasing).
    """
    side = max(image.size)
    if side * side > MAX_PIXELS:
        # A long thin image would need a square of gigabytes: shrink it before it is padded.
        scale = 4 * size / side
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        side = max(image.size)
    width, height = image.size
    if width != height:
        canvas = Image.new("RGB", (side, side))
        canvas.paste(image, ((side - width) // 2, (side - height) // 2))
        image = canvas
    return image.resize((size, size), Image.Resampling.BILINEAR)


def load_square(path: Path, size: int) -> np.ndarray:
    """(S, S, 3) uint8: :func:`square` of an image file, a JPEG decoded no finer than that needs.

    At 224, pixels of a photograph of 480×640 differ from those of the full decode by less than 2 of
    255 in the mean.

    Args:
        path: the file.
        size: S in pixels.

    Raises:
        UnreadableImage: as :func:`load_rgb`.
    """
    image, extent = _decode(path, size)
    return (
        np.asarray(square(image, size)) if extent is None else _square_coarse(image, extent, size)
    )


def _square_coarse(image: Image.Image, extent: tuple[float, float], size: int) -> np.ndarray:
    """:func:`square` of a coarsely decoded image, three times as fast.

    Args:
        image: its longer side is less than twice the size.
        extent: width and height of the picture in it.
        size: S in pixels.
    """
    cv2, pixels = opencv(), np.asarray(image)
    side = max(extent)
    scale = side / size
    # Pillow's triangle has the variance scale² / 6 (in pixels²), OpenCV's 1 / 6. These weights have
    # the rest: that of a pixel to each side is twice the one's share.
    beside = max(0.0, (scale**2 - 1) / 12)
    weights = np.array([beside, 1 - 2 * beside, beside])
    pixels = cv2.sepFilter2D(pixels, -1, weights, weights)
    # Where the centre of the first pixel lies, on black as wide as it is high.
    left, top = ((scale - 1 - side + length) / 2 for length in extent)
    return warp(pixels, np.array([[scale, 0, left], [0, scale, top]]), size)


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
    """Greyscale of more than 8 bits (H, W) as uint8.

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


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


# --- failures and warnings -------------------------------------------------------------------


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        empty = files.stamp(path)[0] == 0
        return "the file is empty" if empty else "not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to decode"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split())
    return text or type(error).__name__


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
