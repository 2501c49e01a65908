"""Models as a run gets them."""

from __future__ import annotations

import pytest
import timm
import torch

import variants
from bench import build
from bench.config import RunConfig
from bench.errors import BenchError


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("EfficientNetV2_S_CA", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("EfficientNet_Lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("ResNet18_Hybrid", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("MobileNetV3_Small", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_images_are_normalised_as_the_backbone_was_pretrained(name, mean, std) -> None:
    model = build.on_meta(variants.get(name), 3, RunConfig())
    assert build.normalisation(model) == (mean, std)


def test_the_seed_decides_the_first_weights() -> None:
    variant = variants.get("MobileNetV3_Small")
    first = [
        build.build(variant, 3, RunConfig(seed=seed))[0].backbone.conv_stem.weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_weights_need_a_backbone_to_go_into() -> None:
    with pytest.raises(BenchError, match=r"ResNet18 has no \.backbone"):
        build.backbone_of(variants.get("ResNet18"), torch.nn.Linear(1, 1))


def test_pretrained_asks_timm_for_the_tagged_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("bench.train.weights.load_hub", lambda model, tag: asked.append(tag) or tag)
    _, initial = build.build(variants.get("MobileNetV3_Small"), 3, RunConfig(pretrained=True))
    assert asked == [initial] == ["mobilenetv3_small_100.lamb_in1k"]
    assert timm.is_model(initial)
