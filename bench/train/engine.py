"""The training loop of every variant: read it from top to bottom.

A variant changes the model, a recipe is config; nothing here asks which variant it trains.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from bench.config import RunConfig
from bench.stopping import StoppedError, Stopper
from bench.train.accumulation import Accumulation, shares
from bench.train.checkpoint import keep_candidate, save_weights
from bench.train.metrics import Evaluation, evaluate
from bench.train.optim import (
    AMP_TYPES,
    ETA_MIN,
    choose_amp,
    class_weights,
    freeze_backbone,
    make_optimizer,
    set_training,
)
from bench.train.progress import Progress
from bench.train.state import Trained, TrainState, load_state, save_state
from bench.train.sums import Sums

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
    accumulation: Accumulation | None = None,
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
        accumulation: divides batches that do not fit in memory.

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

    accumulation = accumulation or Accumulation()
    in_parts = partial(
        accumulation.run,
        of=str(about.get("variant")),
        clear=partial(clear_memory, optimizer, device),
    )

    # A model compiled for training steps is not used to evaluate: it would be compiled once more.
    forward, evaluating = forward or model, evaluating or model
    step = partial(
        training_step,
        model,
        forward=forward,
        criterion=criterion,
        optimizer=optimizer,
        scaler=scaler,
        amp=amp,
    )

    # --- state: of a new training, or of one that goes on ---
    trained = Trained(
        model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, device=device
    )
    state, stopper = TrainState(), stopper or Stopper()
    candidate = best_path.with_name(best_path.name + ".new")
    if last_path is not None and last_path.exists():
        state = load_state(last_path, trained, recipe or {})
        keep_candidate(candidate, best_path, state.best_epoch)
        accumulation.parts = max(accumulation.parts, state.parts)
        train.set_epoch(state.epoch, state.batches)
        # The scheduler would warn that this optimizer has done no step yet: another one has.
        optimizer._opt_called = bool(state.steps)  # type: ignore[attr-defined]
    started = time.perf_counter() - state.seconds

    while state.epoch <= config.epochs and state.waited < config.patience:
        stopper.check(state.last_epoch_seconds)
        epoch = state.epoch
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

        # --- one pass over the training part ---
        set_training(model, frozen=config.freeze_backbone)
        begin = time.perf_counter() - state.epoch_seconds
        sums = Sums(state, device)
        for batch in progress.batches(train, epoch, seen=state.seen):
            images, labels = prepare(batch)
            loss, logits = in_parts(partial(step, images, labels), len(labels))
            state.parts = accumulation.parts
            state.batches += 1
            state.seen += len(labels)
            state.steps += 1
            sums.add(loss, logits, labels, state.batches)
            if not state.first_batch_seconds:
                state.first_batch_seconds = time.perf_counter() - begin
            if stopper.number is not None and last_path is not None:
                state.loss_sum, state.correct = sums.loss, sums.correct
                state.diverged_at = sums.diverged_at
                state.epoch_seconds = time.perf_counter() - begin
                state.seconds = time.perf_counter() - started
                save_state(last_path, state, trained, recipe or {})
                raise StoppedError(stopper.number)
        scheduler.step()
        # Worker processes begin with these batches while the device still trains.
        ahead = iter(valid)
        train_loss = sums.loss / state.seen
        train_seconds = time.perf_counter() - begin
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"the training loss is {train_loss} since step {sums.diverged_at} of epoch {epoch} "
                f"at learning rates {rates['backbone']:.3g} (backbone) and {rates['head']:.3g} "
                "(head)"
            )

        # --- validation, best epoch ---
        begin = time.perf_counter()
        result = evaluate(model, ahead, device, prepare=prepare, forward=evaluating, amp=amp)
        state.epochs.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "train_acc": sums.correct / state.seen,
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
    if saved["epoch"] != state.best_epoch:
        raise RuntimeError(
            f"{best_path} is of epoch {saved['epoch']}, and the best one is {state.best_epoch}: "
            "something else has written to this folder"
        )
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
    parts: int = 1,
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
        parts: into how many the batch is divided; their gradients are summed.
    """
    optimizer.zero_grad(set_to_none=True)
    if parts == 1:
        loss, logits = _loss(model, images, labels, forward, criterion, amp)
        scaler.scale(loss).backward()
    else:
        counted = shares(labels, getattr(criterion, "weight", None), parts)
        losses, all_logits = [], []
        for part, truth, share in zip(
            images.tensor_split(parts), labels.tensor_split(parts), counted, strict=True
        ):
            loss, logits = _loss(model, part, truth, forward, criterion, amp)
            scaler.scale(loss * share).backward()
            losses.append(loss.detach() * share)
            all_logits.append(logits.detach())
        loss, logits = torch.stack(losses).sum(), torch.cat(all_logits)
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), logits.detach()


def _loss(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    forward: Forward | None,
    criterion: nn.Module,
    amp: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.autocast(images.device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off"):
        logits = (forward or model)(images)
        return criterion(logits, labels), logits


def clear_memory(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Give back what a step that failed has left."""
    optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
