"""Times a step in blocks: warm-up, synchronised clock, raw samples kept."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.benchmark.utils.timer import timer

from bench.measure.cases import INSIDE, LATENCY, Case
from bench.measure.environment import LoadMeter, tf32_state
from bench.measure.gpu import gpu_state
from bench.measure.memory import PeakMemory, allocator_of_environment, minor_faults
from bench.stats.timing import locate

BLOCK_S = 0.2
BLOCKS = 5
WARMUP_STEPS = {"cpu": 3, "cuda": 10}
WARMUP_S = {"cpu": 0.0, "cuda": 2.0}
MOST_STEPS = 10_000
MOST_FAULTS = 3000
MOST_LOAD = 0.10


def time_case(step: Callable[[], object], case: Case) -> dict[str, Any]:
    """One process' sample of a case: warm-up, then :data:`BLOCKS` blocks of at least 0.2 s.

    The stopwatch is that of ``torch.utils.benchmark``, which synchronises CUDA before it reads the
    clock. For latency every step is read by itself, for throughput a block as a whole, so that
    steps may overlap on a GPU.

    Args:
        step: does the work of one step.
        case: what is timed.

    Returns:
        The record of one round, without its number.

    Raises:
        torch.OutOfMemoryError: the batch does not fit.
    """
    memory = PeakMemory(torch.device(case.device))
    warmups, begin, fastest = 0, timer(), math.inf
    while warmups < WARMUP_STEPS[case.device] or timer() - begin < WARMUP_S[case.device]:
        fastest = min(fastest, _seconds(step, 1))
        warmups += 1
    steps = min(MOST_STEPS, max(1, math.ceil(BLOCK_S / max(fastest, 1e-9))))
    if case.device == "cuda":
        # Steps that overlap on a GPU are faster than the synchronised ones of the warm-up.
        trial = _seconds(step, steps)
        steps = min(MOST_STEPS, max(steps, math.ceil(steps * BLOCK_S / max(trial, 1e-9))))
    meter, faults = LoadMeter(), minor_faults()
    meter.start()
    blocks: list[float] = []
    every: list[float] = []
    for _ in range(BLOCKS):
        if case.regime == LATENCY:
            taken = [_seconds(step, 1) for _ in range(steps)]
            every += taken
            blocks.append(statistics.median(taken))
        else:
            blocks.append(_seconds(step, steps) / steps)
    return {
        "block_seconds": blocks,
        "steps_per_block": steps,
        "step_seconds": every,
        "warmup_steps": warmups,
        "minor_faults_per_step": (minor_faults() - faults) / (steps * BLOCKS),
        "others_load": meter.stop(),
        "gpu": gpu_state(torch.cuda.current_device()) if case.device == "cuda" else None,
        "peak_memory_mb": memory.peak_mb(),
        "peak_memory_kind": memory.kind,
    }


def _seconds(step: Callable[[], object], times: int) -> float:
    begin = timer()
    for _ in range(times):
        step()
    return timer() - begin


def settings(case: Case, amp: str) -> dict[str, Any]:
    """What a timing process says of itself and of a case, besides its samples."""
    names = {"off": "float32", "fp16": "float16 autocast", "bf16": "bfloat16 autocast"}
    return {
        "device": case.device,
        "device_name": device_name(torch.device(case.device)),
        "clock": case.clock,
        "regime": case.regime,
        "image_size": case.image_size,
        "batch_size": case.batch_size,
        "threads": case.threads,
        "dtype": names[amp],
        "memory_format": "channels_last" if case.channels_last else "contiguous",
        "mode": "eager",
        "inside_clock": INSIDE[case.clock],
        "allocator": allocator_of_environment(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "tf32": tf32_state(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def device_name(device: torch.device) -> str:
    """The GPU's name from its driver, or the CPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from bench.measure.environment import cpu_model

    return cpu_model()


# --- rounds together -------------------------------------------------------------------------


def sample_of(one_round: Mapping[str, Any]) -> float:
    """A round's one sample: seconds of a step, the median of its blocks."""
    return statistics.median(one_round["block_seconds"])


def assemble(
    about: Mapping[str, Any], rounds: Sequence[dict[str, Any]], measured_at: str
) -> dict[str, Any]:
    """The ``timing`` entry of a record from the rounds of one case.

    ``images_per_s`` is batch / median over rounds, with a 95 % interval from six rounds on.
    """
    samples = [sample_of(one) for one in rounds]
    found, batch = locate(samples), about["batch_size"]
    every = [seconds for one in rounds for seconds in one["step_seconds"]]
    peaks = [one["peak_memory_mb"] for one in rounds]
    return {
        **about,
        "rounds": [
            {key: value for key, value in one.items() if key != "peak_memory_kind"}
            for one in rounds
        ],
        "seconds_per_step": found.median,
        "images_per_s": batch / found.median,
        "images_per_s_low": None if found.high is None else batch / found.high,
        "images_per_s_high": None if found.low is None else batch / found.low,
        "latency_ms": 1000 * found.median if every else None,
        "latency_p95_ms": 1000 * _percentile_95(every) if every else None,
        "warmup_steps": rounds[0]["warmup_steps"],
        "timed_steps": sum(one["steps_per_block"] * len(one["block_seconds"]) for one in rounds),
        "peak_memory_mb": statistics.median(peaks),
        "peak_memory_kind": rounds[0]["peak_memory_kind"],
        "minor_faults_per_step": statistics.median(one["minor_faults_per_step"] for one in rounds),
        "measured_at": measured_at,
        "marks": _marks(rounds),
    }


def _percentile_95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _marks(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    marks = []
    loads = [one["others_load"] for one in rounds if one["others_load"] is not None]
    if loads and statistics.median(loads) > MOST_LOAD:
        marks.append(f"other programs used {100 * statistics.median(loads):.0f} % of the machine")
    faults = statistics.median(one["minor_faults_per_step"] for one in rounds)
    if faults > MOST_FAULTS:
        marks.append(f"{faults:,.0f} page faults a step")
    reasons = {
        reason
        for one in rounds
        for reason in (one.get("gpu") or {}).get("throttle_reasons") or []
        if "slowdown" in reason or "brake" in reason
    }
    if reasons:
        marks.append(f"GPU slowed down: {', '.join(sorted(reasons))}")
    return marks
