"""Dropout is scaled in both of timm's ways, and nothing else is touched."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.models import build
from bench.train.dropout import Dropout


def test_modules_and_rates_are_scaled_from_what_they_were() -> None:
    model = nn.Sequential(nn.Dropout(0.4), nn.Linear(2, 2), nn.LPPool2d(2, 2), nn.Dropout2d(0.2))
    model.drop_rate = 0.3
    dropout = Dropout(model)
    for strength in (0.5, 0.25, 1.0):
        dropout.scale(strength)
        assert model[0].p == pytest.approx(0.4 * strength)
        assert model[3].p == pytest.approx(0.2 * strength)
        assert model.drop_rate == pytest.approx(0.3 * strength)
    assert model[2].norm_type == 2


@pytest.mark.parametrize("variant", variants.select(["all"]), ids=lambda one: one.name)
def test_every_variants_dropout_is_found(variant: variants.Variant) -> None:
    """With a probability near 1 nearly all features are dropped, with a scaled one few are."""
    torch.manual_seed(0)
    model, _ = build.build(variant, 2, RunConfig(dropout=0.9))
    dropout, seen = Dropout(model), []
    classifier = model.get_classifier()
    classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = torch.rand(2, variant.channels, 4, 4) + 1
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    zeros = []
    for strength in (1.0, 0.1):
        dropout.scale(strength)
        with torch.no_grad():
            model.classify(features)
        zeros.append(float((seen[-1] == 0).float().mean()))
    assert zeros[0] > 0.8
    assert zeros[1] < 0.4


def test_a_model_without_dropout_has_nothing_to_scale() -> None:
    model = timm.create_model("test_resnet", num_classes=2)
    Dropout(model).scale(0.5)
    assert model.drop_rate == 0
