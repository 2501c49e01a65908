"""Timing sessions of a simulated machine: false alarms, power, and coverage of the intervals.

Every decision is made by the functions that decide in a report: compare_speeds, locate,
noise_floor, holm and declare of bench.stats.
"""

from __future__ import annotations

import functools
from itertools import product

import attrs
import numpy as np

from bench.stats.multiple import holm
from bench.stats.timing import compare_speeds, declare, locate, noise_floor
from experiments import figures
from experiments.calibration import machine
from experiments.rows import Row, percent, rate, rate_row
from experiments.suite import Json, Record, Tables

SEED = 20240
FIGURES = {
    "power.png": ("Power of the whole rule", figures.power),
    "coverage.png": ("Coverage of the timing intervals", figures.coverage),
}
ROUNDS = [6, 10, 20]
PUBLISHED_ROUNDS = 10
SLOWDOWNS = [0.0, 0.02, 0.03, 0.05, 0.10, 0.20]
ENTRIES = ["baseline", "variant", "another variant", "baseline (A/A)"]
PARAMETERS = {
    "sessions": 2000,
    "rounds": ROUNDS,
    "slowdowns": SLOWDOWNS,
    "entries_in_rotated_order": ENTRIES,
    "process_sd": machine.PROCESS_SD,
    "block_sd": machine.BLOCK_SD,
    "blocks_per_process": machine.BLOCKS,
    "scenarios": [attrs.asdict(scenario) for scenario in machine.SCENARIOS],
}
QUICK = {"sessions": 40}


def measure(chosen: Record) -> Json:
    """Simulate all scenarios and numbers of rounds."""
    cases = product(enumerate(machine.SCENARIOS), ROUNDS)
    return {
        "outcome": [
            _simulate(scenario, (chosen["sessions"], rounds, len(ENTRIES)), number)
            for (number, scenario), rounds in cases
        ]
    }


def _simulate(scenario: machine.Scenario, shape: tuple[int, int, int], number: int) -> Json:
    """Counts of one scenario and number of rounds; the slowdowns are planted in equal noise."""
    sessions, rounds, _ = shape
    rng = np.random.default_rng([SEED, number, rounds])
    logs, drift = machine.draw(scenario, shape, rng)
    truths = 0.1 * np.exp(machine.true_medians(scenario, drift, rng))
    counts = ("excludes_one", "holds_truth", "slower", "faster")
    planted = [{"slowdown": slowdown, **dict.fromkeys(counts, 0)} for slowdown in SLOWDOWNS]
    median_holds = 0
    for session, truth in zip(0.1 * np.exp(logs), truths, strict=True):
        baseline, variant, _, control = (dict(enumerate(e)) for e in session.swapaxes(0, 1))
        floor = noise_floor(compare_speeds(control, baseline))
        for case in planted:
            slowed = {place: (1 + case["slowdown"]) * s for place, s in variant.items()}
            ratio = compare_speeds(slowed, baseline)
            case["excludes_one"] += not ratio.low <= 1 <= ratio.high
            case["holds_truth"] += ratio.low <= 1 / (1 + case["slowdown"]) <= ratio.high
            verdict = declare(ratio, floor, holm([ratio.p_value])[0])
            for name in ("slower", "faster"):
                case[name] += verdict == name
        place = locate([float(np.median(blocks)) for blocks in baseline.values()])
        median_holds += place.low <= truth <= place.high
    return {
        "scenario": scenario.name,
        "rounds": rounds,
        "sessions": sessions,
        "median_holds_truth": int(median_holds),
        "planted": planted,
    }


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """False alarms, coverage and power at the number of rounds of a published table."""
    limits = {s["name"] for s in record["parameters"]["scenarios"] if s["limit"]}
    result = []
    for case in record["outcome"]:
        if case["rounds"] != PUBLISHED_ROUNDS:
            continue
        total, name = case["sessions"], case["scenario"]
        made = f"{total:,} simulated sessions of {case['rounds']} rounds, scenario “{name}”"
        same, ten = case["planted"][0], case["planted"][SLOWDOWNS.index(0.10)]
        beyond = name in limits
        alarms = {} if beyond else {"least": 0.03, "most": 0.06}
        coverage = {} if beyond else {"least": 0.93, "most": 0.97}

        row = functools.partial(rate_row, total=total, made=made, informs="informs: beyond the bar")

        result += [
            row("False alarms of the interval: it excludes 1", same["excludes_one"], **alarms),
            row(
                "False alarms of the whole rule: a difference is declared",
                same["slower"] + same["faster"],
                informs="informs: at most as many",
            ),
            row("Coverage of the ratio's 95 % interval", same["holds_truth"], **coverage),
            row("Coverage of the median's 95 % interval", case["median_holds_truth"], **coverage),
            row("Power: a planted slowdown of 10 % is declared", ten["slower"], informs="informs"),
        ]
    return result


def details(record: Record) -> Tables:
    """Further tables: scenarios, all rounds, the power curve."""
    parameters = record["parameters"]
    scenarios = [
        [s["name"], s["meaning"] + (" (beyond the bars: where trust ends)" if s["limit"] else "")]
        for s in parameters["scenarios"]
    ]
    header = ["scenario", "rounds", "interval excludes 1", "declared", "ratio held", "median held"]
    by_rounds, power = [], []
    for case in record["outcome"]:
        total, (same, *slower) = case["sessions"], case["planted"]
        counts = (
            same["excludes_one"],
            same["slower"] + same["faster"],
            same["holds_truth"],
            case["median_holds_truth"],
        )
        place = [case["scenario"], str(case["rounds"])]
        by_rounds.append([*place, *(rate(count, total) for count in counts)])
        power.append([*place, *(rate(planted["slower"], total) for planted in slower)])
    slowdowns = [f"{percent(share, 0)} slower" for share in parameters["slowdowns"][1:]]
    return [
        (_model(parameters), ["scenario", "what disturbs the timings"], scenarios),
        (
            "No difference planted: how often the interval excludes 1, a difference is declared "
            "(after noise floor and 3 %), and the intervals hold the truth. The whole rule is "
            "quieter than the interval, since a difference must also exceed 3 % and the gap of the "
            "baseline to itself in the same session.",
            header,
            by_rounds,
        ),
        (
            "Planted slowdown declared “slower” by the whole rule. Differences up to 3 % are "
            "called a tie on purpose: 2 and 3 % are declared only where noise adds to them.",
            ["scenario", "rounds", *slowdowns],
            power,
        ),
    ]


def _model(parameters: Record) -> str:
    return (
        "Model: seconds of a block = 0.1 s × process effect (lognormal, "
        f"{percent(parameters['process_sd'], 0)}) × block noise (lognormal, "
        f"{percent(parameters['block_sd'], 0)}) × drift × bursts; "
        f"{parameters['blocks_per_process']} blocks a process, taken in turns with the other "
        "processes of the round; their median is the sample, and a round's ratio that of all pairs "
        "of blocks; "
        f"{len(ENTRIES)} entries a round ({', '.join(ENTRIES)}), order rotated by one place each "
        "round. Truth of the ratio: the planted one. Truth of the median: that of the processes "
        "which might have been started at any moment of the session, under its own drift."
    )
