from __future__ import annotations

import pytest
import torch
from torch import nn

import variants
from bench.measure import complexity
from bench.measure.complexity import (
    RESNET18_GMACS,
    count_macs,
    count_parameters,
    counters_disagree,
    size_mb,
)
from variants.model import build_model

# GMACs at 224 pixels and 10 classes by fvcore and by FlopCounterMode / 2.
KNOWN = {
    "MobileNetV3_Small": (0.0584, 0.0555),
    "ResNet18": (1.8186, 1.8136),
    "EfficientNet_Lite0": (0.3975, 0.3839),
    "EfficientNetV2_S": (2.8730, 2.8486),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_counts(name: str) -> None:
    macs = count_macs(build_model(variants.get(name), num_classes=10), 224)
    assert macs["gmacs"] == pytest.approx(KNOWN[name][0], abs=5e-5)
    assert macs["gmacs_flop_counter"] == pytest.approx(KNOWN[name][1], abs=5e-5)
    assert not counters_disagree(macs)
    if name == "ResNet18":
        assert RESNET18_GMACS[0] <= macs["gmacs"] <= RESNET18_GMACS[1]


@pytest.mark.parametrize("name", ["EfficientNetV2_S_Hybrid", "ResNet18_Hybrid"])
def test_both_counters_agree_on_attention(name: str) -> None:
    macs = count_macs(build_model(variants.get(name), num_classes=10), 64)
    assert not counters_disagree(macs)
    assert "matmul" in macs["fvcore_by_operator"]
    assert macs["uncounted_fvcore"]
    assert "batch_norm" in macs["uncounted_flop_counter"]


def test_one_multiply_add_is_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Flatten())
    macs = count_macs(model.train(), 8)
    assert macs["gmacs"] * 1e9 == pytest.approx(8 * 8 * 3 * 5 * 9)
    assert macs["gmacs_flop_counter"] * 1e9 == pytest.approx(8 * 8 * 3 * 5 * 9)
    assert macs["image_size"] == 8
    assert model.training


def test_a_counter_that_misses_resnet18_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import build

    build.counter_gate.cache_clear()
    assert 1.81 <= build.counter_gate() <= 1.82
    build.counter_gate.cache_clear()
    monkeypatch.setattr(complexity, "count_macs", lambda model, size: {"gmacs": 3.6})
    with pytest.raises(RuntimeError, match=r"3\.6000 GMACs for ResNet18"):
        build.counter_gate()


def test_a_disagreement_is_seen() -> None:
    assert counters_disagree({"gmacs_matrix": 1.0, "gmacs_flop_counter": 1.002})
    assert not counters_disagree({"gmacs_matrix": 1.0, "gmacs_flop_counter": 1.0005})


def test_parameters_and_size() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model[0].weight.requires_grad_(False)
    assert count_parameters(model) == 12 + 4 + 8
    assert size_mb(model) == pytest.approx((4 * (12 + 4 + 8 + 8) + 8) / 1e6)
    assert size_mb(model.to(torch.float16)) == pytest.approx((2 * 32 + 8) / 1e6)
