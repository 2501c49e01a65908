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

from bench.config.options import RunConfig
from bench.data.progressive import ProgressiveSchedule
from bench.system.progress import Progress
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train.accumulate import Accumulation, Buffers, shares
from bench.train.checkpoint import CheckpointManager
from bench.train.distributed import ProcessGroup
from bench.train.dropout import Dropout
from bench.train.evaluate import Evaluation, evaluate
from bench.train.optim import (
    AMP_TYPES,
    ETA_MIN,
    choose_amp,
    class_weights,
    freeze_backbone,
    make_optimizer,
    set_training,
)
from bench.train.state import Trained
from bench.train.sums import RunningLoss

MAX_GRADIENT_NORM = 1.0

# What the loaders give, and what makes of it (images, labels) on the device, ready for the model.
Prepare = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
Forward = Callable[[torch.Tensor], torch.Tensor]


class DivergedError(RuntimeError):
    """The training loss is NaN or infinite."""


@attrs.frozen
class TrainResult:
    """What a training leaves: curves, the best epoch's evaluation, and how long it took.

    ``part_steps`` says how many steps were done in how many parts.
    """

    epochs: list[dict[str, float]]
    best_epoch: int
    best: Evaluation
    stopped_early: bool
    seconds: float
    amp: str
    steps: int
    first_batch_seconds: float
    saving_seconds: float = 0.0
    part_steps: dict[int, int] = attrs.field(factory=dict)


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
    stopper: StopRequest | None = None,
    accumulation: Accumulation | None = None,
    team: ProcessGroup | None = None,
    write_behind: bool = True,
) -> TrainResult:
    """Train with the recipe; the model ends with the weights of its best epoch.

    The best epoch has the highest macro-F1 on ``valid``, the earliest of equals; training stops
    when ``config.patience`` epochs brought none better.

    Args:
        model: on ``device``, (B, 3, S, S) → (B, classes) logits.
        train: batches to learn from; ``dataset`` has labels, ``num_classes`` and a length. With
            ``config.progressive`` their images grow.
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
        last_path: file of the training's state, written after each epoch (while the next one
            trains); where it is there already, the training goes on from it, as if it had never
            stopped.
        recipe: plain values that must be the same when it goes on.
        stopper: says whether to stop before the end; the state is then in ``last_path``.
        accumulation: divides batches that do not fit in memory; not those of several processes.
        team: the processes that train this model; none: this one alone. Each is given its rows of
            every batch, and ends with the same weights and the same result.
        write_behind: write files while the next epoch trains; else each epoch waits for its own.

    Raises:
        DivergedError: NaN or infinity in the training loss.
        TrainingInterrupted: the stopper said so.
        OSError: weights or state cannot be written; those of an earlier epoch stay.
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
    buffers = Buffers(model)

    def clear() -> None:
        buffers.restore()
        clear_memory(optimizer, device)

    growth, dropout, team = ProgressiveSchedule.of(config), Dropout(model), team or ProcessGroup()

    in_parts: Callable[..., Any] = undivided
    if team.size == 1:
        # Of several processes one alone cannot do a step again.
        in_parts = partial(accumulation.run, of=str(about.get("variant")), clear=clear)

    # A model compiled for training steps is not used to evaluate: it would be compiled once more.
    forward, evaluating = forward or model, evaluating or model
    step = partial(
        train_step,
        model,
        forward=forward,
        criterion=criterion,
        optimizer=optimizer,
        scaler=scaler,
        amp=amp,
        processes=team.size,
    )

    # --- state: of a new training, or of one that goes on ---
    trained = Trained(
        model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, device=device
    )
    keeper = CheckpointManager(
        trained, best_path, about, last_path, recipe or {}, behind=write_behind, team=team
    )
    state, stopper = keeper.begin(), stopper or StopRequest()
    if state.steps:
        if team.size > 1:
            state.parts = 1
        # Neither fewer parts nor more: BatchNorm sees what it would have seen.
        accumulation.parts = state.parts
        train.set_epoch(state.epoch, state.batches)
        # The scheduler would warn that this optimizer has done no step yet: another one has.
        optimizer._opt_called = True  # type: ignore[attr-defined]
    started = time.perf_counter() - state.seconds

    def ended() -> bool:
        grown = growth is None or growth.may_stop(state.epoch, config.patience)
        return state.epoch > config.epochs or (grown and state.waited >= config.patience)

    with keeper:
        while not ended():
            epoch = state.epoch
            larger = 1.0 if growth is None else growth.ratio(epoch)
            team.check(stopper, larger * state.last_epoch_seconds)
            rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

            # --- one pass over the training part ---
            set_training(model, frozen=config.freeze_backbone)
            if growth is not None:
                dropout.scale(growth.stage(epoch).strength)
            begin = time.perf_counter() - state.epoch_seconds
            sums = RunningLoss(state, device, team)
            for batch in progress.batches(train, epoch, seen=state.seen):
                images, labels = prepare(batch)
                whole = getattr(batch, "whole", None) or len(labels)
                buffers.keep()
                team.expect(whole)
                share = team.share(labels, criterion.weight, whole)
                loss, logits = in_parts(partial(step, images, labels, share=share), len(labels))
                state.parts = accumulation.parts
                state.count(whole)
                sums.add(loss, logits, labels, state.batches, whole)
                if not state.first_batch_seconds:
                    state.first_batch_seconds = time.perf_counter() - begin
                stop = team.agreed(stopper.number)
                if stop is not None and keeper.keeps_state:
                    sums.into(state)
                    state.epoch_seconds = time.perf_counter() - begin
                    state.seconds = time.perf_counter() - started
                    keeper.broken_off(state)
                    raise TrainingInterrupted(stop)
            scheduler.step()
            # Worker processes begin with these batches while the device still trains.
            ahead = iter(valid)
            loss_sum, correct, diverged_at = sums.total()
            train_loss = loss_sum / state.seen
            train_seconds = time.perf_counter() - begin
            if not math.isfinite(train_loss):
                raise _diverged(train_loss, epoch, diverged_at, rates)

            # --- validation, best epoch ---
            begin = time.perf_counter()
            result = evaluate(
                model, ahead, device, prepare=prepare, forward=evaluating, amp=amp, team=team
            )
            state.epochs.append(
                {
                    "epoch": epoch,
                    "train_loss": train_loss,
                    "train_acc": correct / state.seen,
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
            state.end_epoch(time.perf_counter() - started)
            keeper.epoch_ended(state, last_one=ended())
            progress.epoch_done(state.epochs[-1], state.best_epoch)

        # --- the best epoch's weights ---
        assert state.best is not None
        model.load_state_dict(team.tell(keeper.best_weights(state) if team.leads else None))
    return TrainResult(
        epochs=state.epochs,
        best_epoch=state.best_epoch,
        best=state.best,
        stopped_early=len(state.epochs) < config.epochs,
        seconds=time.perf_counter() - started,
        amp=amp,
        steps=state.steps,
        first_batch_seconds=state.first_batch_seconds,
        saving_seconds=state.saving_seconds,
        part_steps=state.part_steps,
    )


def undivided(step: Callable[..., Any], batch_size: int) -> Any:
    """Do a step on a batch as it is."""
    return step(parts=1)


def _diverged(
    loss: float, epoch: int, step: int | None, rates: Mapping[str, float]
) -> DivergedError:
    return DivergedError(
        f"the training loss is {loss} since step {step} of epoch {epoch} at learning "
        f"rates {rates['backbone']:.3g} (backbone) and {rates['head']:.3g} (head)"
    )


def train_step(
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
    share: float | torch.Tensor | None = None,
    processes: int = 1,
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
        share: of one process of several, what its mean loss counts in that of the whole batch; the
            loss that is returned has been multiplied by it.
        processes: how many there are; ``forward`` gives each the mean of their gradients.
    """
    optimizer.zero_grad(set_to_none=True)
    if share is not None:
        loss, logits = _loss(model, images, labels, forward, criterion, amp)
        loss = loss * share
        scaler.scale(loss * processes).backward()
    elif parts == 1:
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
        # The mean over no rows is not a number, and a process without rows adds none.
        loss = criterion(logits, labels) if len(labels) else logits.sum()
        return loss, logits


def clear_memory(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Give back what a step that failed has left."""
    optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
