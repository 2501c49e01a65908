"""Augments and normalises an image on the CPU with OpenCV, in one thread.

Each step gives the pixels of torchvision's transform of that name with the same parameters, within
the tolerances of tests/data/test_augment.py.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType

import numpy as np

from bench.data.transforms import ANGLE, BRIGHTNESS, FACTORS, FLIP, ORDER, SATURATION

LEVELS = np.arange(256, dtype=np.float32)
# torchvision cuts off the fraction where OpenCV rounds to the nearest.
CUT_OFF = -0.499


def finish_image(
    pixels: np.ndarray, table: np.ndarray, out: np.ndarray, draws: np.ndarray | None = None
) -> None:
    """Augment (where there are draws) and normalise an image.

    Args:
        pixels: (S, S, 3) uint8, RGB.
        table: (256, 1, 3) float32, what each level of each channel becomes.
        out: (S, S, 3) float32 contiguous, written.
        draws: (8,), a row of :func:`bench.data.transforms.draw_epoch`.
    """
    cv2 = opencv()
    if draws is not None:
        pixels = turn(pixels, bool(draws[FLIP]), float(draws[ANGLE]))
        pixels, levels = jitter(pixels, draws[FACTORS], draws[ORDER])
        if levels is not None:
            table = table[levels]
    cv2.LUT(pixels, table, dst=out)


def turn(pixels: np.ndarray, flip: bool, angle: float) -> np.ndarray:
    """Mirror left and right, then turn by degrees (counter-clockwise) about the centre, on black.

    Bilinear, both in one pass over the (S, S, 3) uint8 pixels.
    """
    size = len(pixels)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    mirror, centre = -1.0 if flip else 1.0, (size - 1) / 2
    # Where a pixel of the result comes from.
    source = np.array(
        [
            [mirror * cosine, -mirror * sine, centre * (1 - mirror * cosine + mirror * sine)],
            [sine, cosine, centre * (1 - sine - cosine)],
        ]
    )
    return warp(pixels, source, size)


def jitter(
    pixels: np.ndarray, factors: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Brightness, contrast and saturation in the given order.

    Args:
        pixels: (S, S, 3) uint8.
        factors: (3,) of brightness, contrast and saturation.
        order: (3,) numbers of the steps.

    Returns:
        Pixels, and what is still to be made of their levels ((256,) uint8) or none: brightness and
        contrast change a level whatever its place, so the last of them need no pass of their own.
    """
    cv2 = opencv()
    strengths = factors.tolist()
    levels: np.ndarray | None = None
    for step in map(int, order.tolist()):
        factor = strengths[step]
        if step == BRIGHTNESS:
            wanted = LEVELS * factor
        else:
            if levels is not None:
                pixels, levels = cv2.LUT(pixels, levels), None
            grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            if step == SATURATION:
                pixels = _blend_with_grey(pixels, grey, factor)
                continue
            wanted = LEVELS * factor + np.float32(_mean(grey) * (1 - factor))
        made = np.clip(wanted, 0, 255).astype(np.uint8)
        levels = made if levels is None else made[levels]
    return pixels, levels


def _blend_with_grey(pixels: np.ndarray, grey: np.ndarray, factor: float) -> np.ndarray:
    cv2 = opencv()
    grey = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    # The grey is rounded to the nearest here and cut off in torchvision: half a level less.
    shift = CUT_OFF - 0.5 * (1 - factor)
    return cv2.addWeighted(pixels, factor, grey, 1 - factor, shift)


def _mean(grey: np.ndarray) -> float:
    """Return the mean of a grey image, as if fractions had been cut off, not rounded."""
    cv2 = opencv()
    return cv2.mean(grey)[0] - 0.5 * cv2.countNonZero(grey) / grey.size


@functools.cache
def opencv() -> ModuleType:
    """Return the module ``cv2``. What is spread over threads is the batch, not the picture."""
    import cv2

    cv2.setNumThreads(0)
    return cv2


def warp(pixels: np.ndarray, source: np.ndarray, size: int) -> np.ndarray:
    """Move (H, W, 3) uint8 pixels into (S, S, 3), bilinear, on black.

    Args:
        pixels: the picture.
        source: (2, 3), from x, y and 1 in the result to x and y in the picture.
        size: S in pixels.
    """
    cv2 = opencv()
    # OpenCV 5 moves four channels twice as fast as three, to the same pixels.
    moved = cv2.warpAffine(
        cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA),
        source,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0, 0),
    )
    return cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB)
