"""The recipe's optimizer: AdamW with three parameter groups, cosine schedule, mixed precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.errors import BenchError

ETA_MIN = 1e-7
GROUPS = ("backbone", "no_decay", "head")


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    head_lr: float,
    weight_decay: float,
    attention_lr: str = "head",
) -> list[dict[str, Any]]:
    """Three groups: backbone weights; biases and norm weights without decay; head.

    The head is the classifier (its bias too), and the weights of ``model.attention`` when
    ``attention_lr`` is ``head``; their biases and norm weights stay in the second group. A frozen
    parameter is in none. Groups carry their ``name``; an empty one stays, so that there are
    always three.

    Args:
        model: has ``get_classifier()`` as timm's models do.
        base_lr: rate of the first two groups.
        head_lr: rate of the head.
        weight_decay: of the first and last group.
        attention_lr: ``head`` or ``base``.
    """
    head = {id(parameter) for parameter in classifier_of(model).parameters()}
    attention = {id(parameter) for parameter in _attention(model)}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in head:
            members["head"].append(parameter)
        elif parameter.ndim <= 1:
            members["no_decay"].append(parameter)
        elif id(parameter) in attention and attention_lr == "head":
            members["head"].append(parameter)
        else:
            members["backbone"].append(parameter)
    rates = {"backbone": base_lr, "no_decay": base_lr, "head": head_lr}
    decays = {"backbone": weight_decay, "no_decay": 0.0, "head": weight_decay}
    return [
        {"name": name, "params": members[name], "lr": rates[name], "weight_decay": decays[name]}
        for name in GROUPS
    ]


def make_optimizer(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    """AdamW with the recipe's parameter groups."""
    groups = parameter_groups(
        model,
        base_lr=config.base_lr,
        head_lr=config.head_lr,
        weight_decay=config.weight_decay,
        attention_lr=config.attention_lr,
    )
    return torch.optim.AdamW(groups, fused=True)


def class_weights(train: Any, kind: str, device: torch.device) -> torch.Tensor | None:
    """(classes,) loss weights: none, or ``n / (classes · n_class)`` over the training part.

    scikit-learn's ``balanced`` rule; a class that the training part lacks gets weight 0.
    """
    if kind == "none":
        return None
    labels: Sequence[int] = train.dataset.labels
    present, counts = np.unique(labels, return_counts=True)
    weights = torch.zeros(train.dataset.num_classes)
    balanced = len(labels) / (len(present) * counts)
    weights[present] = torch.as_tensor(balanced, dtype=torch.float32)
    return weights.to(device)


def classifier_of(model: nn.Module) -> nn.Module:
    """The model's classifier.

    Raises:
        BenchError: the model does not tell which module that is.
    """
    get = getattr(model, "get_classifier", None)
    if get is None:
        raise BenchError(
            f"{type(model).__name__} has no get_classifier(): give the model that method, "
            "as timm's models have it"
        )
    return get()


def _attention(model: nn.Module) -> Iterable[nn.Parameter]:
    attention = getattr(model, "attention", None)
    return attention.parameters() if isinstance(attention, nn.Module) else ()


def freeze_backbone(model: nn.Module) -> None:
    """Leave only attention and classifier to be trained."""
    kept = {id(parameter) for parameter in classifier_of(model).parameters()}
    kept |= {id(parameter) for parameter in _attention(model)}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in kept)


def set_training(model: nn.Module, *, frozen: bool) -> None:
    """Training mode; with a frozen backbone, modules that hold no trained weight stay in eval mode.

    A frozen BatchNorm must not move its statistics either, and stochastic depth inside the frozen
    part would only blur the features.
    """
    model.train()
    if not frozen:
        return
    for module in model.modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            module.training = False


def choose_amp(asked: str, device: torch.device) -> str:
    """``off``, ``fp16`` or ``bf16``: ``auto`` is bf16 where a CUDA device has it, else fp16.

    On a CPU ``auto`` is off: without native bf16 it is slower than float32.

    Raises:
        BenchError: fp16 on a CPU, or bf16 on a GPU that has none.
    """
    if asked == "off" or (asked == "auto" and device.type != "cuda"):
        return "off"
    if device.type != "cuda":
        if asked == "fp16":
            raise BenchError("--amp fp16 needs CUDA: use --amp off or bf16 on a CPU")
        return asked
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "auto":
        return "bf16" if has_bf16 else "fp16"
    if asked == "bf16" and not has_bf16:
        raise BenchError("--amp bf16: this GPU has no bfloat16: use --amp fp16 or auto")
    return asked


AMP_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
