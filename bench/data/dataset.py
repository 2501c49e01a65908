"""Decoded images of a split with their labels, read a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from bench.data.augment import finish_image
from bench.data.cache import DecodedImages
from bench.data.progressive import shrink
from bench.data.sources.storage import parts_of
from bench.data.transforms import level_table


class Batch(NamedTuple):
    """Images and their labels; :func:`bench.data.device.finish` readies them for the model.

    Attributes:
        images: for a CPU (B, 3, S, S) float32 in channels-last memory, augmented and normalised;
            for a GPU (B, S, S, 3) uint8 as decoded, page-locked.
        labels: (B,) int64.
        draws: (B, 8) float32, how to augment them on a GPU; none: not at all, or it is done.
        whole: images of the batch of which these are one process' rows; none: these are all.
    """

    images: torch.Tensor
    labels: torch.Tensor
    draws: torch.Tensor | None
    whole: int | None = None


class ImageDataset:
    """Images of the given positions with their labels.

    Args:
        images: the decoded pixels.
        positions: which of them, in order.
        labels: class number by position (of the whole index).
        num_classes: classes of the whole index.
        mean, std: three values each, of the backbone's pretrained config, for pixels in 0..1.
    """

    def __init__(
        self,
        images: DecodedImages,
        positions: Sequence[int],
        labels: Sequence[int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.images = images
        self.rows = [images.rows[position] for position in positions]
        self.labels = [labels[position] for position in positions]
        self.num_classes = num_classes
        self.shards = _shards([images.paths[row] for row in self.rows])
        self._labels = torch.tensor(self.labels, dtype=torch.int64)
        self._table = level_table(mean, std)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self,
        indices: np.ndarray,
        draws: np.ndarray | None = None,
        size: int | None = None,
        *,
        on_gpu: bool = False,
        pinned: bool = False,
        pool: ThreadPoolExecutor | None = None,
        threads: int = 1,
    ) -> Batch:
        """Read images, in order.

        Args:
            indices: (B,) int64, into this dataset.
            draws: (B, 8), how each is augmented; none: it is not.
            size: pixels a side to shrink them to before that; none: as they are.
            on_gpu: leave augmenting and normalising to the GPU.
            pinned: in page-locked memory.
            pool: reads them in so many ``threads``; none: this thread does.
        """
        rows = [self.rows[index] for index in indices]
        whole = self.images.image_size
        size = size or whole
        dtype = torch.uint8 if on_gpu else torch.float32
        images = torch.empty((len(rows), size, size, 3), dtype=dtype, pin_memory=pinned)
        out = images.numpy()

        def fill(numbers: range) -> None:
            for number in numbers:
                pixels = self.images.read(rows[number])
                if size != whole:
                    pixels = shrink(pixels, size)
                if on_gpu:
                    out[number] = pixels
                else:
                    params = None if draws is None else draws[number]
                    finish_image(pixels, self._table, out[number], params)

        numbers = range(len(rows))
        if pool is None:
            fill(numbers)
        else:
            list(pool.map(fill, (numbers[first::threads] for first in range(threads))))
        labels = self._labels[torch.from_numpy(indices)]
        if not on_gpu:
            return Batch(images.permute(0, 3, 1, 2), labels, None)
        params = None if draws is None else torch.from_numpy(draws)
        if pinned:
            # A copy from other memory would wait for all that the GPU still has to do.
            labels = labels.pin_memory()
            params = None if params is None else params.pin_memory()
        return Batch(images, labels, params)


def _shards(paths: Sequence[str]) -> np.ndarray | None:
    """Return the number of each image's archive, or none: they are files of their own."""
    archives = [parts[0] for path in paths if (parts := parts_of(path))]
    if len(archives) < len(paths):
        return None
    return np.unique(archives, return_inverse=True)[1]
