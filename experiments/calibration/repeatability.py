"""Two whole sessions of all ten variants: does one reverse a pair that the other declares?"""

from __future__ import annotations

import itertools

import attrs

import variants
from bench.system.console import ConsoleHandler, log_to
from bench.system.environment import usable_cores
from bench.timing.cases import Case
from bench.timing.session import CONTROL
from experiments.calibration.timed import blocks_of, judge, model_case, run_session
from experiments.rows import Row, rate
from experiments.suite import Json, Record

SEED = 0
PACKAGES = ("torch", "timm", "numpy", "scipy")


def _cases(image_size: int) -> list[Json]:
    return [
        attrs.asdict(model_case(regime, image_size, batch_size, usable_cores()))
        for regime, batch_size in (("latency", 1), ("throughput", 8))
    ]


PARAMETERS = {
    "rounds": 6,
    "variants": list(variants.names()),
    "baseline": "EfficientNetV2_S",
    "cases": _cases(224),
}
QUICK = {
    "rounds": 1,
    "variants": ["MobileNetV3_Small", "ResNet18"],
    "baseline": "ResNet18",
    "cases": _cases(32),
}


def measure(chosen: Record) -> Json:
    """Run two sessions."""
    names, baseline = chosen["variants"], chosen["baseline"]
    cases = [Case(**case) for case in chosen["cases"]]
    sessions = []
    for seed in (0, 1):
        values = {"image_size": cases[0].image_size, "rounds": chosen["rounds"], "seed": seed}
        with log_to(ConsoleHandler()):
            timed, entries = run_session(names, baseline, cases, values, plugins=[])
        sessions.append(
            {
                "seed": seed,
                "seconds": timed.record["seconds"],
                "load_before": timed.record["load_before"],
                "block_seconds": {
                    name: {entry["regime"]: blocks_of(entry) for entry in of_name}
                    for name, of_name in entries.items()
                },
            }
        )
    return {"sessions": sessions}


def verdicts(session: Record, baseline: str, regime: str) -> dict[tuple[str, str], str]:
    """``faster``, ``slower``, ``tie`` or ``undecided`` of every pair (first against second)."""
    seconds = {name: by_regime[regime] for name, by_regime in session["block_seconds"].items()}
    names = sorted(seconds.keys() - {baseline + CONTROL})
    return judge(seconds, baseline, itertools.combinations(names, 2))[0]


def rows(record: Record) -> list[Row]:
    """Reversed pairs among those that both sessions declare different, for each regime."""
    parameters, result = record["parameters"], []
    minutes = sum(session["seconds"] for session in record["sessions"]) / 60
    for case in parameters["cases"]:
        first, second = (
            verdicts(session, parameters["baseline"], case["regime"])
            for session in record["sessions"]
        )
        declared = [
            {pair for pair, verdict in each.items() if verdict in ("faster", "slower")}
            for each in (first, second)
        ]
        both, once = declared[0] & declared[1], declared[0] ^ declared[1]
        reversed_pairs = [pair for pair in both if first[pair] != second[pair]]
        result.append(
            Row(
                f"{case['regime']}, batch {case['batch_size']}: pairs that two sessions reverse",
                "none of those declared different",
                f"{rate(len(reversed_pairs), max(1, len(both)))}; {len(both)} of {len(first)} "
                f"pairs declared by both sessions, {len(once)} by one of them alone",
                not reversed_pairs and bool(both),
                f"{len(parameters['variants'])} variants, {parameters['rounds']} rounds, "
                f"{case['threads']} threads, {case['image_size']} pixels, both sessions together "
                f"{minutes:.0f} minutes",
            )
        )
    return result
