"""Chooses how a variant trains on this machine: memory format, and compiled or not, by measurement.

What is chosen changes speed and the last digits of results, nothing else; the record says it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bench.estimate import LEAST_GAIN, StepRates

# Compiling takes about a minute a model and saves at most a third of a step: below this many
# seconds of training it cannot pay for itself, and is not tried.
PAYS_FROM_S = 600.0
COMPILERS = {"cpu": ("default",), "cuda": ("default", "reduce-overhead")}

Step = Callable[[Callable[[torch.Tensor], torch.Tensor]], object]


def choose_format(rates: StepRates | None, tune: str) -> tuple[str, str]:
    """The memory format to train in, and why, in one line.

    Args:
        rates: what was measured, or none.
        tune: ``auto`` or ``off``.
    """
    if tune == "off":
        return "channels_last", "--tune off"
    if rates is None:
        return "channels_last", "not measured"
    last, plain = (1 / rates.by_format[name][0] for name in ("channels_last", "contiguous"))
    why = f"measured at batch 8: channels-last {last:.1f}, contiguous {plain:.1f} images/s"
    return rates.fastest, why


def choose_forward(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    planned_steps: int,
    expected_s: float | None,
    amp: Any,
) -> tuple[Callable[[torch.Tensor], torch.Tensor], dict[str, Any]]:
    """The model, or the model compiled where that is faster by 5 % and can pay for itself.

    Forward and backward passes are timed on one batch. Weights, buffers, gradients and random state
    are afterwards what they were.

    Args:
        model: in the mode to train in, on the device.
        images: (B, 3, S, S), a full batch.
        labels: (B,) int64.
        planned_steps: of the whole training.
        expected_s: seconds that they take, where that was measured already.
        amp: a context for the forward pass, made anew at each call.

    Returns:
        What computes the logits of a training step; for the record: what was tried.
    """
    device = images.device
    if expected_s is not None and expected_s < PAYS_FROM_S:
        return model, {"chosen": "eager", "tried": [], "reason": _too_short(expected_s)}

    def step(forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with amp():
            loss = nn.functional.cross_entropy(forward(images), labels)
        loss.backward()

    with _unchanged(model, device):
        eager = _seconds(step, model, device)
        found: dict[str, Any] = {"chosen": "eager", "eager_step_s": eager, "tried": []}
        planned = eager * planned_steps
        if planned < PAYS_FROM_S:
            found["reason"] = _too_short(planned)
            return model, found
        best: tuple[float, Any] = (eager / (1 + LEAST_GAIN), model)
        for mode in COMPILERS[device.type]:
            begin = time.perf_counter()
            try:
                compiled: Any = torch.compile(model, mode=mode)
                step(compiled)
                compile_s = time.perf_counter() - begin
                taken = _seconds(step, compiled, device)
            # A backend fails with errors of any kind; without it the training goes on.
            except Exception as error:
                line = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                found["tried"].append({"mode": mode, "error": line})
                continue
            found["tried"].append({"mode": mode, "compile_s": compile_s, "step_s": taken})
            if taken < best[0]:
                best = (taken, compiled)
                found["chosen"] = f"compiled ({mode})"
    found["reason"] = "measured on one batch, forward and backward"
    if best[1] is model:
        return model, found
    size = len(images)
    # A last batch of another size would be compiled once more.
    return lambda batch: (best[1] if len(batch) == size else model)(batch), found


def _too_short(seconds: float) -> str:
    return (
        f"the training takes about {seconds:.0f} s: compiling pays from {PAYS_FROM_S:.0f} s on at "
        "the earliest"
    )


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put buffers, gradients and random state back."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
        model.zero_grad(set_to_none=True)


def _seconds(step: Step, forward: Callable[[torch.Tensor], torch.Tensor], device: Any) -> float:
    """The median of three steps after one that warms up."""
    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        step(forward)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return sorted(taken[1:])[1]
