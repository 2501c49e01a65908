"""Timing sessions of a simulated machine: false alarms, power, and coverage of the intervals.

Every decision is made by the functions that decide in a report: compare_speeds, locate,
noise_floor, holm and declare of bench.stats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

from bench.stats.multiple import holm
from bench.stats.timing import Ratio, compare_speeds, declare, locate, noise_floor
from experiments.calibration import figures, machine
from experiments.calibration.common import head, rate
from experiments.record import Record, Row

NAME = "simulated_sessions"
SEED = 20240
SESSIONS = 2000
ROUNDS = (6, 10, 20)
PUBLISHED_ROUNDS = 10
SLOWDOWNS = (0.0, 0.02, 0.03, 0.05, 0.10, 0.20)
ENTRIES = ("baseline", "variant", "another variant", "baseline (A/A)")


def run(quick: bool) -> dict[str, Any]:
    """Simulate all scenarios and numbers of rounds; ``quick``: 40 sessions of each."""
    sessions = 40 if quick else SESSIONS
    parameters = {
        "sessions": sessions,
        "rounds": list(ROUNDS),
        "slowdowns": list(SLOWDOWNS),
        "entries_in_rotated_order": list(ENTRIES),
        "process_sd": machine.PROCESS_SD,
        "block_sd": machine.BLOCK_SD,
        "blocks_per_process": machine.BLOCKS,
        "scenarios": [attrs.asdict(scenario) for scenario in machine.SCENARIOS],
    }
    return {
        **head(NAME, quick, SEED, parameters),
        "outcome": [
            _simulate(scenario, rounds, sessions, np.random.default_rng([SEED, number, rounds]))
            for number, scenario in enumerate(machine.SCENARIOS)
            for rounds in ROUNDS
        ],
    }


def _simulate(
    scenario: machine.Scenario, rounds: int, sessions: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Counts of one scenario and number of rounds; the slowdowns are planted in equal noise."""
    logs, drift = machine.draw(scenario, (sessions, rounds, len(ENTRIES)), rng)
    truths = machine.true_medians(scenario, drift, rng)
    seconds = 0.1 * np.exp(logs)
    planted = [_Counts(slowdown) for slowdown in SLOWDOWNS]
    median_holds = 0
    for session, truth in zip(seconds, truths, strict=True):
        baseline, variant, control = (_by_round(session[:, entry]) for entry in (0, 1, 3))
        floor = noise_floor(compare_speeds(control, baseline))
        for counts in planted:
            slower = {number: (1 + counts.slowdown) * s for number, s in variant.items()}
            ratio = compare_speeds(slower, baseline)
            assert ratio is not None
            counts.add(ratio, declare(ratio, floor, holm([ratio.p_value])[0]))
        place = locate([float(np.median(blocks)) for blocks in baseline.values()])
        assert place.low is not None
        assert place.high is not None
        median_holds += place.low <= 0.1 * np.exp(truth) <= place.high
    return {
        "scenario": scenario.name,
        "rounds": rounds,
        "sessions": sessions,
        "median_holds_truth": int(median_holds),
        "planted": [attrs.asdict(counts) for counts in planted],
    }


@attrs.define
class _Counts:
    slowdown: float
    excludes_one: int = 0
    holds_truth: int = 0
    slower: int = 0
    faster: int = 0

    def add(self, ratio: Ratio, verdict: str) -> None:
        assert ratio.low is not None
        assert ratio.high is not None
        self.excludes_one += not ratio.low <= 1 <= ratio.high
        self.holds_truth += ratio.low <= 1 / (1 + self.slowdown) <= ratio.high
        self.slower += verdict == "slower"
        self.faster += verdict == "faster"


def _by_round(values: np.ndarray) -> dict[int, np.ndarray]:
    return dict(enumerate(values))


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """False alarms, coverage and power at the number of rounds of a published table."""
    limits = {s["name"] for s in record["parameters"]["scenarios"] if s["limit"]}
    at_ten = [case for case in record["outcome"] if case["rounds"] == PUBLISHED_ROUNDS]
    found: list[Row] = []
    for case in at_ten:
        found.extend(_scenario_rows(case, case["scenario"] in limits))
    return found


def _scenario_rows(case: Record, limit: bool) -> list[Row]:
    total, name = case["sessions"], case["scenario"]
    made = f"{total:,} simulated sessions of {case['rounds']} rounds, scenario “{name}”"
    same, ten = case["planted"][0], case["planted"][SLOWDOWNS.index(0.10)]

    def row(bar: str, count: int, low: float, high: float) -> Row:
        required = (
            "informs: beyond the bar" if limit else f"{low:.0%}–{high:.0%}".replace("%", " %")
        )
        met = None if limit else low <= count / total <= high
        return Row(bar, required, rate(count, total), met, made)

    declared = same["slower"] + same["faster"]
    return [
        row("False alarms of the interval: it excludes 1", same["excludes_one"], 0.03, 0.06),
        Row(
            "False alarms of the whole rule: a difference is declared",
            "informs: at most as many",
            rate(declared, total),
            None,
            made,
        ),
        row("Coverage of the ratio's 95 % interval", same["holds_truth"], 0.93, 0.97),
        row("Coverage of the median's 95 % interval", case["median_holds_truth"], 0.93, 0.97),
        Row(
            "Power: a planted slowdown of 10 % is declared",
            "informs",
            rate(ten["slower"], total),
            None,
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows) of further tables: scenarios, all rounds, the power curve."""
    parameters = record["parameters"]
    scenarios = [
        [s["name"], s["meaning"] + (" (beyond the bars: where trust ends)" if s["limit"] else "")]
        for s in parameters["scenarios"]
    ]
    header = ["scenario", "rounds", "interval excludes 1", "declared", "ratio held", "median held"]
    by_rounds, power = [], []
    for case in record["outcome"]:
        total, same = case["sessions"], case["planted"][0]
        counts = (
            same["excludes_one"],
            same["slower"] + same["faster"],
            same["holds_truth"],
            case["median_holds_truth"],
        )
        place = [case["scenario"], str(case["rounds"])]
        by_rounds.append([*place, *(rate(count, total) for count in counts)])
        power.append([*place, *(rate(p["slower"], total) for p in case["planted"][1:])])
    planted = [f"{p:.0%} slower".replace("%", " %") for p in parameters["slowdowns"][1:]]
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
            ["scenario", "rounds", *planted],
            power,
        ),
    ]


def _model(parameters: Record) -> str:
    return (
        "Model: seconds of a block = 0.1 s × process effect (lognormal, "
        f"{parameters['process_sd']:.0%}) × block noise (lognormal, "
        f"{parameters['block_sd']:.0%}) × drift × bursts; "
        f"{parameters['blocks_per_process']} blocks a process, taken in turns with the other "
        "processes of the round; their median is the sample, and a round's ratio that of all pairs "
        "of blocks; "
        f"{len(ENTRIES)} entries a round ({', '.join(ENTRIES)}), order rotated by one place each "
        "round. Truth of the ratio: the planted one. Truth of the median: that of the processes "
        "which might have been started at any moment of the session, under its own drift."
    ).replace("%", " %")


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Power curves and coverage, as (what is seen, file)."""
    return [
        ("Power of the whole rule", figures.power(record, folder / "power.png")),
        ("Coverage of the timing intervals", figures.coverage(record, folder / "coverage.png")),
    ]
