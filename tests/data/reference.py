"""The torchvision pipeline that training's augmentation is compared with."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from bench.data.transforms import ANGLE, FACTORS, FLIP, ORDER, eval_transform

BILINEAR = v2.InterpolationMode.BILINEAR


def train_transform(mean, std) -> v2.Compose:
    """(3, S, S) uint8 → (3, S, S) float32 as torchvision draws and does it."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation(12, interpolation=BILINEAR, fill=0),
            v2.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15),
            eval_transform(mean, std),
        ]
    )


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(S, S, 3) → (3, S, S)."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def turned(pixels: np.ndarray, flip: bool, angle: float) -> np.ndarray:
    """Flipped and turned by torchvision: (S, S, 3) uint8."""
    image = to_tensor(pixels)
    image = functional.horizontal_flip(image) if flip else image
    image = functional.rotate(image, angle, interpolation=BILINEAR, fill=0)
    return image.permute(1, 2, 0).numpy()


def jittered(pixels: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation by torchvision: (S, S, 3) uint8."""
    steps = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    image = to_tensor(pixels)
    for number in order.astype(int):
        image = steps[number](image, float(factors[number]))
    return image.permute(1, 2, 0).numpy()


def augmented(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """All of it with the given draws: (S, S, 3) uint8."""
    image = turned(pixels, bool(draws[FLIP]), float(draws[ANGLE]))
    return jittered(image, draws[FACTORS], draws[ORDER])
