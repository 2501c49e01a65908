"""Photographs that are drawn: light and shade, fine stripes, sharp edges and noise."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

ROWS = 256


def scene(height: int, width: int, seed: int = 0) -> Image.Image:
    """RGB, of any size: it is made in strips."""
    rng = np.random.default_rng(seed)
    light = Image.fromarray(rng.integers(20, 236, (12, 16, 3), np.uint8))
    image = light.resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 8, (ROWS, width, 1)).astype(np.float32)
    columns = np.arange(width, dtype=np.float32)
    tile = max(2, max(height, width) // 40)
    for top in range(0, height, ROWS):
        rows = np.arange(top, min(top + ROWS, height), dtype=np.float32)[:, None]
        texture = 20 * np.sin((rows + 2 * columns) / 9) + 10 * np.sin(rows / 5)
        checks = 40 * ((rows // tile + columns // tile) % 2) - 20
        box = (0, top, width, top + len(rows))
        strip = np.asarray(image.resize((width, len(rows)), box=box), np.float32)
        strip = strip * 0.7 + 38 + (texture + checks)[..., None] + noise[: len(rows)]
        image.paste(Image.fromarray(strip.clip(0, 255).astype(np.uint8)), (0, top))
    return image


def jpeg(image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    """A JPEG with that EXIF orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, "exif": exif, **options})  # type: ignore[arg-type]
    return file.getvalue()


def turned(data: bytes, orientation: int) -> bytes:
    """The same JPEG with another orientation than 1."""
    tags = []
    for one in (1, orientation):
        exif = Image.Exif()
        exif[274] = one
        tags.append(exif.tobytes())
    assert data.count(tags[0]) == 1
    return data.replace(*tags)
