"""Two whole sessions of all ten variants: does one reverse a pair that the other declares?"""

from __future__ import annotations

import itertools
from typing import Any

import attrs

import variants
from bench.config.options import build
from bench.stats.multiple import holm
from bench.stats.timing import compare_speeds, declare, noise_floor
from bench.system.console import ConsoleHandler, log_to
from bench.system.environment import usable_cores
from bench.timing.cases import Case
from bench.timing.planner import plan_session
from bench.timing.session import CONTROL, Session
from experiments.calibration.common import head, rate
from experiments.record import Record, Row

NAME = "repeatability"
ROUNDS = 6
BATCH_SIZE = 8
BASELINE = "EfficientNetV2_S"


def run(quick: bool) -> dict[str, Any]:
    """Run two sessions; ``quick``: one round of two variants at 32 pixels."""
    rounds, size = (1, 32) if quick else (ROUNDS, 224)
    chosen = ["MobileNetV3_Small", "ResNet18"] if quick else list(variants.names())
    baseline = "ResNet18" if quick else BASELINE
    threads = usable_cores()
    cases = [
        Case(
            device="cpu", clock="model", regime=regime,
            image_size=size, batch_size=batch, threads=threads,
        )
        for regime, batch in (("latency", 1), ("throughput", BATCH_SIZE))
    ]  # fmt: skip
    sessions = []
    for seed in (0, 1):
        config = build({"image_size": size, "rounds": rounds, "seed": seed})
        plan = plan_session(chosen, baseline, cases, config, {"cpu": {}})
        with log_to(ConsoleHandler()):
            timed = Session(plan, config, num_classes=10, plugins=[], images=[]).run()
        entries = {**timed.timing, baseline + CONTROL: timed.record["control"]["timing"]}
        sessions.append(
            {
                "seed": seed,
                "seconds": timed.record["seconds"],
                "load_before": timed.record["load_before"],
                "block_seconds": {
                    name: {
                        entry["regime"]: {
                            one["round"]: one["block_seconds"] for one in entry["rounds"]
                        }
                        for entry in found
                    }
                    for name, found in entries.items()
                },
            }
        )
    parameters = {
        "rounds": rounds,
        "variants": chosen,
        "baseline": baseline,
        "cases": [attrs.asdict(case) for case in cases],
    }
    versions = ("torch", "timm", "numpy", "scipy")
    return {**head(NAME, quick, 0, parameters, versions), "sessions": sessions}


def verdicts(session: Record, baseline: str, regime: str) -> dict[tuple[str, str], str]:
    """``faster``, ``slower``, ``tie`` or ``undecided`` of every pair (first against second)."""
    seconds = {
        name: {int(number): blocks for number, blocks in by_regime[regime].items()}
        for name, by_regime in session["block_seconds"].items()
    }
    floor = noise_floor(compare_speeds(seconds.pop(baseline + CONTROL), seconds[baseline]))
    pairs = list(itertools.combinations(sorted(seconds), 2))
    ratios = [compare_speeds(seconds[a], seconds[b]) for a, b in pairs]
    adjusted = holm([None if ratio is None else ratio.p_value for ratio in ratios])
    return {
        pair: declare(ratio, floor, p)
        for pair, ratio, p in zip(pairs, ratios, adjusted, strict=True)
    }


def rows(record: Record) -> list[Row]:
    """Reversed pairs among those that both sessions declare different, for each regime."""
    parameters = record["parameters"]
    found = []
    for case in parameters["cases"]:
        first, second = (
            verdicts(session, parameters["baseline"], case["regime"])
            for session in record["sessions"]
        )
        declared = ("faster", "slower")
        both = [pair for pair in first if first[pair] in declared and second[pair] in declared]
        reversed_pairs = [pair for pair in both if first[pair] != second[pair]]
        once = sum((first[p] in declared) != (second[p] in declared) for p in first)
        minutes = sum(session["seconds"] for session in record["sessions"]) / 60
        found.append(
            Row(
                f"{case['regime']}, batch {case['batch_size']}: pairs that two sessions reverse",
                "none of those declared different",
                f"{rate(len(reversed_pairs), max(1, len(both)))}; {len(both)} of {len(first)} "
                f"pairs declared by both sessions, {once} by one of them alone",
                not reversed_pairs and bool(both),
                f"{len(parameters['variants'])} variants, {parameters['rounds']} rounds, "
                f"{case['threads']} threads, {case['image_size']} pixels, both sessions together "
                f"{minutes:.0f} minutes",
            )
        )
    return found
