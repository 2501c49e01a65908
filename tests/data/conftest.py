"""Small image folders for the tests of bench.data."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """Write a small image of one colour; the seed makes its bytes its own."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (8, 6)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def folders(draw: Draw, tmp_path: Path) -> Callable[..., Path]:
    """Write ``{folder: number of images}`` below tmp_path/name and return that folder."""

    def write(counts: dict[str, int], name: str = "set") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(root / folder / f"{number:03}.png", seed=zlib.crc32(folder.encode()) + number)
        return root

    return write


@pytest.fixture
def rice3() -> Path:
    """The real photographs named by PADDY_BENCH_RICE3."""
    folder = os.environ.get("PADDY_BENCH_RICE3")
    if not folder:
        pytest.skip("PADDY_BENCH_RICE3 names no folder of real photographs")
    return Path(folder)
