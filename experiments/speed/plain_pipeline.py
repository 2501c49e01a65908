"""The plain way to feed a model, written anew: Pillow decodes, pads and resizes, torchvision
augments each picture; what the harness' own pipeline must equal in accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

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
    """Pictures of the given positions, squared once and kept, transformed at each reading."""

    def __init__(
        self, parts: DataSplits, positions: Sequence[int], size: int, transform: Any, kept: dict
    ) -> None:
        self.labels = [parts.index.labels[position] for position in positions]
        self.num_classes = parts.num_classes
        self.transform = transform
        for position in positions:
            if position not in kept:
                kept[position] = open_square(parts.index.path(position), size)
        self.images = [kept[position] for position in positions]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[place]), self.labels[place]


def loaders(
    parts: DataSplits,
    *,
    size: int,
    batch_size: int,
    seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    kept: dict,
) -> dict[str, DataLoader]:
    """Loaders of ((B, 3, S, S) float32, (B,) int64) by part; the global generator draws.

    Args:
        parts: the images of a run.
        size: S in pixels.
        batch_size: B.
        seed: of the order.
        mean, std: three values each, for pixels in 0..1.
        kept: squared pictures by position, filled here and read again.
    """
    finish = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    augment = [
        v2.RandomHorizontalFlip(0.5),
        v2.RandomRotation(ROTATION_DEGREES, interpolation=v2.InterpolationMode.BILINEAR, fill=0),
        v2.ColorJitter(brightness=JITTER, contrast=JITTER, saturation=JITTER),
    ]
    found = {}
    for part, positions in parts.used.as_dict().items():
        train = part == "train"
        transform = v2.Compose([*(augment if train else []), *finish])
        found[part] = DataLoader(
            Photographs(parts, positions, size, transform, kept),
            batch_size=batch_size,
            shuffle=train,
            # As ours: every picture is trained on, but not one alone.
            drop_last=train and len(positions) % batch_size == 1,
            generator=torch.Generator().manual_seed(seed),
        )
    return found
