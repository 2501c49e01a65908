"""Images/s by this harness and by timm's benchmark procedure, in turns on one machine."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from typing import Any

import attrs

import variants
from bench.config.options import build
from bench.stats.timing import (
    LEAST_DIFFERENCE,
    Ratio,
    compare_speeds,
    declare,
    noise_floor,
)
from bench.system.environment import usable_cores
from bench.system.memory import ALLOCATOR_ENVIRONMENT
from bench.timing.cases import Case
from bench.timing.process import TimingProcess, measure_together
from experiments.calibration.common import head
from experiments.record import Record, Row

NAME = "agreement"
MODELS = ("ResNet18", "MobileNetV3_Small")
PROCEDURE = "experiments.calibration.timm_procedure"
OURS, AGAIN, THEIRS = "this harness", "this harness (A/A)", "timm's procedure"
ROUNDS = 10
BATCH_SIZE = 8
IMAGE_SIZE = 224


def run(quick: bool) -> dict[str, Any]:
    """Time each model by both; ``quick``: one round of MobileNetV3-Small at 32 pixels."""
    rounds, size = (1, 32) if quick else (ROUNDS, IMAGE_SIZE)
    models = MODELS[1:] if quick else MODELS
    threads = usable_cores()
    case = Case(
        device="cpu", clock="model", regime="throughput",
        image_size=size, batch_size=BATCH_SIZE, threads=threads,
    )  # fmt: skip
    entries = (OURS, AGAIN, THEIRS)
    seconds: dict[str, dict[str, dict[int, list[float]]]] = {}
    for model in models:
        seconds[model] = {entry: {} for entry in entries}
        for number in range(rounds):
            shift = number % len(entries)
            order = (*entries[shift:], *entries[:shift])
            for entry, blocks in _round(model, case, order).items():
                seconds[model][entry][number] = blocks
            print(f"{model}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    parameters = {
        "rounds": rounds,
        "case": attrs.asdict(case),
        "allocator": ALLOCATOR_ENVIRONMENT,
    }
    versions = ("torch", "timm", "numpy", "scipy")
    return {**head(NAME, quick, None, parameters, versions), "block_seconds": seconds}


def _round(model: str, case: Case, order: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of a step in each block, of fresh processes that take turns block by block."""
    ours = {
        "variant": model,
        "num_classes": 10,
        "config": build({"image_size": case.image_size, "dropout": 0.0}).as_record(),
        "cases": [attrs.asdict(case)],
        "plugins": [],
        "images": [],
    }
    theirs = {"backbone": variants.get(model).backbone, "cases": [attrs.asdict(case)]}
    with contextlib.ExitStack() as stack:
        processes = {}
        for entry in order:
            process = TimingProcess(theirs, PROCEDURE) if entry == THEIRS else TimingProcess(ours)
            stack.callback(process.close)
            process.wait_until_ready()
            processes[entry] = process
        found = measure_together(processes)
    for one in found.values():
        if one["error"]:
            raise RuntimeError(one["error"])
    return {entry: one["cases"][0]["sample"]["block_seconds"] for entry, one in found.items()}


def compare(seconds: dict[str, dict[str, list[float]]]) -> tuple[Ratio | None, float | None]:
    """Speed by this harness ÷ speed by timm's procedure, and the A/A gap of this harness."""
    by_entry = {
        entry: {int(number): value for number, value in rounds.items()}
        for entry, rounds in seconds.items()
    }
    floor = noise_floor(compare_speeds(by_entry[AGAIN], by_entry[OURS]))
    return compare_speeds(by_entry[OURS], by_entry[THEIRS]), floor


def rows(record: Record) -> list[Row]:
    """One row for each model: the two agree where the report would call them a tie."""
    found = []
    for model, seconds in record["block_seconds"].items():
        ratio, floor = compare(seconds)
        assert ratio is not None
        gap = math.expm1(abs(math.log(ratio.ratio)))
        allowed = max(floor or 0.0, LEAST_DIFFERENCE)
        low, high = ratio.low, ratio.high
        interval = "no interval" if low is None else f"{low:.3f}–{high:.3f}"
        case = record["parameters"]["case"]
        found.append(
            Row(
                f"{model}: images/s here ÷ images/s by timm's procedure",
                "a gap of at most the noise floor, or 3 %, and no declared difference",
                f"{ratio.ratio:.3f} ({interval}, {ratio.rounds} rounds; A/A gap {_percent(floor)})",
                declare(ratio, floor, ratio.p_value) == "tie" and gap <= allowed,
                f"batch {case['batch_size']}, {case['image_size']} pixels, {case['threads']} "
                "threads, contiguous, fresh processes with the same allocator setting, in turns "
                "block by block",
            )
        )
    return found


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
