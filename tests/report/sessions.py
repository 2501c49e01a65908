"""Builds records that were timed together in one session, with speeds that the test plants."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]
MAIN = (
    {"clock": "model", "regime": "latency", "batch_size": 1},
    {"clock": "model", "regime": "throughput", "batch_size": 16},
)
TRAIN = {"clock": "train", "regime": "throughput", "batch_size": 16}


def timing_entry(
    seconds: float,
    *,
    name: str = "",
    rounds: int = 10,
    spread: float = 0.01,
    clock: str = "model",
    regime: str = "throughput",
    batch_size: int = 16,
    **overrides: Any,
) -> Record:
    """One timing entry with planted seconds of an image, scattered by ``spread`` per round.

    All variants share the drift of a round, as on a real machine.
    """
    step = seconds * batch_size
    samples = []
    for number in range(rounds):
        drift = random.Random(f"{number} {clock} {regime}").gauss(0, 5 * spread)
        own = random.Random(f"{name} {number} {clock} {regime}").gauss(0, spread)
        block = step * (1 + drift + own)
        samples.append(
            {
                "round": number,
                "place": 0,
                "block_seconds": [block * 0.99, block, block * 1.05],
                "steps_per_block": 4,
                "step_seconds": [block] * 5 if regime == "latency" else [],
                "warmup_steps": 3,
                "minor_faults_per_step": 12.0,
                "others_load": 0.01,
                "peak_memory_mb": 812.5,
            }
        )
    medians = sorted(sample["block_seconds"][1] for sample in samples)
    median = medians[len(medians) // 2]
    entry = {
        "device": "cpu",
        "device_name": "AMD EPYC 7B13",
        "clock": clock,
        "regime": regime,
        "image_size": 224,
        "batch_size": batch_size,
        "threads": 2,
        "dtype": "float32",
        "memory_format": "contiguous",
        "mode": "eager",
        "inside_clock": "model only",
        "rounds": samples,
        "seconds_per_step": median,
        "images_per_s": batch_size / median,
        "images_per_s_low": None,
        "images_per_s_high": None,
        "latency_ms": 1000 * median if regime == "latency" else None,
        "latency_p95_ms": 1100 * median if regime == "latency" else None,
        "warmup_steps": 3,
        "timed_steps": 12 * rounds,
        "peak_memory_mb": 812.5,
        "peak_memory_kind": "process resident",
        "minor_faults_per_step": 12.0,
        "allocator": {"setting": "environment", "MALLOC_MMAP_MAX_": "0"},
        "omp_wait_policy": None,
        "tf32": {"matmul": False, "convolution": True},
        "cudnn_benchmark": False,
        "measured_at": "2026-11-24T16:40:03+00:00",
        "marks": [],
    }
    return {**entry, **overrides}


def entries(name: str, seconds: float, kinds: Sequence[Mapping[str, Any]], **more: Any) -> list:
    """The timing of one variant: an entry for each kind of case."""
    return [timing_entry(seconds, name=name, **{**kind, **more}) for kind in kinds]


def timed_together(
    make_record: Callable[..., Record],
    seconds: Mapping[str, float],
    *,
    baseline: str = "ResNet18",
    session: str = "s1",
    rounds: int = 10,
    spread: float = 0.01,
    kinds: Sequence[Mapping[str, Any]] = MAIN,
    same: Mapping[str, Any] | None = None,
    **each: Any,
) -> list[Record]:
    """Records of one sweep with one timing session.

    Args:
        seconds: planted seconds of an image by variant.
        baseline: the session's baseline; its control is the same model under a second name.
        same: keys of every timing entry to replace.
        each: arguments of every record.
    """
    more = {"rounds": rounds, "spread": spread, **(same or {})}
    control = entries("control", seconds[baseline], kinds, **more)
    about = {
        "id": session,
        "seed": 0,
        "rounds": rounds,
        "rounds_planned": rounds,
        "variants": list(seconds),
        "baseline": baseline,
        "reference": entries(baseline, seconds[baseline], kinds, **more),
        "control": {"name": f"{baseline} (A/A)", "timing": control},
        "order": [list(seconds)] * rounds,
        "time_budget_s": None,
        "estimated_s": 60.0,
        "seconds": 58.0,
        "lowered_batch": [],
        "load_before": 0.01,
        "load_after": 0.02,
        "notes": [],
    }
    records = []
    for minute, (name, value) in enumerate(seconds.items()):
        timing = entries(name, value, kinds, **more)
        record = make_record(name, minute=minute, timing=timing, session=about, **each)
        record["environment"]["machine"] = "3fa9b2c1"
        records.append(record)
    return records


def set_predictions(
    record: Record, right: Sequence[bool], *, part: str = "test", first: int = 0
) -> Record:
    """Give a record an evaluated part in which exactly these images are classified correctly.

    Args:
        first: number of the first image, so that folds do not share images.
    """
    classes = len(record["data"]["classes"])
    labels = [index % classes for index in range(len(right))]
    guesses = [
        label if hit else (label + 1) % classes for label, hit in zip(labels, right, strict=True)
    ]
    record[part] = {
        "ids": [f"{first + index}.jpg" for index in range(len(right))],
        "labels": labels,
        "predictions": guesses,
        "confidences": [0.8] * len(right),
        "loss": 0.3,
        "accuracy": sum(right) / len(right),
        "macro_f1": sum(right) / len(right),
    }
    return record


def timing_only(record: Record) -> Record:
    """What ``bench time`` writes: no training, no accuracy."""
    empty = {"training": None, "metrics": None, "validation": None, "test": None}
    return {**record, **empty}


FACTS = {
    "compile_s": 41.5, "export_s": 5.0, "load_s": 0.3, "max_difference": 3e-6,
    "max_relative_difference": 2e-6, "opset": 20,
    "versions": {"torch": "2.14.1", "onnxruntime": "1.30"},
}  # fmt: skip


def timed_in_modes(
    make_record: Callable[..., Record],
    seconds: Mapping[str, float],
    gains: Mapping[str, float],
    *,
    failed: Mapping[tuple[str, str], str] | None = None,
    **more: Any,
) -> list[Record]:
    """Records of :func:`timed_together` whose session timed other modes than eager too.

    Args:
        gains: planted speed of each mode ÷ that of eager.
        failed: why a variant was not timed in a mode.
    """
    records = timed_together(make_record, seconds, **more)
    few = {key: more[key] for key in ("rounds", "spread") if key in more}

    def of(name: str, each: float, who: str) -> list[Record]:
        made = []
        for mode, gain in gains.items():
            found = entries(f"{who} {mode}", each / gain, MAIN, mode=mode, mode_facts=FACTS, **few)
            reason = (failed or {}).get((name, mode))
            if reason:
                kept = ("images_per_s", "seconds_per_step", "latency_ms", "latency_p95_ms")
                found = [{k: v for k, v in one.items() if k not in kept} for one in found]
                found = [{**one, "rounds": [], "mode_error": reason} for one in found]
                found = [{**one, "mode_facts": {}} for one in found]
            made += found
        return made

    about = records[0]["session"]
    baseline = about["baseline"]
    about["reference"] += of("", seconds[baseline], baseline)
    about["control"]["timing"] += of("", seconds[baseline], "control")
    for record in records:
        name = record["variant"]["name"]
        record["timing"] += of(name, seconds[name], name)
    return records
