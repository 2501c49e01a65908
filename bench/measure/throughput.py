"""Images per second of a model alone: warm-up, synchronised steps, raw samples kept."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark.utils.timer import timer

from bench.measure.memory import PeakMemory, allocator_of_environment, minor_faults

BATCH_SIZE = 16
WARMUP_STEPS = 20
TIMED_STEPS = 100
MIN_WARMUP_STEPS = 3
MIN_TIMED_STEPS = 3


def time_inference(
    model: nn.Module,
    *,
    device: torch.device,
    image_size: int,
    batch_size: int = BATCH_SIZE,
    warmup_steps: int = WARMUP_STEPS,
    timed_steps: int = TIMED_STEPS,
    budget_s: float = 30.0,
) -> dict[str, Any]:
    """Time forward passes in eval and inference mode, the model alone inside the clock.

    The protocol is the guide's (batch 16, 20 warm-up and 100 timed steps). Warm-up ends after a
    quarter of the budget and the timed steps when it is over, but never before
    :data:`MIN_WARMUP_STEPS` and :data:`MIN_TIMED_STEPS`. The stopwatch is that of
    ``torch.utils.benchmark``, which synchronises CUDA before it reads the clock.

    Args:
        model: takes (B, 3, S, S) float32 images; it is moved to ``device``.
        device: where to run.
        image_size: S in pixels.
        batch_size: B.
        warmup_steps, timed_steps: steps where the budget allows.
        budget_s: seconds for warm-up and timed steps together.

    Returns:
        The record: raw ``step_seconds`` and what is needed to read them. ``images_per_s`` is
        batch / median step.

    Raises:
        torch.OutOfMemoryError: the batch does not fit.
    """
    model = model.to(device).eval()
    images = torch.randn(
        batch_size, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)
    ).to(device)
    memory = PeakMemory(device)
    load_before = _load()
    started = timer()
    warmups = 0
    steps: list[float] = []
    with torch.inference_mode():
        while warmups < MIN_WARMUP_STEPS or (
            warmups < warmup_steps and timer() - started < budget_s / 4
        ):
            model(images)
            warmups += 1
        faults = minor_faults()
        while len(steps) < MIN_TIMED_STEPS or (
            len(steps) < timed_steps and timer() - started < budget_s
        ):
            begin = timer()
            model(images)
            steps.append(timer() - begin)
        faults = minor_faults() - faults
    return {
        "device": device.type,
        "device_name": device_name(device),
        "image_size": image_size,
        "batch_size": batch_size,
        "dtype": "float32",
        "memory_format": "contiguous",
        "mode": "eager",
        "threads": torch.get_num_threads(),
        "warmup_steps": warmups,
        "timed_steps": len(steps),
        "step_seconds": steps,
        "images_per_s": batch_size / statistics.median(steps),
        "time_budget_s": budget_s,
        "budget_ended": warmups < warmup_steps or len(steps) < timed_steps,
        "peak_memory_mb": memory.peak_mb(),
        "peak_memory_kind": memory.kind,
        "minor_faults_per_step": faults / len(steps),
        "allocator": allocator_of_environment(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_before": load_before,
        "load_after": _load(),
        "inside_clock": "model only",
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _load() -> float | None:
    """The machine's load average of one minute, or None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def device_name(device: torch.device) -> str:
    """The GPU's name from its driver, or the CPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from bench.measure.environment import cpu_model

    return cpu_model()
