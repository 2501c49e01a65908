"""Modes of inference: what they need, and that their outputs are those of the eager model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.timing import backends, onnx
from bench.timing.backends import (
    compare,
    prepare_backend,
    reason_of,
    require_packages,
    tolerance_of,
)
from bench.timing.cases import Case
from bench.timing.onnx import BackendFailed

EAGER = Case(
    device="cpu", clock="model", regime="throughput", image_size=16, batch_size=2, threads=1
)


def in_mode(name: str, **more: Any) -> Case:
    return attrs.evolve(EAGER, mode=name, **more)


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(8, 5)).eval()
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    return model


def forward(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


def prepare(model: nn.Module, case: Case, images: torch.Tensor, run: Any, exports: Any = "none"):
    return prepare_backend(model, Path(exports), case, images, run)


def images_of(case: Case) -> torch.Tensor:
    return torch.randn(case.batch_size, 3, case.image_size, case.image_size)


# --- packages --------------------------------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    find: Callable[[str], Any] = importlib.util.find_spec
    monkeypatch.setattr(
        backends, "find_spec", lambda name: None if name in absent else find("json")
    )


def test_a_missing_package_is_named_with_the_extra(monkeypatch) -> None:
    without(monkeypatch, "onnxruntime")
    with pytest.raises(BenchError) as error:
        require_packages(("eager", "onnxruntime"), ("model",))
    assert str(error.value) == (
        "--modes onnxruntime needs the package onnxruntime: pip install 'paddy-bench[onnx]'"
    )


def test_several_missing_packages_are_named_together(monkeypatch) -> None:
    without(monkeypatch, "onnx", "openvino")
    with pytest.raises(BenchError, match=r"openvino needs the packages onnx, openvino: .*openvino"):
        require_packages(("openvino",), ("model",))


def test_what_is_not_asked_for_is_not_needed(monkeypatch) -> None:
    without(monkeypatch, "onnx", "onnxscript", "onnxruntime", "openvino")
    require_packages(("eager", "channels-last", "folded", "compiled"), ("model", "train"))
    with pytest.raises(BenchError):
        require_packages(("onnxruntime",), ("model",))


def test_modes_without_their_clock_are_refused() -> None:
    with pytest.raises(BenchError, match="--modes folded times the model alone: add model"):
        require_packages(("eager", "folded"), ("train",))
    require_packages(("eager",), ("train",))


# --- outputs ---------------------------------------------------------------------------------


def test_the_largest_difference_is_given_and_bounded() -> None:
    expected = torch.tensor([[1.0, -4.0]])
    found = compare(expected, expected + 0.002, 1e-3)
    assert found["max_difference"] == pytest.approx(0.002, rel=1e-3)
    assert found["max_relative_difference"] == pytest.approx(0.0005, rel=1e-3)
    message = r"differ .* by 0\.5, whose largest is 4: more than 0\.001"
    with pytest.raises(BackendFailed, match=message):
        compare(expected, expected + 0.5, 1e-3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_no_match(wrong: float) -> None:
    with pytest.raises(BackendFailed):
        compare(torch.ones(1, 2), torch.tensor([[1.0, wrong]]), 1e-3)


def test_another_shape_is_no_match() -> None:
    with pytest.raises(BackendFailed, match=r"shape \(1, 3\), the eager model's \(1, 2\)"):
        compare(torch.ones(1, 2), torch.ones(1, 3), 1e-3)


def test_folding_is_held_to_more_than_the_others_and_a_gpu_to_less() -> None:
    folded, exported = tolerance_of(in_mode("folded")), tolerance_of(in_mode("onnxruntime"))
    assert (folded, exported) == (1e-4, 1e-3)
    assert tolerance_of(in_mode("folded", device="cuda")) > exported


def test_a_reason_is_one_line_with_the_errors_type_unless_it_is_our_own() -> None:
    assert reason_of(RuntimeError("no\nsuch thing")) == "RuntimeError: no"
    assert reason_of(BackendFailed("its outputs differ")) == "its outputs differ"
    assert reason_of(ValueError()) == "ValueError: no message"
    assert len(reason_of(RuntimeError("x" * 999))) < 250


# --- PyTorch ---------------------------------------------------------------------------------


def test_channels_last_changes_a_copy_only() -> None:
    model, case = small(), in_mode("channels-last", channels_last=True)
    seen: list[bool] = []

    def watched(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        seen.append(images.is_contiguous(memory_format=torch.channels_last))
        return forward(module, images)

    prepared = prepare(model, case, images_of(case), watched)
    prepared.step()
    assert seen == [False, True, True]
    assert model[0].weight.is_contiguous()
    assert prepared.facts["max_difference"] < 1e-5


def test_folded_gives_eagers_outputs_and_leaves_the_model() -> None:
    model, case = small(), in_mode("folded")
    images = images_of(case)
    prepared = prepare(model, case, images, forward)
    assert torch.allclose(prepared.step(), forward(model, images), atol=1e-5)
    assert prepared.facts["folded"] == 1
    assert isinstance(model[1], nn.BatchNorm2d)


def test_a_model_without_batch_norm_cannot_be_folded() -> None:
    model, case = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), in_mode("folded")
    with pytest.raises(BackendFailed, match="no batch norm follows a convolution"):
        prepare(model, case, images_of(case), forward)


class Elsewhere(nn.Module):
    """Uses a convolution's output beside the norm, which folding does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(3.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = self.conv(images)
        return (out + self.norm(out)).flatten(1)


def test_outputs_that_a_mode_changes_are_a_reason_not_to_time_it() -> None:
    case = in_mode("folded")
    with pytest.raises(BackendFailed, match="its outputs differ from the eager model's"):
        prepare(Elsewhere().eval(), case, images_of(case), forward)


def test_an_unknown_mode_is_named() -> None:
    case = in_mode("tensorrt")
    with pytest.raises(BackendFailed, match="no mode is called tensorrt"):
        prepare(small(), case, images_of(case), forward)


# --- exported --------------------------------------------------------------------------------


def test_exported_models_are_not_timed_where_they_cannot_be() -> None:
    half = in_mode("onnxruntime", amp=True)
    with pytest.raises(BackendFailed, match="not timed with mixed precision"):
        prepare(small(), half, images_of(half), forward)
    on_gpu = in_mode("openvino", device="cuda")
    with pytest.raises(BackendFailed, match="on the CPU only"):
        prepare(small(), on_gpu, images_of(on_gpu), forward)


def test_onnxruntime_without_cuda_says_what_to_install() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    case = in_mode("onnxruntime", device="cuda")
    with pytest.raises(
        BackendFailed, match="no CUDAExecutionProvider: pip install onnxruntime-gpu"
    ):
        prepare(small(), case, images_of(case), forward)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["onnxruntime", "openvino"])
def test_an_export_gives_eagers_outputs_at_every_batch_and_is_made_once(
    mode: str, tmp_path: Path, monkeypatch
) -> None:
    for package in backends.PACKAGES[mode]:
        pytest.importorskip(package)
    made: list[int] = []
    export = onnx.export_onnx
    monkeypatch.setattr(
        onnx, "export_onnx", lambda model, size: made.append(size) or export(model, size)
    )
    for batch in (1, 2):
        # As two processes of a session: each has the model, and the folder of exports.
        case = in_mode(mode, batch_size=batch)
        exports = tmp_path / "exports" / "Small"
        prepared = prepare(small(), case, images_of(case), forward, exports)
        assert prepared.facts["max_difference"] < 1e-4
        assert prepared.facts["opset"] >= 18
        assert set(backends.PACKAGES[mode]) | {"torch"} == set(prepared.facts["versions"])
        assert prepared.facts["export_s"] > 0
        assert prepared.facts["load_s"] > 0
    assert made == [16]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_export_of_another_model_is_found_out(tmp_path: Path) -> None:
    for package in backends.PACKAGES["onnxruntime"]:
        pytest.importorskip(package)
    case, folder = in_mode("onnxruntime"), tmp_path / "exports"
    onnx.shared_export(small(), 16, folder)
    other = small()
    other[5].weight.data += 1
    with pytest.raises(BackendFailed, match="its outputs differ"):
        prepare(other, case, images_of(case), forward, folder)
