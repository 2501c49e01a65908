"""Batch norms that are folded leave the outputs as they were."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn

from bench.timing.folding import fold


def trained(model: nn.Module) -> nn.Module:
    """Statistics and weights of a model that has seen data, so that folding changes weights."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for values, low in (
                (module.running_mean, -0.5), (module.running_var, 0.5),
                (module.weight.data, 0.5), (module.bias.data, -0.5),
            ):  # fmt: skip
                values.copy_(low + torch.rand(values.shape, generator=generator))
    return model.eval()


def folded(model: nn.Module, *shape: int) -> tuple[int, float]:
    """How many were folded, and how far the outputs moved, relative to the largest."""
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(images)
        number = fold(model, lambda: model(images))
        after = model(images)
    return number, float((before - after).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "tf_mobilenetv3_small_075"])
def test_every_batch_norm_of_a_backbone_goes_and_the_outputs_stay(name: str) -> None:
    model = trained(timm.create_model(name, num_classes=5))
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    number, moved = folded(model, 2, 3, 64, 64)
    assert number == norms > 3
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert moved < 1e-4


def test_a_convolution_with_a_bias_and_one_padded_as_in_tensorflow() -> None:
    model = nn.Sequential(
        Conv2dSame(3, 8, 3, stride=2, bias=True), BatchNormAct2d(8), nn.Conv2d(8, 4, 1),
        nn.BatchNorm2d(4),
    )  # fmt: skip
    number, moved = folded(trained(model), 1, 3, 9, 9)
    assert number == 2
    assert moved < 1e-5
    assert isinstance(model[1][1], nn.ReLU)


class Shared(nn.Module):
    """One convolution for two norms, and a norm that does not follow a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second, self.third = (nn.BatchNorm2d(3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.conv(self.first(self.conv(x)))) * 2)


def test_what_is_called_twice_or_follows_something_else_stays() -> None:
    model = trained(Shared())
    number, moved = folded(model, 1, 3, 4, 4)
    assert number == 0
    assert moved == 0
    assert isinstance(model.first, nn.BatchNorm2d)


def test_no_hook_stays_behind() -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()))
    folded(model, 1, 3, 4, 4)
    assert not any(module._forward_hooks for module in model.modules())
