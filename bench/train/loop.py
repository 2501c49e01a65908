"""The training loop of every variant: read it from top to bottom.

A variant changes the model, a recipe is config; nothing here asks which variant it trains.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.data.progressive import ProgressiveSchedule
from bench.system.progress import Progress
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train.accumulate import Accumulation, Buffers, accumulate
from bench.train.checkpoint import CheckpointFiles, CheckpointManager
from bench.train.distributed import ProcessGroup
from bench.train.dropout import Dropout
from bench.train.evaluate import Evaluation, Prepare, evaluate
from bench.train.optim import Forward, Optimization, class_weights, freeze_backbone, set_training
from bench.train.state import RunningLoss, TrainState

MAX_GRADIENT_NORM = 1.0


class DivergedError(RuntimeError):
    """The training loss is NaN or infinite."""


@attrs.frozen
class Feed:
    """Batches, and how a model computes its logits of them.

    Attributes:
        loaders: ``train``, batches to learn from: ``dataset`` has labels, ``num_classes`` and a
            length, and with ``config.progressive`` their images grow; ``valid``, batches to choose
            the epoch by.
        prepare: a batch → images (B, 3, S, S) and labels (B,) on the device.
        forward: what computes the logits in a training step; none: the model. A compiled model, or
            the part behind a frozen backbone where ``prepare`` gives its features.
        evaluating: the same for evaluation. A model compiled for training steps is not used to
            evaluate: it would be compiled once more.
    """

    loaders: Mapping[str, Any]
    prepare: Prepare
    forward: Forward | None = None
    evaluating: Forward | None = None


@attrs.frozen(kw_only=True)
class TrainContext:
    """Where a training takes place, and what it shares with others.

    Attributes:
        device: where to train.
        progress: shows where the training is.
        stopper: says whether to stop before the end; the state is then in ``last.pt``.
        accumulation: divides batches that do not fit in memory; not those of several processes.
        team: the processes that train this model. Each is given its rows of every batch, and ends
            with the same weights and the same result.
    """

    device: torch.device
    progress: Progress
    stopper: StopRequest = attrs.field(factory=StopRequest)
    accumulation: Accumulation = attrs.field(factory=Accumulation)
    team: ProcessGroup = attrs.field(factory=ProcessGroup)


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


def train(
    model: nn.Module, feed: Feed, config: RunConfig, context: TrainContext, files: CheckpointFiles
) -> TrainResult:
    """Train with the recipe; the model ends with the weights of its best epoch.

    The best epoch has the highest macro-F1 on ``valid``, the earliest of equals; training stops
    when ``config.patience`` epochs brought none better.

    Args:
        model: on the device, (B, 3, S, S) → (B, classes) logits.
        feed: what it learns from.
        config: the recipe.
        context: where it is trained.
        files: its best weights and its state. Where the state is there already, the training goes
            on from it, as if it had never stopped.

    Raises:
        DivergedError: NaN or infinity in the training loss.
        TrainingInterrupted: the stopper said so.
        OSError: weights or state cannot be written; those of an earlier epoch stay.
        UnusableStateError: the training cannot go on from its state.
    """
    team, loader, device = context.team, feed.loaders["train"], context.device
    if config.freeze_backbone:
        freeze_backbone(model)
    weight = class_weights(loader, config.class_weights, device)
    optim = Optimization.build(
        model, config, device, forward=feed.forward, class_weight=weight, processes=team.size
    )
    growth, dropout = ProgressiveSchedule.of(config), Dropout(model)
    checkpoints = CheckpointManager(optim, files, team)
    state = checkpoints.begin()
    if state.steps:
        resume(state, optim, loader, context)
    started = time.perf_counter() - state.seconds
    with checkpoints:
        while not finished(state, config, growth):
            larger = 1.0 if growth is None else growth.ratio(state.epoch)
            team.check(context.stopper, larger * state.last_epoch_seconds)
            set_training(model, frozen=config.freeze_backbone)
            if growth is not None:
                dropout.scale(growth.stage(state.epoch).strength)
            run_epoch(optim, feed, context, state, checkpoints, started)
            state.end_epoch(time.perf_counter() - started)
            checkpoints.epoch_ended(state, last_one=finished(state, config, growth))
            context.progress.epoch_done(state.epochs[-1], state.best_epoch)
        model.load_state_dict(team.tell(checkpoints.best_weights(state) if team.leads else None))
    assert state.best is not None
    return TrainResult(
        epochs=state.epochs,
        best_epoch=state.best_epoch,
        best=state.best,
        stopped_early=len(state.epochs) < config.epochs,
        seconds=time.perf_counter() - started,
        amp=optim.amp,
        steps=state.steps,
        first_batch_seconds=state.first_batch_seconds,
        saving_seconds=state.saving_seconds,
        part_steps=state.part_steps,
    )


def resume(state: TrainState, optim: Optimization, loader: Any, context: TrainContext) -> None:
    """Let a training go on in the middle of an epoch, with batches divided as they were."""
    if context.team.size > 1:
        state.parts = 1
    # Neither fewer parts nor more: BatchNorm sees what it would have seen.
    context.accumulation.parts = state.parts
    loader.set_epoch(state.epoch, state.batches)
    # The scheduler would warn that this optimizer has done no step yet: another one has.
    optim.optimizer._opt_called = True  # type: ignore[attr-defined]


def finished(state: TrainState, config: RunConfig, growth: ProgressiveSchedule | None) -> bool:
    """Return whether no epoch comes any more."""
    may_stop = growth is None or growth.may_stop(state.epoch, config.patience)
    return state.epoch > config.epochs or (may_stop and state.waited >= config.patience)


def run_epoch(
    optim: Optimization,
    feed: Feed,
    context: TrainContext,
    state: TrainState,
    checkpoints: CheckpointManager,
    started: float,
) -> None:
    """Train, begun at ``started``, on all batches and evaluate; note it in ``state``."""
    rates = {group["name"]: group["lr"] for group in optim.optimizer.param_groups}
    begin = time.perf_counter() - state.epoch_seconds
    losses = RunningLoss(state, optim.device, context.team)
    stop = train_epoch(optim, feed, context, state, losses, begin, checkpoints)
    if stop is not None:
        losses.into(state)
        state.epoch_seconds = time.perf_counter() - begin
        state.seconds = time.perf_counter() - started
        checkpoints.broken_off(state)
        raise TrainingInterrupted(stop)
    optim.scheduler.step()
    # Worker processes begin with these batches while the device still trains.
    ahead = iter(feed.loaders["valid"])
    loss_sum, correct, diverged_at = losses.total()
    train_loss = loss_sum / state.seen
    train_seconds = time.perf_counter() - begin
    if not math.isfinite(train_loss):
        raise DivergedError(
            f"the training loss is {train_loss} since step {diverged_at} of epoch {state.epoch} at "
            f"learning rates {rates['backbone']:.3g} (backbone) and {rates['head']:.3g} (head)"
        )
    begin = time.perf_counter()
    result = evaluate(
        optim.model,
        ahead,
        optim.device,
        prepare=feed.prepare,
        forward=feed.evaluating,
        amp=optim.amp,
        team=context.team,
    )
    if state.best is None or result.macro_f1 > state.best.macro_f1:
        state.best, state.best_epoch = result, state.epoch
    state.epochs.append(
        {
            "epoch": state.epoch,
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


def train_epoch(
    optim: Optimization,
    feed: Feed,
    context: TrainContext,
    state: TrainState,
    losses: RunningLoss,
    begin: float,
    checkpoints: CheckpointManager,
) -> int | None:
    """Train on each batch that the epoch, begun at ``begin``, still has; a signal to stop by."""
    team, accumulation, buffers = context.team, context.accumulation, Buffers(optim.model)
    name = str(checkpoints.files.about.get("variant"))

    def clear() -> None:
        """Give back what a step that failed has left."""
        buffers.restore()
        optim.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if optim.device.type == "cuda":
            torch.cuda.empty_cache()

    for batch in context.progress.batches(feed.loaders["train"], state.epoch, seen=state.seen):
        images, labels = feed.prepare(batch)
        whole = getattr(batch, "whole", None) or len(labels)
        team.expect(whole)
        share = team.share(labels, optim.criterion.weight, whole)
        step = partial(train_step, optim, images, labels, share=share)
        if team.size > 1:
            # One alone cannot do a step again.
            loss, logits = step()
        else:
            buffers.keep()
            loss, logits = accumulation.run(step, len(labels), of=name, clear=clear)
        state.parts = accumulation.parts
        state.count(whole)
        losses.add(loss, logits, labels, state.batches, whole)
        if not state.first_batch_seconds:
            state.first_batch_seconds = time.perf_counter() - begin
        stop = team.agreed(context.stopper.number)
        if stop is not None and checkpoints.keeps_state:
            return stop
    return None


def train_step(
    optim: Optimization,
    images: torch.Tensor,
    labels: torch.Tensor,
    share: float | torch.Tensor | None = None,
    parts: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward, backward, clipping, update; the detached loss () and logits (B, classes).

    Args:
        optim: its model is in the mode to train in.
        images: (B, 3, S, S) float32, where the model is.
        labels: (B,) int64, beside them.
        share: of one process of several, what its mean loss counts in that of the whole batch; the
            loss that is returned has been multiplied by it.
        parts: into how many the batch is divided; their gradients are summed.
    """
    optimizer, scaler = optim.optimizer, optim.scaler
    optimizer.zero_grad(set_to_none=True)
    if parts > 1:
        loss, logits = accumulate(optim, images, labels, parts)
    else:
        loss, logits = optim.loss(images, labels)
        if share is not None:
            loss = loss * share
        scaler.scale(loss if optim.processes == 1 else loss * optim.processes).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(optim.model.parameters(), MAX_GRADIENT_NORM)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), logits.detach()
