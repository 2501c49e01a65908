"""Images/s by this harness and by timm's benchmark procedure, in turns on one machine."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import attrs

import variants
from bench.config.options import build
from bench.stats.timing import LEAST_DIFFERENCE
from bench.system.environment import usable_cores
from bench.system.memory import ALLOCATOR_ENVIRONMENT
from bench.timing.process import TimingProcess, measure_together
from experiments.calibration.timed import judge, model_case
from experiments.rows import Row, percent
from experiments.suite import Json, Record, trace

PACKAGES = ("torch", "timm", "numpy", "scipy")
MODELS = ("ResNet18", "MobileNetV3_Small")
PROCEDURE = "experiments.calibration.timm_procedure"
OURS, AGAIN, THEIRS = "this harness", "this harness (A/A)", "timm's procedure"
ENTRIES = (OURS, AGAIN, THEIRS)


def _case(image_size: int) -> Json:
    return attrs.asdict(model_case("throughput", image_size, 8, usable_cores()))


PARAMETERS = {"rounds": 10, "case": _case(224), "allocator": ALLOCATOR_ENVIRONMENT}
QUICK = {"rounds": 1, "case": _case(32)}


def measure(chosen: Record) -> Json:
    """Time each model by both; a quick run MobileNetV3-Small alone."""
    seconds: dict[str, dict[str, dict[int, list[float]]]] = {}
    for model in MODELS[1:] if chosen["quick"] else MODELS:
        seconds[model] = {entry: {} for entry in ENTRIES}
        for number in range(chosen["rounds"]):
            shift = number % len(ENTRIES)
            order = (*ENTRIES[shift:], *ENTRIES[:shift])
            for entry, blocks in _round(model, chosen["case"], order).items():
                seconds[model][entry][number] = blocks
            trace(f"{model}: round {number + 1} of {chosen['rounds']}")
    return {"block_seconds": seconds}


def _round(model: str, case: Record, order: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of a step in each block, of fresh processes that take turns block by block."""
    ours = {
        "variant": model,
        "num_classes": 10,
        "config": build({"image_size": case["image_size"], "dropout": 0.0}).as_record(),
        "cases": [case],
        "plugins": [],
        "images": [],
    }
    theirs = {"backbone": variants.get(model).backbone, "cases": [case]}
    with contextlib.ExitStack() as stack:
        processes = {}
        for entry in order:
            process = TimingProcess(theirs, PROCEDURE) if entry == THEIRS else TimingProcess(ours)
            stack.callback(process.close)
            process.wait_until_ready()
            processes[entry] = process
        answers = measure_together(processes)
    for answer in answers.values():
        if answer["error"]:
            raise RuntimeError(answer["error"])
    return {entry: each["cases"][0]["sample"]["block_seconds"] for entry, each in answers.items()}


def rows(record: Record) -> list[Row]:
    """One row for each model: the two agree where the report would call them a tie."""
    case, result = record["parameters"]["case"], []
    pair = (OURS, THEIRS)
    for model, seconds in record["block_seconds"].items():
        verdicts, ratios, floor = judge(seconds, OURS, [pair], control=AGAIN)
        ratio = ratios[pair]
        gap = math.expm1(abs(math.log(ratio.ratio)))
        interval = "no interval" if ratio.low is None else f"{ratio.low:.3f}–{ratio.high:.3f}"
        noise = "unknown" if floor is None else percent(floor, 1)
        result.append(
            Row(
                f"{model}: images/s here ÷ images/s by timm's procedure",
                "a gap of at most the noise floor, or 3 %, and no declared difference",
                f"{ratio.ratio:.3f} ({interval}, {ratio.rounds} rounds; A/A gap {noise})",
                verdicts[pair] == "tie" and gap <= max(floor or 0.0, LEAST_DIFFERENCE),
                f"batch {case['batch_size']}, {case['image_size']} pixels, {case['threads']} "
                "threads, contiguous, fresh processes with the same allocator setting, in turns "
                "block by block",
            )
        )
    return result
