"""8-bit models: smaller, near to what they were made from, and timed as a mode of their own."""

from __future__ import annotations

import functools
from pathlib import Path

import attrs
import numpy as np
import pytest
import timm
import torch

from bench.config.options import RunConfig
from bench.timing.backends import prepare_backend
from bench.timing.cases import plan_cases
from bench.timing.onnx import Exported, export_onnx
from bench.timing.quantize import input_quantiser, quantise, shared_quantised
from tests.timing.test_backends import forward, images_of, in_mode, small

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytestmark = pytest.mark.filterwarnings("ignore")

HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels_of(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16), np.uint8)


def normalised(pixels: np.ndarray, mean=HALF, std=HALF) -> np.ndarray:
    mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (mean, std))
    return ((pixels / 255 - mean) / std).astype(np.float32)


@functools.cache
def exported_small() -> Exported:
    return export_onnx(small(), 16)


@functools.cache
def quantised_small(mean, std) -> Exported:
    return quantise(exported_small(), [pixels_of(4, 0)], mean, std)


def outputs(content: bytes, images: np.ndarray, options=None) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), IMAGENET])
def test_a_quantised_model_is_near_and_in_integers(mean, std) -> None:
    exported = exported_small()
    made = quantise(exported, [pixels_of(4, 0), pixels_of(4, 1)], mean, std)
    assert made.facts["calibration_images"] == 8
    assert made.facts["input"] == "uint8"
    assert made.facts["quantise_s"] > 0
    assert made.facts["size_float32_mb"] == pytest.approx(len(exported.onnx) / 1e6)
    assert {"onnx", "onnxruntime"} <= set(made.facts["versions"])
    # Any batch size, and the outputs of the float32 model within a few steps of 8 bits.
    for count in (1, 4, 7):
        pixels = pixels_of(count, 5)
        expected = outputs(exported.onnx, normalised(pixels, mean, std))
        found = outputs(made.onnx, pixels)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
        assert not np.array_equal(found, expected)
    graph = onnx.load_model_from_string(made.onnx).graph
    kept = {one.data_type for one in graph.initializer if "weight_quantized" in one.name}
    assert kept == {onnx.TensorProto.INT8}
    by_name = {one.name: one for one in graph.initializer}
    (read,) = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in by_name
        and len(by_name[node.input[0]].dims) == 4
    ]
    # One scale for each of the convolution's eight output channels.
    assert list(by_name[read.input[1]].dims) == [8]


def test_calibration_sets_the_ranges() -> None:
    """Calibrated on grey, what bright and dark pixels bring about is cut off."""
    exported = exported_small()
    pixels = pixels_of(4, 0)
    expected = outputs(exported.onnx, normalised(pixels))

    def error(calibrated: np.ndarray) -> float:
        made = quantise(exported, [calibrated], HALF, HALF)
        return float(np.abs(outputs(made.onnx, pixels) - expected).max())

    assert error(pixels // 10 + 115) > 3 * error(pixels)


NORMALISATIONS = sorted(
    {(config.mean, config.std) for name in timm.list_models(pretrained=True)
     if (config := timm.get_pretrained_cfg(name))}
)  # fmt: skip


@pytest.mark.parametrize(("mean", "std"), [*NORMALISATIONS, ((0.2, 0.9, 0.5), (0.1, 1.0, 3.0))])
def test_no_level_of_the_input_lies_near_a_tie(mean, std) -> None:
    step, zero = input_quantiser(mean, std)
    levels = normalised(np.arange(256, dtype=np.uint8).repeat(3).reshape(256, 3, 1, 1), mean, std)
    places = levels.astype(np.float64) / step
    # A change of 1e-6, or of the last bit of a float32, moves none to another integer.
    assert np.array_equal(np.rint(places + 1e-6 / step), np.rint(places - 1e-6 / step))
    assert np.abs(places - np.floor(places) - 0.5).min() > 1e-3
    kept = np.rint(places) + zero
    assert kept.min() >= 0
    assert kept.max() <= 255
    # As fine as 256 steps are, but for a fiftieth.
    assert step <= 1.021 * (max(levels.max(), 0) - min(levels.min(), 0)) / 255


@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), IMAGENET])
def test_integers_compute_on_every_cpu_what_floats_do(mean, std) -> None:
    """Whole 8-bit weights overflow the 16-bit sums of CPUs without VNNI."""
    made = quantised_small(mean, std)
    as_floats = onnxruntime.SessionOptions()
    as_floats.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    bright = np.full((1, 3, 16, 16), 255, np.uint8)
    for pixels in (pixels_of(16, 3), bright):
        found, expected = outputs(made.onnx, pixels), outputs(made.onnx, pixels, as_floats)
        assert np.allclose(found, expected, atol=1e-5)
    weights = [
        onnx.numpy_helper.to_array(one)
        for one in onnx.load_model_from_string(made.onnx).graph.initializer
        if "weight_quantized" in one.name
    ]
    assert weights
    assert all(-64 <= one.min() <= one.max() <= 64 for one in weights)


def with_normalised_in(content: bytes) -> bytes:
    """The quantised model without its first three nodes: what is normalised outside goes in."""
    model = onnx.load_model_from_string(content)
    (cast, scale, shift), rest = model.graph.node[:3], list(model.graph.node[3:])
    assert [node.op_type for node in (cast, scale, shift)] == ["Cast", "Mul", "Add"]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    model.graph.input[0].name = shift.output[0]
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model.SerializeToString()


@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), IMAGENET])
def test_outputs_do_not_hang_on_the_last_bits_of_the_normalisation(mean, std) -> None:
    made = quantised_small(mean, std)
    pixels = np.arange(2 * 3 * 256).astype(np.uint8).reshape(2, 3, 16, 16)
    inside, expected = with_normalised_in(made.onnx), outputs(made.onnx, pixels)
    images = normalised(pixels, mean, std)
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, images.shape).astype(np.float32)
    for changed in (images, images + 1e-6, images - 1e-6, images + noise):
        assert np.array_equal(outputs(inside, changed.astype(np.float32)), expected)


def test_a_folder_is_quantised_once(tmp_path: Path, monkeypatch) -> None:
    model = small()
    first = shared_quantised(model, 16, tmp_path)
    from bench.timing import quantize

    monkeypatch.setattr(quantize, "quantise", lambda *_: pytest.fail("quantised again"))
    again = shared_quantised(model, 16, tmp_path)
    assert again.onnx == first.onnx
    assert again.facts == first.facts
    assert first.facts["input"] == "uint8"
    # Random images are none of a training.
    assert first.facts["calibration_images"] == 0


def test_the_mode_runs_and_tells_what_it_took(tmp_path: Path) -> None:
    case = in_mode("onnxruntime-int8")
    model = small()
    prepared = prepare_backend(model, tmp_path, case, images_of(case), forward)
    assert np.asarray(prepared.step()[0]).shape == (2, 5)
    assert prepared.facts["size_mb"] > 0
    assert prepared.facts["quantise_s"] > 0
    # It has not seen the images that it is for: there is nothing to compare.
    assert "max_difference" not in prepared.facts
    assert torch.equal(forward(model, images_of(case)[:0]), torch.zeros(0, 5))


def test_it_is_timed_on_the_cpu_alone_and_not_in_mixed_precision(tmp_path: Path) -> None:
    from bench.timing.onnx import BackendFailed

    case = in_mode("onnxruntime-int8")
    model = small()
    for wrong in (attrs.evolve(case, device="cuda"), attrs.evolve(case, amp=True)):
        with pytest.raises(BackendFailed):
            prepare_backend(model, tmp_path, wrong, images_of(case), forward)


def test_it_is_planned_like_other_exports() -> None:
    cases = plan_cases(RunConfig(modes="onnxruntime-int8"), ["cpu"], 2)
    (own,) = {case.mode for case in cases} - {"eager"}
    assert own == "onnxruntime-int8"
    assert not any(case.channels_last for case in cases if case.mode == own)
