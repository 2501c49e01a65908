"""The recipe's optimizer: AdamW with three parameter groups, cosine schedule, mixed precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.errors import BenchError

ETA_MIN = 1e-7
GROUPS = ("backbone", "no_decay", "head")
AMP_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

# Images (B, 3, S, S) → logits (B, classes).
Forward = Callable[[torch.Tensor], torch.Tensor]


@attrs.frozen(kw_only=True)
class Optimization:
    """All that a training step uses and changes.

    Attributes:
        model: in training its weights change.
        forward: what computes the logits: the model, compiled, in parts or of several processes.
        criterion: (logits, labels) → mean loss.
        optimizer: of the model's parameters.
        scheduler: of the optimizer's rates.
        scaler: of the loss; enabled for fp16 only.
        amp: ``off``, ``fp16`` or ``bf16``.
        device: where all of it is.
        processes: how many train together; ``forward`` gives each the mean of their gradients.
    """

    model: nn.Module
    forward: Forward
    criterion: nn.CrossEntropyLoss
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    amp: str
    device: torch.device
    processes: int = 1

    @classmethod
    def build(
        cls,
        model: nn.Module,
        config: RunConfig,
        device: torch.device,
        *,
        forward: Forward | None = None,
        class_weight: torch.Tensor | None = None,
        processes: int = 1,
    ) -> Optimization:
        """Return the recipe's optimizer, cosine schedule, loss and precision for a model.

        Args:
            model: on the device, with what is frozen frozen.
            config: the recipe.
            device: where to train.
            forward: what computes the logits in a training step; none: the model.
            class_weight: (classes,) of the loss; none: all count alike.
            processes: how many train together.
        """
        amp, optimizer = choose_amp(config.amp, device), make_optimizer(model, config)
        return cls(
            model=model,
            forward=forward or model,
            criterion=nn.CrossEntropyLoss(weight=class_weight),
            optimizer=optimizer,
            scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, T_max=config.schedule_epochs, eta_min=ETA_MIN
            ),
            scaler=torch.amp.GradScaler(device.type, enabled=amp == "fp16"),
            amp=amp,
            device=device,
            processes=processes,
        )

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss () over images (B, 3, S, S) with labels (B,), and logits."""
        with autocast(self.device, self.amp):
            logits = self.forward(images)
            # The mean over no rows is not a number, and a process without rows adds none.
            return self.criterion(logits, labels) if len(labels) else logits.sum(), logits


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    head_lr: float,
    weight_decay: float,
    attention_lr: str = "head",
) -> list[dict[str, Any]]:
    """Return three groups: backbone weights; biases and norm weights without decay; head.

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
    head, attention = _ids(classifier_of(model)), _ids(attention_of(model))
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
    """Return AdamW with the recipe's parameter groups."""
    groups = parameter_groups(
        model,
        base_lr=config.base_lr,
        head_lr=config.head_lr,
        weight_decay=config.weight_decay,
        attention_lr=config.attention_lr,
    )
    return torch.optim.AdamW(groups, fused=True)


def class_weights(train: Any, kind: str, device: torch.device) -> torch.Tensor | None:
    """Return (classes,) loss weights: none, or ``n / (classes · n_class)`` over the training part.

    scikit-learn's ``balanced`` rule; a class that the training part lacks gets weight 0.
    """
    if kind == "none":
        return None
    labels = train.dataset.labels
    present, counts = np.unique(labels, return_counts=True)
    weights = torch.zeros(train.dataset.num_classes)
    balanced = len(labels) / (len(present) * counts)
    weights[present] = torch.as_tensor(balanced, dtype=torch.float32)
    return weights.to(device)


def classifier_of(model: nn.Module) -> nn.Module:
    """Return the model's classifier.

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


def attention_of(model: nn.Module) -> nn.Module | None:
    """Return the model's attention, or none."""
    attention = getattr(model, "attention", None)
    return attention if isinstance(attention, nn.Module) else None


def _ids(module: nn.Module | None) -> set[int]:
    return set() if module is None else {id(parameter) for parameter in module.parameters()}


def freeze_backbone(model: nn.Module) -> None:
    """Leave only attention and classifier to be trained."""
    trained = _ids(classifier_of(model)) | _ids(attention_of(model))
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def set_training(model: nn.Module, *, frozen: bool) -> None:
    """Set training mode; modules of a frozen backbone, without trained weights, stay in eval mode.

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
    """Return ``off``, ``fp16`` or ``bf16``: ``auto`` is bf16 where a CUDA device has it, else fp16.

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


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """Return the context that computes in the precision of ``amp``."""
    return torch.autocast(device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off")
