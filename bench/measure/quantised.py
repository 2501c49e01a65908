"""Quantises an ONNX model to 8-bit integers with ONNX Runtime, calibrated on images."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import nn

from bench.measure.exported import Exported, shared_export

# Of random images, where only the speed is asked for: it does not hang on the ranges.
RANDOM_BATCHES, RANDOM_BATCH = 2, 4


def quantise(exported: Exported, batches: Sequence[np.ndarray]) -> Exported:
    """Static quantisation: activations to uint8, weights to int8 for each channel (QDQ).

    Ranges are the smallest and largest values that the calibration batches bring about.

    Args:
        exported: a float32 model with one input.
        batches: (B, 3, S, S) float32 each.

    Returns:
        The quantised model; its facts gain ``quantise_s`` and ``calibration_images``.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="paddy-bench-int8-") as folder, _quiet():
        whole, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        whole.write_bytes(exported.onnx)
        # Its symbolic part writes into the working folder where it fails, and is not needed.
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(small),
            _Reader(exported.onnx, batches),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        content = small.read_bytes()
    facts = {
        **exported.facts,
        "quantise_s": time.perf_counter() - begin,
        "calibration_images": sum(len(batch) for batch in batches),
        "size_mb": len(content) / 1e6,
        "size_float32_mb": len(exported.onnx) / 1e6,
        "versions": {**exported.facts["versions"], "onnxruntime": version("onnxruntime")},
    }
    return Exported(content, facts)


def shared_quantised(model: nn.Module, image_size: int, folder: Path) -> Exported:
    """The quantised export of a model that lies in a folder, calibrated on random images.

    It is as fast as one that was calibrated on real ones, and its outputs mean nothing.

    Args:
        model: in eval mode.
        image_size: S in pixels.
        folder: of this very model; processes come here one after the other.
    """
    file, about = folder / f"{image_size}.int8.onnx", folder / f"{image_size}.int8.json"
    if not about.exists():
        rng = np.random.default_rng(0)
        shape = (RANDOM_BATCH, 3, image_size, image_size)
        batches = [rng.standard_normal(shape, np.float32) for _ in range(RANDOM_BATCHES)]
        made = quantise(shared_export(model, image_size, folder), batches)
        file.write_bytes(made.onnx)
        facts = {**made.facts, "calibration_images": 0}
        about.write_text(json.dumps(facts), encoding="utf8")
    return Exported(file.read_bytes(), json.loads(about.read_text(encoding="utf8")))


class _Reader:
    """What ONNX Runtime's calibration asks for batch after batch."""

    def __init__(self, model: bytes, batches: Sequence[np.ndarray]) -> None:
        import onnx

        graph = onnx.load_model_from_string(model).graph
        self._name = graph.input[0].name
        self._left: Iterator[np.ndarray] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or none."""
        batch = next(self._left, None)
        return None if batch is None else {self._name: batch}


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
