"""``--tune auto``: memory format, and compiled or not, chosen by measurement before training.

What is chosen changes results, not speed alone: in another memory format, or compiled, the same
seed gives other weights. So it is asked for, chosen once for a sweep, and kept with the sweep.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.models import build
from bench.system.paths import recall, remember
from bench.timing.estimate import FORMATS, StepRates, measure_rates
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

Step = Callable[[Callable[[torch.Tensor], torch.Tensor]], object]


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
    formats = list(FORMATS) if config.memory_format == "auto" else []
    rates = {
        name: found[variant.name]
        for name in formats or [config.memory_format_on(device.type)]
        if (found := measure_rates([variant], config, num_classes, device, name))
    }
    memory_format, why = (
        choose_format(rates)
        if formats
        else (config.memory_format_on(device.type), "--memory-format")
    )
    if processes > 1:
        return Choice(memory_format, why, _eager(TOGETHER))
    if config.progressive:
        return Choice(memory_format, why, _eager("--progressive: the size of the images changes"))
    if config.freeze_backbone:
        return Choice(memory_format, why, _eager(FROZEN))
    steps = config.epochs * math.ceil(train_images / config.batch_size)
    expected = None
    if memory_format in rates:
        expected = rates[memory_format].rate[0] * config.epochs * train_images
    try:
        forward = _forward(variant, config, num_classes, device, memory_format, steps, expected)
    # Its run fails too, and records why.
    except Exception as error:
        forward = _eager(" ".join(f"not measured: {type(error).__name__}: {error}".split())[:200])
    return Choice(memory_format, why, forward)


def choose_format(rates: Mapping[str, StepRates]) -> tuple[str, str]:
    """The memory format to train in, and why, in one line: channels-last unless clearly slower.

    Args:
        rates: by memory format; empty where nothing could be measured.
    """
    if set(rates) != set(FORMATS):
        return "channels_last", "not measured"
    last, plain = (1 / rates[name].rate[0] for name in ("channels_last", "contiguous"))
    measured = rates["channels_last"]
    why = (
        f"--tune auto measured {measured.of} at batch {measured.batch}: "
        f"channels-last {last:.3g}, contiguous {plain:.3g} images/s"
    )
    return ("contiguous" if plain > (1 + LEAST_GAIN) * last else "channels_last"), why


def _eager(reason: str) -> dict[str, Any]:
    return {"chosen": "eager", "tried": [], "reason": reason}


def _forward(
    variant: variants.Variant,
    config: RunConfig,
    num_classes: int,
    device: torch.device,
    memory_format: str,
    steps: int,
    expected_s: float | None,
) -> dict[str, Any]:
    """Whether to compile: measured on a random batch."""
    plain = attrs.evolve(config, pretrained=False, weights=None)
    model = build.build(variant, num_classes, plain)[0].to(device)
    form = FORMATS[memory_format]
    model.to(memory_format=form)  # type: ignore[call-overload]
    shape = (config.batch_size, 3, config.image_size, config.image_size)
    images = torch.randn(*shape, device=device).contiguous(memory_format=form)
    labels = torch.arange(config.batch_size, device=device) % num_classes
    amp = choose_amp(config.amp, device)
    context: Any = contextlib.nullcontext
    if amp != "off":
        context = functools.partial(torch.autocast, device.type, dtype=AMP_TYPES[amp])
    model.train()
    about = (
        variant.name, variant.version, config.reduction, config.dropout, shape, memory_format, amp,
        device_name(device), torch.get_num_threads(), torch.__version__,
    )  # fmt: skip
    try:
        return choose_compilation(
            model,
            images,
            labels,
            planned_steps=steps,
            expected_s=expected_s,
            amp=context,
            key="|".join(map(str, about)),
        )[1]
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
    amp: Any,
    key: str | None = None,
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
        key: names all that speed depends on: what was found under it once is not measured again,
            in this sweep or a later one. None: measured each time.

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
        found: dict[str, Any]
        known = recall(KIND).get(key) if key is not None else None
        if known is not None:
            forward, why = _as_known(known, model, step, planned_steps)
            if forward is not None:
                chosen = "eager" if forward is model else known["chosen"]
                found = {**known, "chosen": chosen, "reason": f"{MEASURED}, {why}"}
                return _whole_batches(forward, model, len(images)), found
        eager = _seconds(step, model, device)
        found = {"chosen": "eager", "eager_step_s": eager, "tried": []}
        planned = eager * planned_steps
        if planned < PAYS_FROM_S:
            found["reason"] = _too_short(planned)
            return model, found
        best: Any = model
        for mode in COMPILERS[device.type]:
            tried, compiled = _try(mode, model, step, device)
            found["tried"].append(tried)
            fastest = min(one.get("step_s", eager) for one in found["tried"])
            if tried.get("step_s") == fastest < eager / (1 + LEAST_GAIN):
                best, found["chosen"] = compiled, f"{COMPILED} ({mode})"
    # What is missing now may be installed by the next time.
    if key is not None and not any("error" in one for one in found["tried"]):
        remember(KIND, {key: found})
    return _whole_batches(best, model, len(images)), {**found, "reason": MEASURED}


def forward_as_chosen(model: nn.Module, chosen: str, batch_size: int) -> Any:
    """What computes the logits in a training step, as :func:`choose_compilation` chose it.

    Args:
        model: as of :func:`choose_compilation`.
        chosen: of what it found.
        batch_size: of a full batch.
    """
    if chosen == "eager":
        return model
    compiled = torch.compile(model, mode=_mode(chosen))
    return _whole_batches(compiled, model, batch_size)


def _mode(chosen: str) -> str:
    return chosen.removeprefix(f"{COMPILED} (")[:-1]


def _try(
    mode: str, model: nn.Module, step: Step, device: torch.device
) -> tuple[dict[str, Any], Any]:
    """What compiling gave, for the record, and the compiled model."""
    begin = time.perf_counter()
    try:
        compiled: Any = torch.compile(model, mode=mode)
        step(compiled)
        compile_s = time.perf_counter() - begin
        return {
            "mode": mode, "compile_s": compile_s, "step_s": _seconds(step, compiled, device)
        }, compiled  # fmt: skip
    # A backend fails with errors of any kind; without it the training goes on.
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return {"mode": mode, "error": line}, None


def _as_known(
    known: dict[str, Any], model: nn.Module, step: Step, planned_steps: int
) -> tuple[Any, str]:
    """What was chosen before, and a word on it; none where it does not work any more."""
    earlier = "by an earlier run"
    if known["chosen"] == "eager":
        return model, earlier
    mode = _mode(known["chosen"])
    (tried,) = (one for one in known["tried"] if one["mode"] == mode)
    saved = (known["eager_step_s"] - tried["step_s"]) * planned_steps
    if saved < tried["compile_s"]:
        return model, f"{earlier}: compiling anew would save {saved:.0f} s and take longer"
    try:
        compiled: Any = torch.compile(model, mode=mode)
        step(compiled)
    except Exception:
        return None, ""
    return compiled, earlier


def _whole_batches(forward: Any, model: nn.Module, size: int) -> Any:
    """Compiled for one size of batch: a last one of another size would be compiled once more."""
    if forward is model:
        return model
    return lambda batch: (forward if len(batch) == size else model)(batch)


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
