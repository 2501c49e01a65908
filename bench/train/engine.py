"""The training loop of every variant: read it from top to bottom.

A variant changes the model, a recipe is config; nothing here asks which variant it trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from bench.config import RunConfig
from bench.stopping import StoppedError, Stopper
from bench.train.checkpoint import keep_candidate, save_weights
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
from bench.train.state import Trained, TrainState, load_state, save_state

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
    last_path: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    stopper: Stopper | None = None,
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
        last_path: file of the training's state, written after each epoch; where it is there
            already, the training goes on from it, as if it had never stopped.
        recipe: plain values that must be the same when it goes on.
        stopper: says whether to stop before the end; the state is then in ``last_path``.

    Raises:
        DivergedError: NaN or infinity in the training loss.
        StoppedError: the stopper said so.
        UnusableStateError: the training cannot go on from ``last_path``.
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

    # --- state: of a new training, or of one that goes on ---
    trained = Trained(
        model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, device=device
    )
    state, stopper = TrainState(), stopper or Stopper()
    candidate = best_path.with_name(best_path.name + ".new")
    if last_path is not None and last_path.exists():
        state = load_state(last_path, trained, recipe or {})
        keep_candidate(candidate, best_path, state.best_epoch)
        train.set_epoch(state.epoch, state.batches)
    started = time.perf_counter() - state.seconds

    while state.epoch <= config.epochs and state.waited < config.patience:
        stopper.check(state.last_epoch_seconds)
        epoch = state.epoch
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

        # --- one pass over the training part ---
        set_training(model, frozen=config.freeze_backbone)
        begin = time.perf_counter() - state.epoch_seconds
        loss_sum = torch.full((), state.loss_sum, device=device, dtype=torch.float64)
        correct = torch.full((), state.correct, device=device, dtype=torch.int64)
        for batch in progress.batches(train, epoch, seen=state.seen):
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
            state.batches += 1
            state.seen += len(labels)
            state.steps += 1
            if not state.first_batch_seconds:
                state.first_batch_seconds = time.perf_counter() - begin
            if stopper.number is not None and last_path is not None:
                state.loss_sum, state.correct = loss_sum.item(), int(correct.item())
                now = time.perf_counter()
                state.epoch_seconds, state.seconds = now - begin, now - started
                save_state(last_path, state, trained, recipe or {})
                raise StoppedError(stopper.number)
        scheduler.step()
        # Worker processes begin with these batches while the device still trains.
        ahead = iter(valid)
        train_loss = loss_sum.item() / state.seen
        train_seconds = time.perf_counter() - begin
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"the training loss is {train_loss} in epoch {epoch} at learning rates "
                f"{rates['backbone']:.3g} (backbone) and {rates['head']:.3g} (head)"
            )

        # --- validation, best epoch ---
        begin = time.perf_counter()
        result = evaluate(model, ahead, device, prepare=prepare, forward=evaluating, amp=amp)
        state.epochs.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "train_acc": correct.item() / state.seen,
                "valid_loss": result.loss,
                "valid_acc": result.accuracy,
                "valid_macro_f1": result.macro_f1,
                "base_lr": rates["backbone"],
                "head_lr": rates["head"],
                "train_seconds": train_seconds,
                "valid_seconds": time.perf_counter() - begin,
                "images_per_s": state.seen / train_seconds,
            }
        )
        if state.best is None or result.macro_f1 > state.best.macro_f1:
            state.best, state.best_epoch = result, epoch
            save_weights(model, candidate, {**about, "epoch": epoch, "macro_f1": result.macro_f1})
        state.end_epoch(time.perf_counter() - started)
        if last_path is not None:
            save_state(last_path, state, trained, recipe or {})
        # Not before the state names it the best one: a kill in between would leave another's.
        keep_candidate(candidate, best_path, state.best_epoch)
        progress.epoch_done(state.epochs[-1], state.best_epoch)

    # --- the best epoch's weights ---
    assert state.best is not None
    saved = torch.load(best_path, map_location=device, weights_only=True)
    model.load_state_dict(saved["model"])
    return TrainResult(
        epochs=state.epochs,
        best_epoch=state.best_epoch,
        best=state.best,
        stopped_early=len(state.epochs) < config.epochs,
        seconds=time.perf_counter() - started,
        amp=amp,
        steps=state.steps,
        first_batch_seconds=state.first_batch_seconds,
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
