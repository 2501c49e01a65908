"""Pictures with the detail of a photograph, for the tests of decoding and augmenting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def leaf(height: int, width: int, seed: int = 0, noise: float = 6.0) -> np.ndarray:
    """(H, W, 3) uint8: green stripes, brown spots, noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    veins = 25 * np.sin((rows + 2 * columns) / 9) + 15 * np.sin(rows / 40)
    pixels = np.stack([70 + veins, 130 + veins, 50 + veins / 2], axis=2)
    for _ in range(12):
        y, x, radius = rng.integers(height), rng.integers(width), rng.integers(4, 30)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        pixels[inside] = rng.integers(40, 220, 3)
    return np.clip(pixels + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)


def save_leaf(path: Path, height: int = 640, width: int = 480, seed: int = 0) -> Path:
    """A JPEG of the size of the Paddy Doctor photographs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(leaf(height, width, seed)).save(path, quality=90)
    return path
