"""What happens to a decoded, squared and resized image on its way into a batch.

The padding and the resize come before anything random, so :mod:`bench.data.cache` does them once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torchvision.transforms import v2

ROTATION_DEGREES = 12
JITTER = 0.15


def train_transform(
    mean: Sequence[float], std: Sequence[float]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Horizontal flip (p = 0.5), rotation ±12° on black, colour jitter 0.15, normalise.

    Args:
        mean, std: three values each, of the backbone's pretrained config, for pixels in 0..1.

    Returns:
        (3, S, S) uint8 → (3, S, S) float32; draws from PyTorch's global generator.
    """
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation(
                ROTATION_DEGREES, interpolation=v2.InterpolationMode.BILINEAR, fill=0
            ),
            v2.ColorJitter(brightness=JITTER, contrast=JITTER, saturation=JITTER),
            eval_transform(mean, std),
        ]
    )


def eval_transform(
    mean: Sequence[float], std: Sequence[float]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalise: (3, S, S) uint8 → (3, S, S) float32, ``(x / 255 - mean) / std``."""
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(mean), std=list(std)),
        ]
    )
