"""Exports a model to ONNX and runs it with ONNX Runtime or OpenVINO."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from bench.timing.cases import Case

BATCH = "batch"

Step = Callable[[], Any]
Read = Callable[[Any], torch.Tensor]


class BackendFailed(Exception):
    """Why a model cannot be run by a backend."""


@attrs.frozen
class Exported:
    """A model as the bytes of an ONNX file, and how it was exported: part of ``mode_facts``."""

    onnx: bytes
    facts: dict[str, Any]

    def facts_with(self, package: str) -> dict[str, Any]:
        """The facts, with the version of what runs the file."""
        versions = {**self.facts["versions"], package: version(package)}
        return {**self.facts, "versions": versions}


def export_onnx(model: nn.Module, image_size: int) -> Exported:
    """Export a model in eval mode with a free batch size, by way of a temporary file."""
    import onnx

    own = copy.deepcopy(model).cpu()
    own = own.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    images = torch.zeros(2, 3, image_size, image_size)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="paddy-bench-onnx-") as folder, torch.no_grad():
        file = Path(folder) / "model.onnx"
        own(images)  # what a module keeps between calls is there before it is traced
        torch.onnx.export(
            own, (images,), file,
            input_names=["images"], output_names=["logits"], external_data=False,
            dynamic_shapes=({0: torch.export.Dim(BATCH)},), verbose=False,
        )  # fmt: skip
        exported = file.read_bytes()
    opsets = {one.domain: one.version for one in onnx.load_model_from_string(exported).opset_import}
    versions = {name: version(name) for name in ("onnx", "onnxscript")}
    facts = {
        "export_s": time.perf_counter() - begin,
        "opset": opsets.get("", opsets.get("ai.onnx")),
        "size_mb": len(exported) / 1e6,
        "versions": {"torch": str(torch.__version__), **versions},
    }
    return Exported(exported, facts)


def shared_export(model: nn.Module, image_size: int, folder: Path) -> Exported:
    """Return the export of a model, as :func:`shared`."""
    return shared(folder, str(image_size), lambda: export_onnx(model, image_size))


def check_onnxruntime(case: Case) -> str:
    """The execution provider of a case's device.

    Raises:
        BackendFailed: the installed package has none for it.
    """
    import onnxruntime

    provider = f"{'CUDA' if case.device == 'cuda' else 'CPU'}ExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise BackendFailed(f"this onnxruntime has no {provider}: pip install onnxruntime-gpu")
    return provider


def in_onnxruntime(
    exported: Exported, case: Case, images: torch.Tensor
) -> tuple[Step, Read, dict[str, Any]]:
    """Return a step of ONNX Runtime, what reads its output, and the facts of both.

    Raises:
        BackendFailed: it has no provider for the case's device, or did not take it.
    """
    import onnxruntime

    provider = check_onnxruntime(case)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = case.threads, 1
    options.add_free_dimension_override_by_name(BATCH, case.batch_size)
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(exported.onnx, options, providers=[provider])
    taken = session.get_providers()[0]
    if taken != provider:
        raise BackendFailed(
            f"onnxruntime took {taken} for {provider}: its CUDA or cuDNN is missing"
        )
    load_s = time.perf_counter() - begin
    facts = {**exported.facts_with("onnxruntime"), "load_s": load_s, "provider": taken}
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    if case.device != "cuda":
        feed = {name: images.numpy()}
        return lambda: session.run([output], feed), _first, facts
    binding, place = session.io_binding(), images.device.index or 0
    binding.bind_input(name, "cuda", place, np.float32, tuple(images.shape), images.data_ptr())
    binding.bind_output(output, "cuda", place)

    def step(_alive: torch.Tensor = images) -> Any:
        session.run_with_iobinding(binding)
        return binding

    return step, lambda done: _first(done.copy_outputs_to_cpu()), facts


def in_openvino(
    exported: Exported, case: Case, images: torch.Tensor
) -> tuple[Step, Read, dict[str, Any]]:
    """Return a step of OpenVINO on the CPU, what reads its output, and the facts of both."""
    import openvino

    begin = time.perf_counter()
    core = openvino.Core()
    model = core.read_model(exported.onnx)
    model.reshape(list(images.shape))
    settings = {
        "INFERENCE_NUM_THREADS": case.threads,
        "NUM_STREAMS": 1,
        # Its default is bfloat16 where a CPU has it, and the others run in float32.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    facts = {**exported.facts_with("openvino"), "load_s": time.perf_counter() - begin}
    feed = {0: images.numpy()}
    return lambda: request.infer(feed, share_inputs=True), _first, facts


def cpu_session(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Return what computes the output of an ONNX file with ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.array(session.run(None, {name: images})[0])


def shared(folder: Path, stem: str, make: Callable[[], Exported]) -> Exported:
    """Return what lies in a folder under a name, made where it does not.

    Args:
        folder: of one very model; processes come here one after the other.
    """
    file, about = folder / f"{stem}.onnx", folder / f"{stem}.json"
    if not about.exists():
        exported = make()
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(exported.onnx)
        about.write_text(json.dumps(exported.facts), encoding="utf8")
    return Exported(file.read_bytes(), json.loads(about.read_text(encoding="utf8")))


def _first(outputs: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(outputs[0]))
