"""The training loop of every variant: read it from top to bottom.

A variant changes the model, a recipe is config; nothing here asks which variant it trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from bench.config import RunConfig
from bench.train.checkpoint import save_weights
from bench.train.metrics import Evaluation, evaluate
from bench.train.optim import (
    AMP_TYPES,
    ETA_MIN,
    choose_amp,
    freeze_backbone,
    parameter_groups,
    set_training,
)
from bench.train.progress import Progress

MAX_GRADIENT_NORM = 1.0

# What the loaders give, and what makes of it (images, labels) on the device, ready for the model.
Prepare = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
Forward = Callable[[torch.Tensor], torch.Tensor]


class DivergedError(RuntimeError):
    """The training loss is NaN or infinite."""


@attrs.frozen
class TrainResult:
    """What a training leaves: curves, the best epoch's evaluation, and how long it took."""

    epochs: list[dict[str, float]]
    best_epoch: int
    best: Evaluation
    stopped_early: bool
    seconds: float
    amp: str
    steps: int
    first_batch_seconds: float


def fit(
    model: nn.Module,
    train: Any,
    valid: Any,
    config: RunConfig,
    *,
    device: torch.device,
    prepare: Prepare,
    forward: Forward | None = None,
    evaluating: Forward | None = None,
    progress: Progress,
    best_path: Path,
    about: dict[str, Any],
) -> TrainResult:
    """Train with the recipe; the model ends with the weights of its best epoch.

    The best epoch has the highest macro-F1 on ``valid``, the earliest of equals; training stops
    when ``config.patience`` epochs brought none better.

    Args:
        model: on ``device``, (B, 3, S, S) → (B, classes) logits.
        train: batches to learn from; ``dataset`` has labels, ``num_classes`` and a length.
        valid: batches to choose the epoch by.
        config: the recipe.
        device: where to train.
        prepare: a batch → images (B, 3, S, S) and labels (B,) on the device.
        forward: what computes the logits in a training step; none: the model. A compiled model, or
            the part behind a frozen backbone where ``prepare`` gives its features.
        evaluating: the same for evaluation.
        progress: shows where the training is.
        best_path: file that holds the best weights so far, written at each better epoch.
        about: what the file says about its weights.

    Raises:
        DivergedError: NaN or infinity in the training loss.
    """
    # --- recipe ---
    if config.freeze_backbone:
        freeze_backbone(model)
    optimizer = make_optimizer(model, config)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=config.schedule_epochs, eta_min=ETA_MIN
    )
    amp = choose_amp(config.amp, device)
    scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
    criterion = nn.CrossEntropyLoss(weight=class_weights(train, config.class_weights, device))

    # A model compiled for training steps is not used to evaluate: it would be compiled once more.
    forward, evaluating = forward or model, evaluating or model

    # --- state ---
    epochs: list[dict[str, float]] = []
    best: Evaluation | None = None
    best_epoch = 0
    steps, first_batch_seconds = 0, 0.0
    started = time.perf_counter()

    for epoch in range(1, config.epochs + 1):
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

        # --- one pass over the training part ---
        set_training(model, frozen=config.freeze_backbone)
        begin = time.perf_counter()
        loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        seen = 0
        for batch in progress.batches(train, epoch):
            images, labels = prepare(batch)
            loss, logits = training_step(
                model,
                images,
                labels,
                forward=forward,
                criterion=criterion,
                optimizer=optimizer,
                scaler=scaler,
                amp=amp,
            )
            # Sums stay on the device: reading them at each step would wait for the GPU.
            loss_sum += loss.double() * len(labels)
            correct += (logits.argmax(1) == labels).sum()
            seen += len(labels)
            steps += 1
            if not first_batch_seconds:
                first_batch_seconds = time.perf_counter() - begin
        scheduler.step()
        # Worker processes begin with these batches while the device still trains.
        ahead = iter(valid)
        train_loss = loss_sum.item() / seen
        train_seconds = time.perf_counter() - begin
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"the training loss is {train_loss} in epoch {epoch} at learning rates "
                f"{rates['backbone']:.3g} (backbone) and {rates['head']:.3g} (head)"
            )

        # --- validation, best epoch ---
        begin = time.perf_counter()
        result = evaluate(model, ahead, device, prepare=prepare, forward=evaluating, amp=amp)
        epochs.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "train_acc": correct.item() / seen,
                "valid_loss": result.loss,
                "valid_acc": result.accuracy,
                "valid_macro_f1": result.macro_f1,
                "base_lr": rates["backbone"],
                "head_lr": rates["head"],
                "train_seconds": train_seconds,
                "valid_seconds": time.perf_counter() - begin,
                "images_per_s": seen / train_seconds,
            }
        )
        if best is None or result.macro_f1 > best.macro_f1:
            best, best_epoch = result, epoch
            save_weights(model, best_path, {**about, "epoch": epoch, "macro_f1": result.macro_f1})
        progress.epoch_done(epochs[-1], best_epoch)
        if epoch - best_epoch >= config.patience:
            break

    # --- the best epoch's weights ---
    assert best is not None
    saved = torch.load(best_path, map_location=device, weights_only=True)
    model.load_state_dict(saved["model"])
    return TrainResult(
        epochs=epochs,
        best_epoch=best_epoch,
        best=best,
        stopped_early=len(epochs) < config.epochs,
        seconds=time.perf_counter() - started,
        amp=amp,
        steps=steps,
        first_batch_seconds=first_batch_seconds,
    )


def training_step(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    forward: Forward | None = None,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    amp: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward, backward, clipping, update; the detached loss () and logits (B, classes).

    Args:
        model: in the mode to train in.
        images: (B, 3, S, S) float32, where the model is.
        labels: (B,) int64, beside them.
        forward: images → logits (B, classes); none: the model.
        criterion: (logits, labels) → loss.
        optimizer: of the model's parameters.
        scaler: enabled for fp16 only.
        amp: ``off``, ``fp16`` or ``bf16``.
    """
    with torch.autocast(images.device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off"):
        logits = (forward or model)(images)
        loss = criterion(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), logits.detach()


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
    present = np.unique(labels)
    weights = torch.zeros(train.dataset.num_classes)
    balanced = compute_class_weight("balanced", classes=present, y=labels)
    weights[present] = torch.as_tensor(balanced, dtype=torch.float32)
    return weights.to(device)
