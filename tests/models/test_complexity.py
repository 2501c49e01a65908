from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

import variants
from bench.models import complexity
from bench.models.complexity import (
    RESNET18_GMACS,
    count_macs,
    count_parameters,
    counters_disagree,
    size_mb,
)
from variants.model import build_model

# GMACs at 224 pixels and 10 classes by fvcore and by FlopCounterMode / 2. With four decimals:
# published; with more: what both counted part by part, on models that were traced with their parts.
KNOWN = {
    "MobileNetV3_Small": (0.0584, 0.0555),
    "ResNet18": (1.8186, 1.8136),
    "ResNet18_Hybrid": (1.828021184, 1.823028224),
    "EfficientNet_Lite0": (0.3975, 0.3839),
    "EfficientNet_Lite0_CA": (0.400327904, 0.386787552),
    "EfficientNetV2_S": (2.8730, 2.8486),
    "EfficientNetV2_S_CA": (2.874442656, 2.850062272),
    "EfficientNetV2_S_ECA": (2.873014336, 2.848635072),
    "EfficientNetV2_S_BoTLinear": (2.930710336, 2.906331072),
    "EfficientNetV2_S_Hybrid": (2.932145056, 2.907764672),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_counts(name: str) -> None:
    macs = count_macs(build_model(variants.get(name), num_classes=10), 224)
    assert macs["gmacs"] == pytest.approx(KNOWN[name][0], abs=5e-5)
    assert macs["gmacs_flop_counter"] == pytest.approx(KNOWN[name][1], abs=5e-5)
    assert not counters_disagree(macs)
    if name == "ResNet18":
        assert RESNET18_GMACS[0] <= macs["gmacs"] <= RESNET18_GMACS[1]


def test_every_variant_is_known() -> None:
    assert set(KNOWN) == set(variants.names())


@pytest.mark.parametrize("name", ["ResNet18_Hybrid", "MobileNetV3_Small"])
def test_the_sum_is_fvcores_own(name: str) -> None:
    """fvcore on the model as it is, with books on every part, as its documentation has it."""
    model = build_model(variants.get(name), num_classes=10).eval()
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        model(image)
        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        expected = {part: float(n) / 1e9 for part, n in analysis.by_operator().items()}
    macs = count_macs(model, 64)
    assert macs["fvcore_by_operator"] == expected
    assert macs["uncounted_fvcore"] == dict(analysis.unsupported_ops())


def test_counting_leaves_threads_and_mode_as_they_were() -> None:
    threads = torch.get_num_threads()
    seen = []

    class Model(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((torch.get_num_threads(), self.training))
            if images.shape[-1] == 16:
                raise ArithmeticError
            return super().forward(images)

    model = Model(3, 4, 1).train()
    try:
        torch.set_num_threads(2)
        count_macs(model, 8)
        with pytest.raises(ArithmeticError):
            count_macs(model, 16)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {(1, False)}
    assert model.training
    count_macs(model.eval(), 8)
    assert not model.training


def test_attention_is_counted_and_what_is_not_is_named() -> None:
    macs = count_macs(build_model(variants.get("ResNet18_Hybrid"), num_classes=10), 64)
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
    from bench.models import build

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
