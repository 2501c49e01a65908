"""Quantises an ONNX model to 8-bit integers with ONNX Runtime, calibrated on images."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
from torch import nn

from bench.timing.onnx import Exported, shared, shared_export

# Of random images, where only the speed is asked for: it does not hang on the ranges.
RANDOM_BATCHES, RANDOM_BATCH = 2, 4
# Its normalisation, likewise.
RANDOM_MEAN = RANDOM_STD = (0.5, 0.5, 0.5)

Values = Sequence[float]


def quantise(
    exported: Exported, batches: Sequence[np.ndarray], mean: Values, std: Values
) -> Exported:
    """Static quantisation: activations to uint8, weights to 7 bits for each channel (QDQ).

    The quantised model takes pixels and normalises them itself: (B, 3, S, S) uint8. Its input has
    the scale of :func:`input_quantiser`; the other ranges are the smallest and largest values that
    the calibration batches bring about.

    Args:
        exported: a float32 model with one input, normalised images.
        batches: (B, 3, S, S) uint8 each.
        mean, std: of the three channels, for pixels in 0..1.

    Returns:
        The quantised model; its facts gain ``quantise_s``, ``calibration_images`` and ``input``.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    begin = time.perf_counter()
    name = onnx.load_model_from_string(exported.onnx).graph.input[0].name
    step, zero = input_quantiser(mean, std)
    override = {"scale": np.array(step, np.float32), "zero_point": np.array(zero, np.uint8)}
    factor, shift = normalisation(mean, std)
    normalised = iter([{name: batch * factor + shift} for batch in batches])
    with tempfile.TemporaryDirectory(prefix="paddy-bench-int8-") as folder, _quiet():
        whole, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        whole.write_bytes(exported.onnx)
        # Its symbolic part writes into the working folder where it fails, and is not needed.
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(small),
            SimpleNamespace(get_next=functools.partial(next, normalised, None)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Sums of two products of 8 bits do not fit into the 16 bits that CPUs without VNNI have
            # for them: there another model would run than elsewhere.
            reduce_range=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": {name: [override]}},
        )
        content = _with_pixels_in(onnx.load(small), factor, shift).SerializeToString()
    facts = {
        **exported.facts,
        "quantise_s": time.perf_counter() - begin,
        "calibration_images": sum(len(batch) for batch in batches),
        "input": "uint8",
        "size_mb": len(content) / 1e6,
        "size_float32_mb": len(exported.onnx) / 1e6,
        "versions": {**exported.facts["versions"], "onnxruntime": version("onnxruntime")},
    }
    return Exported(content, facts)


def input_quantiser(mean: Values, std: Values) -> tuple[float, int]:
    """Step and zero point for normalised pixels, from whose rounding ties all levels are far.

    At the usual step, range / 255, each of the 256 levels of a model with mean and std 0.5 lies
    half-way between two integers, and the last bit of the normalisation decides where it goes. Of
    steps up to a fiftieth wider, the one is taken whose nearest level is farthest from a tie.

    Args:
        mean, std: of the three channels, for pixels in 0..1.
    """
    factor, shift = (part.astype(np.float64).ravel() for part in normalisation(mean, std))
    levels = np.arange(256) * factor[:, None] + shift[:, None]
    # Zero, the value of a convolution's padding, has an integer of its own.
    low, high = min(levels.min(), 0.0), max(levels.max(), 0.0)
    found = []
    for wider in np.linspace(1, 1.02, 101):
        step = float(np.float32((high - low) / 255 * wider))
        zero = int(np.clip(np.rint(-low / step), 0, 255))
        places = levels / step
        from_tie = 0.5 - np.abs(places - np.rint(places))
        found.append((float(from_tie.min()), step, zero))
    _, step, zero = max(found)
    return step, zero


def normalisation(mean: Values, std: Values) -> tuple[np.ndarray, np.ndarray]:
    """(1, 3, 1, 1) float32 each: normalised = pixel · factor + shift."""
    centre, spread = (np.array(values, np.float64).reshape(1, 3, 1, 1) for values in (mean, std))
    return (1 / (255 * spread)).astype(np.float32), (-centre / spread).astype(np.float32)


def _with_pixels_in(model: Any, factor: np.ndarray, shift: np.ndarray) -> Any:
    """An ONNX model whose input is of uint8 and normalised inside."""
    import onnx

    graph = model.graph
    (images,) = graph.input
    name, inside = images.name, f"{images.name}_normalised"
    for node in graph.node:
        node.input[:] = [inside if one == name else one for one in node.input]
    constants = {f"{inside}_factor": factor, f"{inside}_shift": shift}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value, key) for key, value in constants.items()
    )
    pixels, scaled = f"{name}_float", f"{name}_scaled"
    first, second = constants
    nodes = [
        onnx.helper.make_node("Cast", [name], [pixels], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [pixels, first], [scaled]),
        onnx.helper.make_node("Add", [scaled, second], [inside]),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    images.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.checker.check_model(model)
    return model


def shared_quantised(model: nn.Module, image_size: int, folder: Path) -> Exported:
    """The quantised export of a model that lies in a folder, calibrated on random images.

    It is as fast as one that was calibrated on real ones, and its outputs mean nothing.

    Args:
        model: in eval mode.
        image_size: S in pixels.
        folder: of this very model; processes come here one after the other.
    """

    def make() -> Exported:
        rng = np.random.default_rng(0)
        shape = (RANDOM_BATCH, 3, image_size, image_size)
        batches = [rng.integers(0, 256, shape, np.uint8) for _ in range(RANDOM_BATCHES)]
        exported = shared_export(model, image_size, folder)
        quantised = quantise(exported, batches, RANDOM_MEAN, RANDOM_STD)
        return attrs.evolve(quantised, facts={**quantised.facts, "calibration_images": 0})

    return shared(folder, f"{image_size}.int8", make)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """It recommends what is done, and prints what it does."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
