"""The steps from a file to squared pixels, as data: for programs that have to do the same."""

from __future__ import annotations

from typing import Any

from bench.imaging import LOADER
from bench.imaging.decode import (
    FROM_BELOW,
    FROM_RIGHT,
    MAX_PIXELS,
    ORIENTATION_TAG,
    SCALES,
    SIDEWAYS,
    UPRIGHT,
)
from bench.imaging.square import DETAIL


def stated_steps(size: int, pillow: str) -> dict[str, Any]:
    """Return what :func:`bench.imaging.decode.decode` and ``square.square`` do.

    The keys are steps, in their order. Text is Python, with Pillow's names. A picture's ``box`` is
    its place (left, top, right, bottom) in the pixels at hand.

    Args:
        size: S in pixels.
        pillow: version of Pillow, whose decoders and filters are meant.
    """
    return {
        "version": LOADER,
        "pillow": pillow,
        "decode": {
            "frame": 0,
            "jpeg_scales": list(SCALES),
            "jpeg_least": DETAIL * size,
            "jpeg_scale": "N = the first of jpeg_scales with max(width, height) >= jpeg_least * N, "
            "or 1; where N > 1: draft(None, (width / (N + 0.5), height / (N + 0.5)))",
            "other_scale": "N = 1",
            "box": "(0, 0, width / N, height / N)",
        },
        "rgb": {
            "grey_16_bit": "(value + 128) // 257",
            "grey_32_bit": "value * 255 where floats and all <= 1, value / 257 where any > 255, "
            "else value; numpy.rint, cut to 0..255",
            "transparency": "alpha_composite(new('RGBA', size, (0, 0, 0, 255)), convert('RGBA'))",
            "then": "convert('RGB')",
        },
        "upright": {
            "exif_tag": ORIENTATION_TAG,
            "transpose": {str(value): method.name for value, method in UPRIGHT.items()},
            "width_and_height_exchanged": list(SIDEWAYS),
            "box_at_right": list(FROM_RIGHT),
            "box_at_bottom": list(FROM_BELOW),
        },
        "reduce": {
            "where": f"side ** 2 > {MAX_PIXELS} and M > 1, with side the longer one of the box",
            "most_pixels": MAX_PIXELS,
            "times": f"M = side // {DETAIL * size}",
            "by": "reduce((M, 1)).reduce((1, M)), box / M",
        },
        "pad": {
            "colour": [0, 0, 0],
            "to": "the square of the longer side of the box, in whose middle the box is",
            "share": "of each pixel's area that the box covers, numpy.rint(255 * share): mask of "
            "the paste",
        },
        "resize": [size, size],
        "order": "width then height where the box is at least as wide as high, else height then "
        "width; rounded to 8 bits between",
        "interpolation": "BILINEAR",
        "antialias": True,
        "box": "the square's edges, not rounded",
        "outside": "each pixel divided by the share of its weights within the square: that of rows "
        "times that of columns, each a line of float32 resized likewise; numpy.rint, cut to 0..255",
    }
