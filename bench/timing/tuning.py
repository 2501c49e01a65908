"""``--tune auto``: memory format, and compiled or not, chosen by measurement before training.

What is chosen changes results, not speed alone: in another memory format, or compiled, the same
seed gives other weights. So it is asked for, chosen once for a sweep, and kept with the sweep.
"""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import attrs
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.errors import error_line
from bench.system.paths import recall, remember
from bench.timing.estimate import FORMATS, StepRates, measure_rates, random_batch
from bench.timing.timer import device_name
from bench.train.accumulate import out_of_memory
from bench.train.optim import AMP_TYPES, choose_amp

# Channels-last is left, and a model compiled, only for a gain beyond what noise pretends.
LEAST_GAIN = 0.05
# Compiling takes about a minute a model and saves at most a third of a step: below this many
# seconds of training it cannot pay for itself, and is not tried.
PAYS_FROM_S = 600.0
TOGETHER = "several processes train together"
FROZEN = "the backbone is frozen"
MEASURED = "measured on one batch, forward and backward"
COMPILED = "compiled"
# What is kept between sweeps.
KIND = "compilation"
COMPILERS = {"cpu": ("default",), "cuda": ("default", "reduce-overhead")}

Forward = Callable[[torch.Tensor], torch.Tensor]
Step = Callable[[Forward], object]


@attrs.frozen
class Choice:
    """How a variant is trained.

    Attributes:
        memory_format: a name of :data:`bench.timing.estimate.FORMATS`.
        memory_format_reason: why, in one line.
        forward: ``chosen`` (``eager`` or how it is compiled), ``tried`` and ``reason``.
    """

    memory_format: str
    memory_format_reason: str
    forward: Mapping[str, Any]


def choose(
    variant: variants.Variant,
    config: RunConfig,
    *,
    num_classes: int,
    train_images: int,
    device: torch.device,
    processes: int = 1,
) -> Choice:
    """Measure how a variant trains fastest.

    Args:
        variant: what is trained.
        config: the options.
        num_classes: outputs of the model.
        train_images: of an epoch.
        device: where it is trained.
        processes: that train it together.

    Returns:
        The choice; of a variant that cannot be measured that of ``--tune off``, with the reason.
    """
    fixed = config.memory_format_on(device.type)
    auto = config.memory_format == "auto"
    rates = {
        name: measured[variant.name]
        for name in (FORMATS if auto else [fixed])
        if (measured := measure_rates([variant], config, num_classes, device, name))
    }
    memory_format, reason = choose_format(rates) if auto else (fixed, "--memory-format")
    if processes > 1:
        forward = _eager(TOGETHER)
    elif config.progressive:
        forward = _eager("--progressive: the size of the images changes")
    elif config.freeze_backbone:
        forward = _eager(FROZEN)
    else:
        rate = rates.get(memory_format)
        try:
            forward = _forward(
                variant, config, num_classes, train_images, device, memory_format, rate
            )
        # Its run fails too, and records why.
        except Exception as error:
            forward = _eager(error_line(f"not measured: {type(error).__name__}: {error}"))
    return Choice(memory_format, reason, forward)


def choose_format(rates: Mapping[str, StepRates]) -> tuple[str, str]:
    """The memory format to train in, and why, in one line: channels-last unless clearly slower.

    Args:
        rates: by memory format; empty where nothing could be measured.
    """
    if set(rates) != set(FORMATS):
        return "channels_last", "not measured"
    last, plain = (1 / rates[name].rate[0] for name in ("channels_last", "contiguous"))
    measured = rates["channels_last"]
    reason = (
        f"--tune auto measured {measured.of} at batch {measured.batch}: "
        f"channels-last {last:.3g}, contiguous {plain:.3g} images/s"
    )
    return ("contiguous" if plain > (1 + LEAST_GAIN) * last else "channels_last"), reason


def _eager(reason: str) -> dict[str, Any]:
    return {"chosen": "eager", "tried": [], "reason": reason}


def _forward(
    variant: variants.Variant,
    config: RunConfig,
    num_classes: int,
    train_images: int,
    device: torch.device,
    memory_format: str,
    rate: StepRates | None,
) -> dict[str, Any]:
    """Return whether to compile, measured on a random batch."""
    size = config.batch_size
    model, images = random_batch(variant, config, num_classes, device, memory_format, size)
    model.train()
    amp = choose_amp(config.amp, device)
    key = (
        variant.name, variant.version, config.reduction, config.dropout, tuple(images.shape),
        memory_format, amp, device_name(device), torch.get_num_threads(), torch.__version__,
    )  # fmt: skip
    try:
        return choose_compilation(
            model,
            images,
            torch.arange(size, device=device) % num_classes,
            planned_steps=config.epochs * math.ceil(train_images / size),
            expected_s=rate.rate[0] * config.epochs * train_images if rate else None,
            amp=functools.partial(
                torch.autocast, device.type, dtype=AMP_TYPES.get(amp), enabled=amp != "off"
            ),
            key="|".join(map(str, key)),
        )
    except Exception as error:
        # The training divides such a batch; what it does then is not what would be measured here.
        if not out_of_memory(error):
            raise
    return _eager("a batch does not fit in memory")


def choose_compilation(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    planned_steps: int,
    expected_s: float | None,
    amp: Callable[[], AbstractContextManager[Any]],
    key: str | None = None,
) -> dict[str, Any]:
    """Choose the compiled model where it is faster by 5 % and can pay for itself.

    Forward and backward passes are timed on one batch. Weights, buffers, gradients and random state
    are afterwards what they were.

    Args:
        model: in the mode to train in, on the device.
        images: (B, 3, S, S), a full batch.
        labels: (B,) int64.
        planned_steps: of the whole training.
        expected_s: seconds that they take, where that was measured already.
        amp: makes a context for each forward pass.
        key: names all that speed depends on: what was found under it once is not measured again,
            in this sweep or a later one. None: measured each time.

    Returns:
        ``chosen``, ``tried`` and ``reason``, for the record and :func:`forward_as_chosen`.
    """
    if expected_s is not None and expected_s < PAYS_FROM_S:
        return _eager(_too_short(expected_s))
    device = images.device

    def step(forward: Forward) -> None:
        with amp():
            loss = nn.functional.cross_entropy(forward(images), labels)
        loss.backward()

    with _unchanged(model, device):
        cached = recall(KIND).get(key) if key is not None else None
        recalled = cached and _recalled(cached, model, step, planned_steps)
        if recalled:
            return recalled
        eager_s = _seconds(step, model, device)
        planned_s = eager_s * planned_steps
        choice: dict[str, Any] = {"chosen": "eager", "eager_step_s": eager_s, "tried": []}
        if planned_s < PAYS_FROM_S:
            return {**choice, "reason": _too_short(planned_s)}
        choice["tried"] = [_try(mode, model, step, device) for mode in COMPILERS[device.type]]
        best = min(choice["tried"], key=lambda attempt: attempt.get("step_s", math.inf))
        if best.get("step_s", math.inf) < eager_s / (1 + LEAST_GAIN):
            choice["chosen"] = f"{COMPILED} ({best['mode']})"
    # What is missing now may be installed by the next time.
    if key is not None and not any("error" in attempt for attempt in choice["tried"]):
        remember(KIND, {key: choice})
    return {**choice, "reason": MEASURED}


def forward_as_chosen(model: nn.Module, chosen: str, batch_size: int) -> Any:
    """Return what computes the logits in a training step, as :func:`choose_compilation` chose it.

    Args:
        model: as of :func:`choose_compilation`.
        chosen: of what it found.
        batch_size: of a full batch; a last one of another size would be compiled once more.
    """
    if chosen == "eager":
        return model
    compiled = torch.compile(model, mode=_mode(chosen))
    return lambda batch: (compiled if len(batch) == batch_size else model)(batch)


def _mode(chosen: str) -> str:
    return chosen.removeprefix(f"{COMPILED} (")[:-1]


def _try(mode: str, model: nn.Module, step: Step, device: torch.device) -> dict[str, Any]:
    """Return what compiling gave, for the record."""
    begin = time.perf_counter()
    try:
        compiled: Any = torch.compile(model, mode=mode)
        step(compiled)
        compile_s = time.perf_counter() - begin
        return {"mode": mode, "compile_s": compile_s, "step_s": _seconds(step, compiled, device)}
    # A backend fails with errors of any kind; without it the training goes on.
    except Exception as error:
        return {"mode": mode, "error": error_line(f"{type(error).__name__}: {error}")}


def _recalled(
    cached: dict[str, Any], model: nn.Module, step: Step, planned_steps: int
) -> dict[str, Any] | None:
    """Return an earlier choice, for this training; None where it does not work any more."""
    chosen, reason = cached["chosen"], f"{MEASURED}, by an earlier run"
    if chosen != "eager":
        mode = _mode(chosen)
        (attempt,) = (attempt for attempt in cached["tried"] if attempt["mode"] == mode)
        saved = (cached["eager_step_s"] - attempt["step_s"]) * planned_steps
        if saved < attempt["compile_s"]:
            chosen = "eager"
            reason += f": compiling anew would save {saved:.0f} s and take longer"
        else:
            try:
                step(torch.compile(model, mode=mode))  # type: ignore[arg-type]
            except Exception:
                return None
    return {**cached, "chosen": chosen, "reason": reason}


def _too_short(seconds: float) -> str:
    return (
        f"the training takes about {seconds:.0f} s: compiling pays from {PAYS_FROM_S:.0f} s on at "
        "the earliest"
    )


@contextlib.contextmanager
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


def _seconds(step: Step, forward: Forward, device: torch.device) -> float:
    """The median of three steps after one that warms up."""
    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        step(forward)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])
