"""Times of what users wait for; run by ``make benchmark``, left out of the tests."""

from __future__ import annotations

import pytest
import torch

import variants
from bench.measure.complexity import count_macs
from variants.model import build_model


@pytest.mark.parametrize(
    "spec",
    [
        variants.CoordinateAttention(),
        variants.EfficientChannelAttention(),
        variants.BoTLinear(),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_attention_block(benchmark, spec) -> None:
    block = spec.build(1280).eval()
    features = torch.randn(16, 1280, 7, 7)
    with torch.inference_mode():
        assert benchmark(block, features).shape == features.shape


def test_training_step(benchmark) -> None:
    model = build_model(variants.get("MobileNetV3_Small"), num_classes=10).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(16, 3, 64, 64), torch.zeros(16, dtype=torch.int64)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    assert benchmark(step) >= 0


def test_counting(benchmark) -> None:
    model = build_model(variants.get("ResNet18"), num_classes=10)
    assert benchmark(count_macs, model, 224)["gmacs"] > 1
