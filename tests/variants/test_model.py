"""Where the backbone of a variant's model ends."""

from __future__ import annotations

import torch

import variants
from variants.model import build_model


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
