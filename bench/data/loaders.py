"""Batches of a decoded part: seeded, the same whatever the number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.data.cache import DecodedImages

Item = tuple[int, int]


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Images of the given positions with their labels.

    An item is asked for by its place and the seed of its random transforms, so that what is drawn
    for an image depends neither on the worker that draws nor on what was drawn before.

    Args:
        images: the decoded pixels.
        positions: which of them, in order.
        labels: class number by position (of the whole index).
        num_classes: classes of the whole index.
        transform: (3, S, S) uint8 → (3, S, S) float32.
    """

    def __init__(
        self,
        images: DecodedImages,
        positions: Sequence[int],
        labels: Sequence[int],
        num_classes: int,
        transform: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.pixels = images.pixels
        self.rows = [images.rows[position] for position in positions]
        self.labels = [labels[position] for position in positions]
        self.num_classes = num_classes
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, int]:
        place, seed = item
        image = torch.from_numpy(np.array(self.pixels[self.rows[place]])).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            return self.transform(image), self.labels[place]


class SeededBatches(Sampler[list[Item]]):
    """Batches of (place, seed); a new order and new seeds at each pass when shuffling.

    A last batch of one image joins the one before it: BatchNorm cannot train on one value for
    each channel, and dropping it would never show that image to the model in that epoch.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, shuffle: bool) -> None:
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        joins = self.shuffle and rest == 1 and full > 0
        return full + (rest > 0 and not joins)

    def __iter__(self) -> Iterator[list[Item]]:
        if self.shuffle:
            places = torch.randperm(self.length, generator=self.generator).tolist()
        else:
            places = list(range(self.length))
        seeds = torch.randint(2**62, (self.length,), generator=self.generator).tolist()
        items = list(zip(places, seeds, strict=True))
        batches = len(self)
        for number in range(batches):
            start = number * self.batch_size
            yield items[start : start + self.batch_size if number < batches - 1 else None]


def make_loader(
    dataset: ImageDataset,
    *,
    batch_size: int,
    seed: int,
    train: bool,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """A loader of ((B, 3, S, S) float32, (B,) int64) batches.

    Args:
        dataset: the images.
        batch_size: B; the last batch may be smaller, in training larger by one.
        seed: of order and transforms.
        train: shuffle, and never end on a batch of one.
        num_workers: processes, kept from epoch to epoch.
        pin_memory: page-lock the batches.
    """
    batches = SeededBatches(len(dataset), batch_size, seed=seed, shuffle=train)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        # Without one of its own it draws worker seeds from the global generator, and how often
        # depends on the number of workers: dropout would then differ with it.
        generator=torch.Generator().manual_seed(seed),
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )
