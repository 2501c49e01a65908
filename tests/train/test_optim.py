from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.train import optim
from bench.train.optim import (
    choose_amp,
    class_weights,
    freeze_backbone,
    make_optimizer,
    parameter_groups,
    set_training,
)
from variants.model import AttentiveClassifier, build_model


@pytest.fixture
def model() -> AttentiveClassifier:
    backbone = timm.create_model("test_efficientnet", num_classes=5, drop_rate=0.2)
    return AttentiveClassifier(backbone, [variants.CoordinateAttention()])


def by_name(model: nn.Module, **changes) -> dict[str, dict]:
    rates = {"base_lr": 1e-5, "head_lr": 1e-3, "weight_decay": 0.1, **changes}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group["name"]: {**group, "params": [names[id(p)] for p in group["params"]]}
        for group in parameter_groups(model, **rates)
    }


def test_three_groups_with_their_rates_and_decays(model) -> None:
    groups = by_name(model)
    assert list(groups) == ["backbone", "no_decay", "head"]
    found = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert found == {"backbone": (1e-5, 0.1), "no_decay": (1e-5, 0.0), "head": (1e-3, 0.1)}


def test_the_optimizer_has_the_configs_rates(model) -> None:
    config = RunConfig(base_lr=2e-5, head_lr=3e-3, weight_decay=0.2)
    found = {
        group["name"]: (group["lr"], group["weight_decay"])
        for group in make_optimizer(model, config).param_groups
    }
    assert found == {"backbone": (2e-5, 0.2), "no_decay": (2e-5, 0.0), "head": (3e-3, 0.2)}


def test_every_parameter_is_in_one_group_where_it_belongs(model) -> None:
    groups = by_name(model)
    together = [name for group in groups.values() for name in group["params"]]
    assert sorted(together) == sorted(name for name, _ in model.named_parameters())
    assert set(groups["head"]["params"]) == {
        "backbone.classifier.weight",
        "backbone.classifier.bias",
        "attention.0.conv1.weight",
        "attention.0.conv_h.weight",
        "attention.0.conv_w.weight",
    }
    shapes = dict(model.named_parameters())
    assert all(shapes[name].ndim == 1 for name in groups["no_decay"]["params"])
    assert {"attention.0.bn1.weight", "attention.0.conv1.bias", "backbone.bn1.bias"} <= set(
        groups["no_decay"]["params"]
    )
    assert all(shapes[name].ndim > 1 for name in groups["backbone"]["params"])
    assert all(name.startswith("backbone.") for name in groups["backbone"]["params"])


def test_attention_can_be_trained_at_the_base_rate(model) -> None:
    groups = by_name(model, attention_lr="base")
    assert "attention.0.conv1.weight" in groups["backbone"]["params"]
    assert set(groups["head"]["params"]) == {
        "backbone.classifier.weight",
        "backbone.classifier.bias",
    }


@pytest.mark.parametrize("name", ["ResNet18_Hybrid", "EfficientNetV2_S_ECA", "MobileNetV3_Small"])
def test_groups_of_real_variants(name: str) -> None:
    with torch.device("meta"):
        model = build_model(variants.get(name), num_classes=10)
    groups = by_name(model)
    assert sum(len(g["params"]) for g in groups.values()) == len(list(model.parameters()))
    head = [name for name in groups["head"]["params"] if not name.startswith("attention")]
    assert len(head) == 2


def test_a_model_without_get_classifier_is_refused() -> None:
    with pytest.raises(BenchError, match=r"Linear has no get_classifier\(\)"):
        parameter_groups(nn.Linear(2, 2), base_lr=1, head_lr=1, weight_decay=0)


def test_a_frozen_backbone_keeps_weights_and_statistics(model) -> None:
    freeze_backbone(model)
    groups = by_name(model)
    assert groups["backbone"]["params"] == []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    set_training(model, frozen=True)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, base_lr=0.1, head_lr=0.1, weight_decay=0.1)
    )
    model(torch.randn(4, 3, 64, 64)).sum().backward()
    optimizer.step()
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed
    assert all(n.startswith(("attention.", "backbone.classifier.")) for n in changed)
    assert "attention.0.bn1.running_mean" in changed


def test_dropout_before_the_classifier_stays_on_with_a_frozen_backbone(model) -> None:
    freeze_backbone(model)
    set_training(model, frozen=True)
    assert model.backbone.training
    assert model.attention[0].bn1.training
    assert not model.backbone.bn1.training
    set_training(model, frozen=False)
    assert model.backbone.bn1.training


def test_amp_on_a_cpu_is_off_unless_bf16_is_asked_for() -> None:
    cpu = torch.device("cpu")
    assert choose_amp("auto", cpu) == "off"
    assert choose_amp("off", cpu) == "off"
    assert choose_amp("bf16", cpu) == "bf16"
    with pytest.raises(BenchError, match="fp16 needs CUDA"):
        choose_amp("fp16", cpu)


@pytest.mark.parametrize(("has_bf16", "chosen"), [(True, "bf16"), (False, "fp16")])
def test_amp_on_cuda_follows_the_device(has_bf16: bool, chosen: str, monkeypatch) -> None:
    cuda = SimpleNamespace(type="cuda")
    monkeypatch.setattr(optim.torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert choose_amp("auto", cuda) == chosen  # type: ignore[arg-type]
    assert choose_amp("off", cuda) == "off"  # type: ignore[arg-type]
    assert choose_amp("fp16", cuda) == "fp16"  # type: ignore[arg-type]
    if not has_bf16:
        with pytest.raises(BenchError, match="no bfloat16"):
            choose_amp("bf16", cuda)  # type: ignore[arg-type]


def test_class_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [4, 0, 2, 2, 0, 2, 2, 4, 0, 2, 2]
    train = SimpleNamespace(dataset=SimpleNamespace(labels=labels, num_classes=6))
    present = np.unique(labels)
    expected = torch.zeros(6)
    expected[present] = torch.tensor(
        compute_class_weight("balanced", classes=present, y=labels), dtype=torch.float32
    )
    found = class_weights(train, "balanced", torch.device("cpu"))
    assert found is not None
    assert torch.equal(found, expected)
