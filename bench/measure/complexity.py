"""Parameters, model size and MACs; two independent counters, since each leaves something out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

MATRIX_OPERATORS = ("conv", "linear", "matmul", "einsum", "bmm", "addmm")
RESNET18_GMACS = (1.81, 1.82)


def count_parameters(model: nn.Module) -> int:
    """Number of weights, frozen ones included, buffers excluded."""
    return sum(parameter.numel() for parameter in model.parameters())


def size_mb(model: nn.Module) -> float:
    """Bytes of weights and buffers in their own types, in MB (10⁶ bytes)."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


def count_macs(model: nn.Module, image_size: int) -> dict[str, Any]:
    """Multiply-adds of one image in eval mode, in units of 10⁹.

    ``gmacs`` is fvcore's total (it calls one multiply-add one "flop" and counts batch norm and
    adaptive pooling too). ``gmacs_flop_counter`` is PyTorch's ``FlopCounterMode`` ÷ 2, matrix and
    convolution work only; ``gmacs_matrix`` is fvcore's part for the same work. What a counter
    skipped is listed with its number of calls.

    Args:
        model: takes (1, 3, S, S) float images.
        image_size: S in pixels.
    """
    was_training = model.training
    model.eval()
    image = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(image)
        by_operator, skipped = _fvcore(model, image)
    finally:
        model.train(was_training)
    matrix = sum(n for name, n in by_operator.items() if name in MATRIX_OPERATORS)
    by_flop_counter = {
        str(operator): flops / 2 for operator, flops in counter.get_flop_counts()["Global"].items()
    }
    return {
        "image_size": image_size,
        "gmacs": sum(by_operator.values()) / 1e9,
        "gmacs_flop_counter": counter.get_total_flops() / 2e9,
        "gmacs_matrix": matrix / 1e9,
        "fvcore_by_operator": {name: n / 1e9 for name, n in by_operator.items()},
        "flop_counter_by_operator": {name: n / 1e9 for name, n in by_flop_counter.items()},
        "uncounted_fvcore": skipped,
        "uncounted_flop_counter": {
            name: n / 1e9 for name, n in by_operator.items() if name not in MATRIX_OPERATORS
        },
    }


def _fvcore(model: nn.Module, image: torch.Tensor) -> tuple[Mapping[str, float], dict[str, int]]:
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # fvcore traces with torch.jit, which is deprecated
            analysis = FlopCountAnalysis(model, image)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            by_operator = {name: float(n) for name, n in analysis.by_operator().items()}
            return by_operator, dict(analysis.unsupported_ops())
    finally:
        logger.setLevel(level)


def counters_disagree(macs: Mapping[str, Any], tolerance: float = 1e-3) -> bool:
    """Whether the two counters differ by more than ``tolerance`` in matrix and convolution work."""
    ours, theirs = macs["gmacs_matrix"], macs["gmacs_flop_counter"]
    return abs(ours - theirs) > tolerance * max(ours, theirs)
