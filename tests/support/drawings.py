"""Synthetic sets in no time, where what is drawn is not the subject."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.synthetic import dataset as synthetic


class _Threads(ThreadPoolExecutor):
    """In this process, where the quick drawings are known."""

    def __init__(self, workers: int, **_: Any) -> None:
        super().__init__(workers)


def draw_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures of noise that hang on seed, class and number as the drawn ones do."""

    def draw(label: int, number: int, seed: int) -> Image.Image:
        rng = np.random.default_rng([seed, label, number])
        return Image.fromarray(rng.integers(0, 256, (48, 36, 3), np.uint8))

    monkeypatch.setattr(synthetic, "draw_image", draw)
    monkeypatch.setattr(synthetic, "ProcessPoolExecutor", _Threads)
