"""What happens to a decoded, squared and resized image on its way into a batch, and its chances.

The padding and the resize come before anything random, so :mod:`bench.data.cache` does them once.
The chances of an epoch are drawn at once from its seed and number: they depend neither on the
worker nor on the backend, OpenCV (:mod:`bench.data.augment`) or torch (:mod:`bench.data.device`),
that carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torchvision.transforms import v2

ROTATION_DEGREES = 12
JITTER = 0.15

# The steps of the colour jitter, by the numbers that an order is made of.
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2

# Columns of the draws of an image.
FLIP, ANGLE = 0, 1
FACTORS = slice(2, 5)
ORDER = slice(5, 8)


def draw_epoch(count: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the random parameters of a training epoch.

    The distribution is that of torchvision's ``RandomHorizontalFlip(0.5)``,
    ``RandomRotation(12)`` and ``ColorJitter(0.15, 0.15, 0.15)``.

    Args:
        count: images.
        seed: of the training.
        epoch: its number.

    Returns:
        (count, 8) float32: flipped (0 or 1), then turned counter-clockwise by degrees; factors of
        brightness, contrast and saturation; the numbers of these three steps in their order.
    """
    rng = np.random.default_rng((seed, epoch, 1))
    draws = np.empty((count, 8), np.float32)
    draws[:, FLIP] = rng.random(count) < 0.5
    draws[:, ANGLE] = rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES, count)
    draws[:, FACTORS] = rng.uniform(1 - JITTER, 1 + JITTER, (count, 3))
    steps = np.tile([BRIGHTNESS, CONTRAST, SATURATION], (count, 1))
    draws[:, ORDER] = rng.permuted(steps, axis=1)
    return draws


# Shards among whose images an epoch's order is drawn at a time.
AT_ONCE = 8


def shuffled(count: int, seed: int, epoch: int, shards: np.ndarray | None = None) -> np.ndarray:
    """Draw the order of the images in a training epoch: (count,) int64.

    Args:
        count: of the images.
        seed: of the training.
        epoch: from 1.
        shards: (count,) the archive in which each image lies, or none. Archives come in a drawn
            order, and the images of :data:`AT_ONCE` at a time are mixed: a disk, or a network,
            reads each of them once and in one go.
    """
    rng = np.random.default_rng((seed, epoch, 0))
    if shards is None:
        return rng.permutation(count)
    names, number = np.unique(shards, return_inverse=True)
    turn = np.argsort(rng.permutation(len(names)))[number] // AT_ONCE
    mixed = rng.permutation(count)
    return mixed[np.argsort(turn[mixed], kind="stable")]


def eval_transform(
    mean: Sequence[float], std: Sequence[float]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalise: (3, S, S) uint8 → (3, S, S) float32, ``(x / 255 - mean) / std``.

    Args:
        mean, std: three values each, of the backbone's pretrained config, for pixels in 0..1.
    """
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(mean), std=list(std)),
        ]
    )


def level_table(mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Return what :func:`eval_transform` makes of each channel's levels: (256, 1, 3) float32."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 256, 1).expand(3, 256, 1)
    table = eval_transform(mean, std)(levels)
    return table.permute(1, 2, 0).contiguous().numpy()
