"""Every registered variant is what its declaration says."""

from __future__ import annotations

import functools

import pytest
import timm
import torch

import variants
from bench.models.complexity import count_parameters
from variants.model import AttentiveClassifier, build_model

# Independent of the declarations: the published table of this project's variants.
COUNTS = {
    "EfficientNetV2_S_CA": (20_346_578, 21_614_768),
    "EfficientNetV2_S_ECA": (20_190_303, 21_458_493),
    "EfficientNetV2_S_BoTLinear": (21_318_298, 22_586_488),
    "EfficientNetV2_S_Hybrid": (21_474_578, 22_742_768),
    "EfficientNet_Lite0_CA": (3_693_818, 4_962_008),
    "ResNet18_Hybrid": (11_388_154, 11_896_024),
    "MobileNetV3_Small": (1_528_106, 2_542_856),
    "EfficientNetV2_S": (20_190_298, 21_458_488),
    "EfficientNet_Lite0": (3_383_818, 4_652_008),
    "ResNet18": (11_181_642, 11_689_512),
}


@functools.cache
def on_meta(name: str, classes: int, reduction: int | None = None) -> torch.nn.Module:
    with torch.device("meta"):
        return build_model(variants.get(name), num_classes=classes, reduction=reduction)


def test_the_table_is_complete() -> None:
    assert set(COUNTS) == set(variants.names())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name: str) -> None:
    assert count_parameters(on_meta(name, 10)) == COUNTS[name][0]
    for classes, expected in zip((10, 1000), COUNTS[name], strict=True):
        assert variants.get(name).declared_parameters(classes) == expected


@pytest.mark.parametrize("name", COUNTS)
def test_the_declared_count_follows_head_and_reduction(name: str) -> None:
    built = count_parameters(on_meta(name, 3, reduction=8))
    assert variants.get(name).declared_parameters(3, reduction=8) == built


@pytest.mark.parametrize("name", COUNTS)
def test_shapes(name: str) -> None:
    """The backbone ends at an image's 32nd part, and from there the model goes on."""
    model = on_meta(name, 10)
    features = model.features(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, variants.get(name).channels, 7, 7)
    assert model.classify(features).shape == (2, 10)


@pytest.mark.parametrize("name", COUNTS)
def test_the_pretrained_tag(name: str) -> None:
    assert timm.get_pretrained_cfg(variants.get(name).weights_tag).hf_hub_id
    assert variants.get(name).weights_tag.startswith(variants.get(name).backbone)


@pytest.mark.parametrize("name", COUNTS)
def test_baselines_are_registered_and_plain(name: str) -> None:
    variant = variants.get(name)
    assert (variant.group == variants.BASELINES) == (
        name in COUNTS and not variant.attention and name != "MobileNetV3_Small"
    )
    if variant.baseline is not None:
        assert variants.get(variant.baseline).backbone == variant.backbone
        assert not variants.get(variant.baseline).attention


def test_without_attention_the_model_is_timms() -> None:
    backbone = timm.create_model("test_efficientnet", num_classes=5).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(AttentiveClassifier(backbone)(images), backbone(images))


def test_attention_stands_between_features_and_head() -> None:
    class Negate:
        def build(self, channels: int) -> torch.nn.Module:
            class Module(torch.nn.Module):
                def forward(self, x: torch.Tensor) -> torch.Tensor:
                    assert x.shape[1] == channels
                    return -x

            return Module()

    backbone = timm.create_model("test_efficientnet", num_classes=5).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = backbone.forward_head(-backbone.forward_features(images))
        assert torch.equal(AttentiveClassifier(backbone, [Negate()])(images), expected)


def test_dropout_reaches_the_classifier() -> None:
    model = build_model(variants.get("MobileNetV3_Small"), num_classes=3, dropout=0.4)
    assert model.backbone.drop_rate == 0.4


def test_attention_in_order_and_by_the_published_formula() -> None:
    hybrid = on_meta("EfficientNetV2_S_Hybrid", 10).attention
    assert [type(block).__name__ for block in hybrid] == ["CoordAttn", "BoTLinearBlock"]
    assert hybrid[0].conv1.out_channels == 40
    assert hybrid[0].conv1.bias is not None
    eca = on_meta("EfficientNetV2_S_ECA", 10).attention[0]
    assert eca.conv.kernel_size == (5,)
    assert on_meta("EfficientNet_Lite0_CA", 10).attention[0].conv1.out_channels == 80


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (256, 5), (1280, 5), (4096, 7)])
def test_the_kernel_of_eca_is_odd(channels: int, kernel: int) -> None:
    """Eq. 12: log2(C)/2 + 1/2 is 3.5, 4.5, 5.66 and 6.5; cut off, and 4 and 6 made odd."""
    spec = variants.EfficientChannelAttention()
    assert spec.kernel_size(channels) == spec.parameters(channels) == kernel
    assert sum(weight.numel() for weight in spec.build(channels).parameters()) == kernel


def test_the_bottleneck_never_falls_below_eight() -> None:
    assert variants.CoordinateAttention(reduction=32).bottleneck(64) == 8
    assert variants.CoordinateAttention(reduction=16).bottleneck(512) == 32


def test_an_unknown_backbone_is_named() -> None:
    variant = variants.Variant(name="Nope", backbone="no_such_backbone")
    with pytest.raises(variants.VariantError, match="has no model 'no_such_backbone'"):
        build_model(variant, num_classes=3)


def test_a_build_function_replaces_the_recipe() -> None:
    def make(num_classes: int, dropout: float, reduction: int | None) -> torch.nn.Module:
        return torch.nn.Linear(num_classes, reduction or 1)

    variant = variants.Variant(name="Own", backbone="own", build=make)
    assert build_model(variant, num_classes=4, reduction=2).weight.shape == (2, 4)
    assert variant.declared_parameters(4) is None
