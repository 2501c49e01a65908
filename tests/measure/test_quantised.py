"""8-bit models: smaller, near to what they were made from, and timed as a mode of their own."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bench.config import RunConfig
from bench.measure.cases import plan_cases
from bench.measure.exported import export_onnx
from bench.measure.modes import Modes
from bench.measure.quantised import quantise, shared_quantised
from tests.measure.test_modes import forward, images_of, in_mode, small

pytestmark = pytest.mark.filterwarnings("ignore")


def outputs(content: bytes, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def test_a_quantised_model_is_near_and_in_integers() -> None:
    model = small()
    batches = [np.random.default_rng(n).standard_normal((4, 3, 16, 16), np.float32) for n in (0, 1)]
    exported = export_onnx(model, 16)
    made = quantise(exported, batches)
    assert made.facts["calibration_images"] == 8
    assert made.facts["quantise_s"] > 0
    assert made.facts["size_float32_mb"] == pytest.approx(len(exported.onnx) / 1e6)
    assert {"onnx", "onnxruntime"} <= set(made.facts["versions"])
    # Any batch size, and the outputs of the float32 model within a few steps of 8 bits.
    for count in (1, 4, 7):
        images = np.random.default_rng(5).standard_normal((count, 3, 16, 16), np.float32)
        expected, found = outputs(exported.onnx, images), outputs(made.onnx, images)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
        assert not np.array_equal(found, expected)
    graph = onnx.load_model_from_string(made.onnx).graph
    kept = {one.data_type for one in graph.initializer if len(one.dims) == 4}
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
    """Calibrated on a tenth of the range, large values are cut off."""
    model = small()
    exported = export_onnx(model, 16)
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
    expected = outputs(exported.onnx, images)

    def error(calibrated: np.ndarray) -> float:
        made = quantise(exported, [calibrated])
        return float(np.abs(outputs(made.onnx, images) - expected).max())

    assert error(0.1 * images) > 3 * error(images)


def test_a_folder_is_quantised_once(tmp_path: Path, monkeypatch) -> None:
    model = small()
    first = shared_quantised(model, 16, tmp_path)
    from bench.measure import quantised

    monkeypatch.setattr(quantised, "quantise", lambda *_: pytest.fail("quantised again"))
    again = shared_quantised(model, 16, tmp_path)
    assert again.onnx == first.onnx
    assert again.facts == first.facts
    # Random images are none of a training.
    assert first.facts["calibration_images"] == 0


def test_the_mode_runs_and_tells_what_it_took(tmp_path: Path) -> None:
    case = in_mode("onnxruntime-int8")
    model = small()
    prepared = Modes(model, tmp_path).prepare(case, images_of(case), forward)
    assert np.asarray(prepared.step()[0]).shape == (2, 5)
    assert prepared.facts["size_mb"] > 0
    assert prepared.facts["quantise_s"] > 0
    # It has not seen the images that it is for: there is nothing to compare.
    assert "max_difference" not in prepared.facts
    assert torch.equal(forward(model, images_of(case)[:0]), torch.zeros(0, 5))


def test_it_is_timed_on_the_cpu_alone_and_not_in_mixed_precision(tmp_path: Path) -> None:
    from bench.measure.exported import ModeFailed

    case = in_mode("onnxruntime-int8")
    modes = Modes(small(), tmp_path)
    for wrong in (attrs.evolve(case, device="cuda"), attrs.evolve(case, amp=True)):
        with pytest.raises(ModeFailed):
            modes.prepare(wrong, images_of(case), forward)


def test_it_is_planned_like_other_exports() -> None:
    cases = plan_cases(RunConfig(modes="onnxruntime-int8"), ["cpu"], 2)
    (own,) = {case.mode for case in cases} - {"eager"}
    assert own == "onnxruntime-int8"
    assert not any(case.channels_last for case in cases if case.mode == own)
