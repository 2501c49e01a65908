"""Finishes batches on the device that trains: copies, augments and normalises without waiting.

A batch for a GPU arrives as uint8 with its draws; torch does with them what
:mod:`bench.data.augment` does on the CPU. Nothing here asks the device for a value.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from bench.data.dataset import Batch
from bench.data.transforms import ANGLE, CONTRAST, FACTORS, FLIP, ORDER, SATURATION

# torchvision's weights of red, green and blue.
LUMINANCE = (0.2989, 0.587, 0.114)


def finish(
    batch: Batch, device: torch.device, mean: Sequence[float], std: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of a batch, ready for the model.

    Args:
        batch: of a loader for this device.
        device: where the model is.
        mean, std: of the dataset.

    Returns:
        (B, 3, S, S) float32 in channels-last memory, (B,) int64; both on the device.
    """
    if batch.images.dtype != torch.uint8:
        return batch.images, batch.labels
    images = batch.images.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    if batch.draws is not None:
        draws = batch.draws.to(device, non_blocking=True)
        images = jitter(turn(images, draws[:, FLIP], draws[:, ANGLE]), draws)
    images = normalise(images, mean, std).contiguous(memory_format=torch.channels_last)
    return images, batch.labels.to(device, non_blocking=True)


def turn(images: torch.Tensor, flip: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Mirror left and right, then turn by degrees (counter-clockwise) about the centre, on black.

    Args:
        images: (B, 3, S, S) float32, levels of 0 to 255.
        flip: (B,) 0 or 1.
        angle: (B,) degrees.
    """
    size = images.shape[-1]
    line = _centres(size, images.device)
    x, y = line.view(1, 1, size), line.view(1, size, 1)
    angle = torch.deg2rad(angle).view(-1, 1, 1)
    mirror = (1 - 2 * flip).view(-1, 1, 1)
    cosine, sine = angle.cos(), angle.sin()
    # Not affine_grid: its matrix product may be TF32, which is off by a tenth of a pixel.
    grid = torch.stack([mirror * (cosine * x - sine * y), sine * x + cosine * y], dim=3)
    with torch.autocast(images.device.type, enabled=False):
        turned = torch.nn.functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    return turned.round_()


def jitter(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Brightness, contrast and saturation in each image's own order.

    All three blend the image with something: with black, with its mean grey, with its grey.

    Args:
        images: (B, 3, S, S) float32, whole levels of 0 to 255.
        draws: (B, 8), rows of :func:`bench.data.transforms.draw_epoch`.
    """
    factors, order = draws[:, FACTORS], draws[:, ORDER].long()
    for number in range(order.shape[1]):
        step = order[:, number]
        factor = factors.gather(1, step[:, None]).view(-1, 1, 1, 1)
        step = step.view(-1, 1, 1, 1)
        red, green, blue = images.unbind(1)
        grey = (red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]).floor_()[:, None]
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        other = grey * (step == SATURATION) + mean * (step == CONTRAST)
        images = (images * factor + other * (1 - factor)).clamp_(0, 255).floor_()
    return images


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return ``(x / 255 - mean) / std`` of (B, 3, S, S) float32 levels."""
    centre, spread = _constants(tuple(mean), tuple(std), images.device)
    return images.mul(1 / 255).sub_(centre).div_(spread)


# Made once for each device: a tensor made of Python's numbers is copied there, and waited for.
@functools.cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):
        centre, spread = (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for values in (mean, std)
        )
    return centre, spread


@functools.cache
def _centres(size: int, device: torch.device) -> torch.Tensor:
    """Return (S,) float32: the centres of a row's pixels, between -1 and 1."""
    with torch.inference_mode(False):
        return (torch.arange(size, device=device) * 2 + 1) / size - 1
