"""Ways to run a model for inference: a copy that is folded, compiled or exported, and checked."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import INEXACT_MODES
from bench.errors import BenchError
from bench.timing.cases import CHANNELS_LAST, CONTIGUOUS, EAGER, Case
from bench.timing.folding import fold
from bench.timing.onnx import (
    BackendFailed,
    Read,
    Step,
    check_onnxruntime,
    in_onnxruntime,
    in_openvino,
    shared_export,
)
from bench.timing.quantize import shared_quantised

PACKAGES = {
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "onnxruntime-int8": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
EXTRAS = {"onnxruntime": "onnx", "onnxruntime-int8": "onnx", "openvino": "openvino"}
# Largest difference of the outputs to the eager model's, relative to the largest of these.
TOLERANCES = {"folded": 1e-4}
TOLERANCE = 1e-3
# TF32 and mixed precision round to 8 to 11 bits.
COARSE_TOLERANCE = 5e-2

Forward = Callable[[nn.Module, torch.Tensor], torch.Tensor]


@attrs.frozen
class Prepared:
    """A model that is ready to be timed.

    Attributes:
        step: does the work of one step.
        facts: the ``mode_facts`` of a record: ``compile_s``, ``export_s``, ``quantise_s`` and
            ``load_s`` (seconds), ``max_difference`` and ``max_relative_difference`` of the outputs,
            ``versions``, and what a mode adds.
    """

    step: Step
    facts: dict[str, Any]


def require_packages(modes: Sequence[str], clocks: Sequence[str]) -> None:
    """See that what is needed for the modes is there.

    Raises:
        BenchError: a package is missing, or the clock that modes are timed with is left out.
    """
    others = [mode for mode in modes if mode != EAGER]
    if others and "model" not in clocks:
        raise BenchError(f"--modes {','.join(others)} times the model alone: add model to --clocks")
    for mode in others:
        absent = [name for name in PACKAGES.get(mode, ()) if find_spec(name) is None]
        if absent:
            raise BenchError(
                f"--modes {mode} needs the package{'s' if len(absent) > 1 else ''} "
                f"{', '.join(absent)}: pip install 'paddy-bench[{EXTRAS[mode]}]'"
            )


def require_triton(flag: str) -> None:
    """See that what ``torch.compile`` needs on a GPU is there.

    Args:
        flag: that asks for compiled models.

    Raises:
        BenchError: it is not; which version this PyTorch wants.
    """
    if find_spec("triton") is None:
        wanted = (line.partition(";")[0].strip() for line in requires("torch") or ())
        package = next((name for name in wanted if "triton" in name), "triton")
        raise BenchError(f"{flag} compiles on a GPU with Triton: pip install '{package}'")


def reason_of(error: BaseException) -> str:
    """An error in one line: its type, unless it is a mode's own, and its first words."""
    lines = str(error).strip().splitlines()
    text = " ".join((lines[0] if lines else "no message").split())[:200]
    return text if isinstance(error, BackendFailed) else f"{type(error).__name__}: {text}"


def prepare_backend(
    model: nn.Module, exports: Path, case: Case, images: torch.Tensor, forward: Forward
) -> Prepared:
    """Return a step of the case's backend, whose outputs are those of the eager model.

    A quantised model's are not compared: it has not seen the images that it is for.

    Args:
        model: in eval mode, on the device of the case; it stays as it is.
        exports: folder that holds the exports of this very model, for processes to share.
        case: what is timed.
        images: (B, 3, S, S) on the case's device, contiguous.
        forward: a forward pass of a module, in inference mode and the case's precision.

    Raises:
        BackendFailed: there is no such backend here, or its outputs differ.
    """
    expected = forward(model, images)
    form = torch.channels_last if case.channels_last else torch.contiguous_format
    images = images.contiguous(memory_format=form)
    if case.mode in PACKAGES:
        step, read, facts = _exported(model, exports, case, images)
    else:
        changed = copy.deepcopy(model).to(memory_format=form)  # type: ignore[call-overload]
        step, read = functools.partial(forward, changed, images), torch.Tensor.detach
        facts = _change(changed, case.mode, step)
    if case.mode in INEXACT_MODES:
        step()
    else:
        facts |= compare(expected, read(step()), tolerance_of(case))
    return Prepared(step, facts)


def _exported(
    model: nn.Module, exports: Path, case: Case, images: torch.Tensor
) -> tuple[Step, Read, dict[str, Any]]:
    """Return a step of the model as ONNX, which the first process exports for an image size."""
    inexact, openvino = case.mode in INEXACT_MODES, case.mode == "openvino"
    if case.amp:
        raise BackendFailed("exported in float32, not timed with mixed precision")
    if openvino and case.device != "cpu":
        raise BackendFailed("OpenVINO is timed on the CPU only")
    if inexact and case.device != "cpu":
        raise BackendFailed("quantised models are timed on the CPU only")
    if not openvino:
        check_onnxruntime(case)
    exported = (shared_quantised if inexact else shared_export)(model, images.shape[-1], exports)
    if exported.facts.get("input") == "uint8":
        images = (64 * images + 128).clamp(0, 255).to(torch.uint8)
    return (in_openvino if openvino else in_onnxruntime)(exported, case, images)


def _change(model: nn.Module, backend: str, step: Step) -> dict[str, Any]:
    """Fold or compile a model in place; the facts of that.

    Args:
        step: a forward pass of it.
    """
    if backend == "folded":
        folded = fold(model, step)
        if not folded:
            raise BackendFailed("no batch norm follows a convolution directly")
        return {"folded": folded}
    if backend == "compiled":
        return _compile(model, step)
    if backend not in (CHANNELS_LAST, CONTIGUOUS):
        raise BackendFailed(f"no mode is called {backend}")
    return {}


def _compile(model: nn.Module, step: Step) -> dict[str, Any]:
    from torch import _dynamo
    from torch._inductor import config

    # Processes that wait for more to compile would run beside the timing.
    config.compile_threads = 1
    _dynamo.reset()
    model.compile(dynamic=False)
    begin = time.perf_counter()
    output = step()
    if output.is_cuda:
        torch.cuda.synchronize(output.device)
    compile_s = time.perf_counter() - begin
    return {"compile_s": compile_s, "versions": {"torch": str(torch.__version__)}}


# --- outputs ---------------------------------------------------------------------------------


def tolerance_of(case: Case) -> float:
    """How far the outputs of a case may be from the eager model's, relative to the largest."""
    if case.device == "cuda":
        return COARSE_TOLERANCE
    return TOLERANCES.get(case.mode, TOLERANCE)


def compare(expected: torch.Tensor, found: torch.Tensor, tolerance: float) -> dict[str, float]:
    """The largest difference of two outputs, absolute and relative to the largest output.

    Raises:
        BackendFailed: it is above ``tolerance`` times the largest expected output, or no number.
    """
    expected, found = expected.detach().float().cpu(), found.detach().float().cpu()
    if expected.shape != found.shape:
        raise BackendFailed(
            f"its outputs have shape {tuple(found.shape)}, the eager model's "
            f"{tuple(expected.shape)}"
        )
    difference, largest = float((expected - found).abs().max()), float(expected.abs().max())
    if not difference <= tolerance * largest:
        raise BackendFailed(
            f"its outputs differ from the eager model's by {difference:.2g}, whose largest is "
            f"{largest:.2g}: more than {tolerance:g} of that"
        )
    return {
        "max_difference": difference,
        "max_relative_difference": difference / largest if largest else 0.0,
    }
