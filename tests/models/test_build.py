"""Models as a run gets them."""

from __future__ import annotations

import pytest
import timm
import torch

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.models import build
from variants.model import AttentiveClassifier, build_model


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
    monkeypatch.setattr(
        "bench.models.weights.load_hub", lambda model, tag: asked.append(tag) or tag
    )
    _, initial = build.build(variants.get("MobileNetV3_Small"), 3, RunConfig(pretrained=True))
    assert asked == [initial] == ["mobilenetv3_small_100.lamb_in1k"]
    assert timm.is_model(initial)


# --- counting --------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Image sizes that MACs were counted at, from an empty cache on."""
    from bench.models import complexity

    sizes: list[int] = []
    real = complexity.count_operators
    monkeypatch.setattr(build, "_counted", {})
    monkeypatch.setattr(build, "_plain", {})
    monkeypatch.setattr(build, "_bodies", {})
    monkeypatch.setattr(build, "counter_gate", lambda: 1.8186)
    monkeypatch.setattr(
        complexity,
        "count_operators",
        lambda model, shape: sizes.append(shape[-1]) or real(model, shape),
    )
    return sizes


def tiny(**options) -> variants.Variant:
    return variants.Variant(name="T", backbone="test_efficientnet", **options)


def test_seeds_and_folds_of_a_variant_are_counted_once(counted: list[int]) -> None:
    variant = tiny()
    first = build.count(variant, 3, RunConfig(seed=0), [32, 64])
    again = build.count(variant, 3, RunConfig(seed=5, epochs=2), [32, 64])
    assert counted == [32, 64]
    assert first == again
    first["macs"][0]["gmacs"] = first["parameters"] = -1
    assert build.count(variant, 3, RunConfig(), [32, 64]) == again
    assert counted == [32, 64]


def test_what_a_count_depends_on_is_counted_anew(counted: list[int]) -> None:
    attention = (variants.CoordinateAttention(reduction=32),)
    asked = [
        (tiny(), 3, RunConfig(), [32]),
        (tiny(attention=attention), 3, RunConfig(), [32]),
        (tiny(attention=attention), 3, RunConfig(reduction=4), [32]),
        (tiny(), 7, RunConfig(), [32]),
        (tiny(), 3, RunConfig(), [64]),
    ]
    found = [build.count(*what) for what in asked]
    assert len(counted) == 5
    numbers = {(one["parameters"], one["macs"][0]["gmacs"]) for one in found}
    assert len(numbers) == 5


@pytest.mark.parametrize("name", variants.names())
def test_backbone_and_attention_add_up_to_the_whole(name: str, monkeypatch) -> None:
    from bench.models.complexity import count_macs

    monkeypatch.setattr(build, "_plain", {})
    variant = variants.get(name)
    model = build_model(variant, num_classes=3)
    whole = count_macs(model, 64)
    for _ in range(2):  # counted, and found again
        assert build._macs(model, variant, 3, 64) == whole


def test_the_variants_of_one_backbone_are_counted_with_it_once(counted: list[int]) -> None:
    for attention in ((), (variants.CoordinateAttention(reduction=32),)):
        build.count(tiny(attention=attention), 3, RunConfig(), [64])
    assert counted == [64, 2]


def test_a_backbone_is_built_once_and_counts_the_same(
    counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    attentions = [
        (),
        (variants.CoordinateAttention(reduction=32),),
        (variants.EfficientChannelAttention(),),
    ]
    alone = []
    for attention in attentions:
        monkeypatch.setattr(build, "_plain", {})
        monkeypatch.setattr(build, "_bodies", {})
        alone.append(build.count(tiny(attention=attention), 3, RunConfig(), [32, 64]))
    monkeypatch.setattr(build, "_plain", {})
    monkeypatch.setattr(build, "_bodies", {})
    built: list[str] = []
    real = build._random
    monkeypatch.setattr(build, "_random", lambda *how: built.append(how[0].name) or real(*how))
    for order in (attentions, attentions[::-1]):
        shared = [
            build.count(tiny(attention=attention), 3, RunConfig(), [32, 64]) for attention in order
        ]
        assert shared == (alone if order is attentions else alone[::-1])
    assert len(built) == 1
    # A size at which it has not been counted needs its weights.
    build.count(tiny(), 3, RunConfig(), [96])
    assert len(built) == 2


def test_a_model_of_its_own_is_not_its_backbone(counted: list[int]) -> None:
    def wider(num_classes: int, dropout: float, reduction: int | None) -> torch.nn.Module:
        backbone = timm.create_model("test_efficientnet", num_classes=num_classes)
        backbone.conv_stem = torch.nn.Sequential(backbone.conv_stem, torch.nn.Conv2d(24, 24, 3))
        return AttentiveClassifier(backbone)

    plain = build.count(tiny(), 3, RunConfig(), [32])
    build._plain.clear()
    build._bodies.clear()
    own = build.count(tiny(build=wider), 3, RunConfig(), [32])
    assert build.count(tiny(), 3, RunConfig(), [32]) == plain
    assert own["parameters"] == plain["parameters"] + 24 * 24 * 9 + 24
    assert own["macs"][0]["gmacs"] > plain["macs"][0]["gmacs"]


def test_a_count_that_failed_is_not_kept(counted: list[int], monkeypatch) -> None:
    variant, real = tiny(), build._random
    monkeypatch.setattr(build, "_random", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        build.count(variant, 3, RunConfig(), [32])
    monkeypatch.setattr(build, "_random", real)
    assert build.count(variant, 3, RunConfig(), [32])["parameters"] > 0


@pytest.mark.parametrize("name", variants.names())
def test_the_head_for_1000_classes_is_the_declared_one(name: str, counted: list[int]) -> None:
    counts = build.count(variants.get(name), 4, RunConfig(), [32])
    variant = variants.get(name)
    assert counts["parameters"] == counts["parameters_declared"] == variant.declared_parameters(4)
    assert counts["parameters_1000_classes"] == variant.declared_parameters(1000)


@pytest.mark.parametrize("reads_values", [False, True])
def test_a_model_of_its_own_is_built_anew_for_1000_classes(
    reads_values: bool, counted: list[int]
) -> None:
    def make(num_classes: int, dropout: float, reduction: int | None) -> torch.nn.Module:
        head = torch.nn.Linear(3, num_classes)
        if reads_values:
            head.bias.data += head.weight.sum().item()
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head)

    counts = build.count(
        variants.Variant(name="Own", backbone="own", build=make), 5, RunConfig(), [8]
    )
    assert (counts["parameters"], counts["parameters_1000_classes"]) == (20, 4000)
    assert counts["attention_parameters"] is None
    assert counts["macs"][0]["gmacs_matrix"] * 1e9 == pytest.approx(15)
