"""The plain way to feed a model, written anew: Pillow decodes, pads and resizes, torchvision
augments each picture; what the harness' own pipeline must equal in accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from bench.config.options import RunConfig
from bench.data.parts import DataSplits

ROTATION_DEGREES = 12
JITTER = 0.15


def open_square(path: Any, size: int) -> Image.Image:
    """A picture padded with black to a centred square, resized to (S, S) by the bilinear filter."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    side = max(image.size)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas.resize((size, size), Image.Resampling.BILINEAR)


class Photographs(Dataset[tuple[torch.Tensor, int]]):
    """Squared pictures of the given positions, transformed at each reading."""

    def __init__(
        self,
        parts: DataSplits,
        positions: Sequence[int],
        pictures: Mapping[int, Image.Image],
        transform: Any,
    ) -> None:
        self.labels = [parts.index.labels[position] for position in positions]
        self.num_classes = parts.num_classes
        self.transform = transform
        self.images = [pictures[position] for position in positions]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[place]), self.labels[place]


def loaders(
    parts: DataSplits,
    options: RunConfig,
    normalisation: tuple[Sequence[float], Sequence[float]],
    cache: dict[int, Image.Image],
) -> dict[str, DataLoader]:
    """Loaders of ((B, 3, S, S) float32, (B,) int64) by part; the global generator draws.

    Args:
        parts: the images of a run.
        options: S in pixels, B, and the seed of the order.
        normalisation: mean and std, three values each, for pixels in 0..1.
        cache: squared pictures by position, filled here and read again.
    """
    finish = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*normalisation)]
    augment = [
        v2.RandomHorizontalFlip(0.5),
        v2.RandomRotation(ROTATION_DEGREES, interpolation=v2.InterpolationMode.BILINEAR, fill=0),
        v2.ColorJitter(brightness=JITTER, contrast=JITTER, saturation=JITTER),
    ]
    loaders = {}
    for part, positions in parts.used.as_dict().items():
        for position in set(positions) - cache.keys():
            cache[position] = open_square(parts.index.path(position), options.image_size)
        train = part == "train"
        loaders[part] = DataLoader(
            Photographs(
                parts, positions, cache, v2.Compose([*augment, *finish] if train else finish)
            ),
            batch_size=options.batch_size,
            shuffle=train,
            # As ours: every picture is trained on, but not one alone.
            drop_last=train and len(positions) % options.batch_size == 1,
            generator=torch.Generator().manual_seed(options.seed),
        )
    return loaders
