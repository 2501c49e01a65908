"""Where the backbone of a variant's model ends."""

from __future__ import annotations

import pytest
import torch

import variants
from variants.model import build_model


@pytest.mark.parametrize("name", variants.names())
def test_features_and_classify_are_the_model(name: str) -> None:
    variant = variants.get(name)
    with torch.device("meta"):
        model = build_model(variant, num_classes=7).eval()
        images = torch.empty(2, 3, 64, 64)
    features = model.features(images)
    assert features.shape == (2, variant.channels, 2, 2)
    assert model.classify(features).shape == (2, 7)


def test_the_model_classifies_its_features() -> None:
    torch.manual_seed(0)
    variant = variants.Variant(
        name="Tiny_CA",
        backbone="test_efficientnet",
        attention=(variants.CoordinateAttention(),),
    )
    model = build_model(variant, num_classes=3).eval()
    images = torch.randn(2, 3, 32, 32)
    features = model.features(images)
    assert torch.equal(features, model.backbone.forward_features(images))
    assert torch.equal(model(images), model.classify(features))
    assert not torch.equal(model(images), model.backbone(images))
