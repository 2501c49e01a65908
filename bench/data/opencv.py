"""OpenCV, imported where it is first used and told to start no threads of its own."""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np


@functools.cache
def opencv() -> ModuleType:
    """The module ``cv2``. What is spread over threads is the batch, not the picture."""
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
