"""Folds batch norms into the convolutions before them, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(model: nn.Module, run: Callable[[], object]) -> int:
    """Fold every batch norm whose input is the output of a convolution, in place.

    Which norm follows which convolution is seen in one forward pass, so the model need not be
    traced. Only classes whose arithmetic is known are folded: PyTorch's own, and timm's
    ``Conv2dSame`` and ``BatchNormAct2d`` (of which dropout and activation stay). A module that is
    called more than once is left alone.

    Args:
        model: in eval mode.
        run: a forward pass of it.

    Returns:
        How many were folded.
    """
    pairs = _pairs(model, run)
    names = {module: name for name, module in model.named_modules()}
    with torch.no_grad():
        for conv, norm in pairs:
            fused = fuse_conv_bn_eval(conv, norm)
            conv.weight, conv.bias = fused.weight, fused.bias
            model.set_submodule(names[norm], _rest(norm))
    return len(pairs)


def _pairs(model: nn.Module, run: Callable[[], object]) -> list[tuple[Any, Any]]:
    from timm.layers import BatchNormAct2d, Conv2dSame

    calls: Counter[nn.Module] = Counter()
    # Outputs are kept: another tensor might get the id of one that is gone.
    made: dict[int, tuple[nn.Module, object]] = {}
    found: list[tuple[nn.Module, nn.Module]] = []

    def after(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        calls[module] += 1
        if type(module) in (*CONVOLUTIONS, Conv2dSame):
            made[id(output)] = module, output
        elif id(inputs[0]) in made:
            found.append((made[id(inputs[0])][0], module))

    watched = (*CONVOLUTIONS, Conv2dSame, *NORMS, BatchNormAct2d)
    with ExitStack() as hooks:
        for module in model.modules():
            if type(module) in watched:
                hooks.enter_context(module.register_forward_hook(after))
        run()
    return [
        (conv, norm)
        for conv, norm in found
        if calls[conv] == calls[norm] == 1 and getattr(norm, "running_mean", None) is not None
    ]


def _rest(norm: Any) -> nn.Module:
    """What is left of a norm without its arithmetic."""
    if hasattr(norm, "act"):
        return nn.Sequential(norm.drop, norm.act)
    return nn.Identity()
