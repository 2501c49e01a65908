"""Families of speed comparisons: how often Holm's correction lets a false difference pass.

Nothing is planted: all entries of the simulated sessions are equally fast. Tested are
compare_speeds and holm of bench.stats, without the noise floor that a verdict must also exceed.
"""

from __future__ import annotations

import numpy as np

from bench.stats.multiple import ALPHA, holm
from bench.stats.timing import compare_speeds
from experiments.calibration import machine
from experiments.rows import Row, rate_row
from experiments.suite import Json, Record

SEED = 20241
FAMILY, ROUNDS = 9, 10
SCENARIO = "everything"
PARAMETERS = {"sessions": 2000, "family": FAMILY, "rounds": ROUNDS, "scenario": SCENARIO}
QUICK = {"sessions": 40}


def measure(chosen: Record) -> Json:
    """Simulate sessions of one scenario."""
    (scenario,) = (each for each in machine.SCENARIOS if each.name == SCENARIO)
    shape = (chosen["sessions"], ROUNDS, FAMILY + 1)
    logs, _ = machine.draw(scenario, shape, np.random.default_rng(SEED))
    counts = {"holm": 0, "uncorrected": 0}
    for session in np.exp(logs):
        baseline, *entries = (dict(enumerate(rounds)) for rounds in session.swapaxes(0, 1))
        p_values = [compare_speeds(entry, baseline).p_value for entry in entries]
        counts["holm"] += min(holm(p_values)) < ALPHA
        counts["uncorrected"] += min(p_values) < ALPHA
    return {"outcome": counts}


def rows(record: Record) -> list[Row]:
    """With the correction, and without for comparison."""
    total = record["parameters"]["sessions"]
    made = f"{total:,} simulated sessions of {ROUNDS} rounds, scenario “{SCENARIO}”"
    return [
        rate_row(
            f"False alarms: {FAMILY} speeds against one baseline, {test.capitalize()}",
            record["outcome"][test],
            total,
            made,
            most=most,
        )
        for test, most in (("holm", ALPHA), ("uncorrected", None))
    ]
