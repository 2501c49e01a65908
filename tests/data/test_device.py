"""What finishes batches on a device, on tensors of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.dataset import Batch
from bench.data.device import finish
from bench.data.transforms import draw_epoch, eval_transform
from tests.data import reference
from tests.data.pictures import leaf

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.5, 1.0)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([leaf(48, 48, seed) for seed in range(6)])


def test_a_finished_batch_is_handed_on() -> None:
    batch = Batch(torch.rand(2, 3, 4, 4), torch.tensor([1, 0]), None)
    images, labels = finish(batch, CPU, MEAN, STD)
    assert images is batch.images
    assert labels is batch.labels


def test_pixels_are_normalised(pixels: np.ndarray) -> None:
    batch = Batch(torch.from_numpy(pixels), torch.arange(6), None)
    images, labels = finish(batch, CPU, MEAN, STD)
    expected = torch.stack([eval_transform(MEAN, STD)(reference.to_tensor(p)) for p in pixels])
    assert torch.equal(images, expected)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == list(range(6))


def test_each_image_has_its_own_draws(pixels: np.ndarray) -> None:
    draws = draw_epoch(6, 0, 1)
    batch = Batch(torch.from_numpy(pixels), torch.arange(6), torch.from_numpy(draws))
    images, _ = finish(batch, CPU, MEAN, STD)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for image, one, own in zip(images, pixels, draws, strict=True):
        expected = eval_transform(MEAN, STD)(reference.to_tensor(reference.augmented(one, own)))
        apart = (image - expected).abs() * 255 * torch.tensor(STD).view(3, 1, 1)
        assert apart.mean() < 1.5
        assert apart.median() < 0.01


def test_a_batch_that_evaluation_saw_first_can_be_trained_on(pixels: np.ndarray) -> None:
    """What is made once and kept must not be made for inference only."""
    batch = Batch(torch.from_numpy(pixels), torch.arange(6), torch.from_numpy(draw_epoch(6, 0, 1)))
    own_mean = (0.51, 0.41, 0.31)
    with torch.inference_mode():
        finish(batch, CPU, own_mean, STD)
    images, _ = finish(batch, CPU, own_mean, STD)
    weight = torch.ones(1, requires_grad=True)
    (images * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_nothing_waits_for_the_gpu(pixels: np.ndarray) -> None:
    cuda = torch.device("cuda")
    batch = Batch(
        torch.from_numpy(pixels).pin_memory(),
        torch.arange(6).pin_memory(),
        torch.from_numpy(draw_epoch(6, 0, 1)).pin_memory(),
    )
    there, _ = finish(batch, cuda, MEAN, STD)
    try:
        torch.cuda.set_sync_debug_mode("error")
        finish(batch, cuda, MEAN, STD)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    here, _ = finish(batch, CPU, MEAN, STD)
    assert ((there.cpu() - here).abs() * 255).mean() < 0.5
