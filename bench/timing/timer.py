"""Times a step in blocks: warm-up, synchronised clock, raw samples kept."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch.utils.benchmark.utils.timer import timer

from bench.stats.timing import FEWEST_FOR_P95, locate
from bench.system.environment import LoadMeter, cpu_model, tf32_state
from bench.system.gpu import gpu_state
from bench.system.memory import PeakMemory, allocator_of_environment, minor_faults
from bench.timing.cases import INSIDE, LATENCY, Case

BLOCK_S = 0.2
# More blocks where they are short: a neighbour's bursts slow a shared machine for seconds.
BLOCKS, MOST_BLOCKS, BLOCKS_S = 5, 9, 1.8
WARMUP_STEPS = {"cpu": 3, "cuda": 10}
WARMUP_S = {"cpu": 0.0, "cuda": 2.0}
MOST_STEPS = 10_000
MOST_FAULTS = 3000
MOST_LOAD = 0.10


class CaseTimer:
    """One process' sample of a case: warmed up when it is made, then timed block by block.

    ``planned`` is how many blocks: :data:`BLOCKS`, up to :data:`MOST_BLOCKS` while they take no
    more than :data:`BLOCKS_S` seconds together.

    The stopwatch is that of ``torch.utils.benchmark``, which synchronises CUDA before it reads the
    clock. For latency every step is read by itself, for throughput a block as a whole, so that
    steps may overlap on a GPU.

    Args:
        step: does the work of one step.
        case: what is timed.

    Raises:
        torch.OutOfMemoryError: the batch does not fit.
    """

    def __init__(self, step: Callable[[], object], case: Case) -> None:
        self.step, self.case = step, case
        self.memory = PeakMemory(torch.device(case.device))
        self.warmups, begin, fastest = 0, timer(), math.inf
        while self.warmups < WARMUP_STEPS[case.device] or timer() - begin < WARMUP_S[case.device]:
            fastest = min(fastest, _seconds(step, 1))
            self.warmups += 1
        self.steps = _steps(fastest)
        if case.device == "cuda":
            # Steps that overlap on a GPU are faster than the synchronised ones of the warm-up.
            trial = _seconds(step, self.steps)
            self.steps = max(self.steps, _steps(trial / self.steps))
        self.planned = planned_blocks(fastest * self.steps)
        self.blocks: list[float] = []
        self.every: list[float] = []
        self.faults: list[int] = []
        self.loads: list[float] = []

    def block(self, *, after_others: bool = False) -> None:
        """Time one block of at least :data:`BLOCK_S`.

        Args:
            after_others: other processes ran since the last block: where a block has several
                steps, one untimed step brings caches back to what they are within it.
        """
        if after_others and self.steps > 1:
            _seconds(self.step, 1)
        meter, faults = LoadMeter(), minor_faults()
        meter.start()
        if self.case.regime == LATENCY:
            taken = [_seconds(self.step, 1) for _ in range(self.steps)]
            self.every += taken
            self.blocks.append(statistics.median(taken))
        else:
            self.blocks.append(_seconds(self.step, self.steps) / self.steps)
        self.faults.append(minor_faults() - faults)
        load = meter.stop()
        if load is not None:
            self.loads.append(load)

    def sample(self) -> dict[str, Any]:
        """The record of one round, without its number."""
        return {
            "block_seconds": self.blocks,
            "steps_per_block": self.steps,
            "step_seconds": self.every,
            "warmup_steps": self.warmups,
            "minor_faults_per_step": sum(self.faults) / (self.steps * len(self.blocks)),
            "others_load": statistics.mean(self.loads) if self.loads else None,
            "gpu": gpu_state(torch.cuda.current_device()) if self.case.device == "cuda" else None,
            "peak_memory_mb": self.memory.peak_mb(),
            "peak_memory_kind": self.memory.kind,
        }


def planned_blocks(block_s: float) -> int:
    """How many blocks of so many seconds make a process' sample."""
    return min(MOST_BLOCKS, max(BLOCKS, math.ceil(BLOCKS_S / max(block_s, 1e-9))))


def _steps(seconds: float) -> int:
    """Steps of so many seconds that make a block."""
    return min(MOST_STEPS, max(1, math.ceil(BLOCK_S / max(seconds, 1e-9))))


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
        "mode": case.mode,
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
        "latency_p95_ms": _percentile_95(every),
        "latency_max_ms": 1000 * max(every) if every else None,
        "warmup_steps": rounds[0]["warmup_steps"],
        "timed_steps": sum(one["steps_per_block"] * len(one["block_seconds"]) for one in rounds),
        "peak_memory_mb": statistics.median(peaks),
        "peak_memory_kind": rounds[0]["peak_memory_kind"],
        "minor_faults_per_step": statistics.median(one["minor_faults_per_step"] for one in rounds),
        "mode_facts": _merge_facts([one.get("mode_facts") or {} for one in rounds]),
        "measured_at": measured_at,
        "marks": _flags(rounds),
    }


def failed_entry(
    case: Case, reason: str, eager: Mapping[str, Any], rounds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The ``timing`` entry of a mode that failed: why, and no speed.

    Args:
        eager: what a process says of the same case run eagerly.
        rounds: samples from before it failed.
    """
    form = "channels_last" if case.channels_last else "contiguous"
    own = {"mode": case.mode, "memory_format": form, "mode_error": reason, "mode_facts": {}}
    return {**attrs.asdict(case), **eager, **own, "rounds": list(rounds), "marks": []}


def _merge_facts(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a mode over the processes of a session: of seconds and differences the largest.

    Compiled code is cached, so that only a machine's first process pays for it: the longest
    compilation is the one that was not read from the cache.
    """
    merged: dict[str, Any] = {}
    for facts in rounds:
        for name, value in facts.items():
            both = name in merged and isinstance(value, float)
            merged[name] = max(merged[name], value) if both else value
    return merged


def _percentile_95(seconds: Sequence[float]) -> float | None:
    """In ms; None of fewer steps than leave one beyond it: it would be their maximum."""
    if len(seconds) < FEWEST_FOR_P95:
        return None
    return 1000 * sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def _flags(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    flags = []
    loads = [sample["others_load"] for sample in rounds if sample["others_load"] is not None]
    if loads and statistics.median(loads) > MOST_LOAD:
        flags.append(f"other programs used {100 * statistics.median(loads):.0f} % of the machine")
    faults = statistics.median(sample["minor_faults_per_step"] for sample in rounds)
    if faults > MOST_FAULTS:
        flags.append(f"{faults:,.0f} page faults a step")
    reasons = {
        reason
        for sample in rounds
        for reason in (sample.get("gpu") or {}).get("throttle_reasons") or []
        if "slowdown" in reason or "brake" in reason
    }
    if reasons:
        flags.append(f"GPU slowed down: {', '.join(sorted(reasons))}")
    return flags
