"""Families of speed comparisons: how often Holm's correction lets a false difference pass.

Nothing is planted: all entries of the simulated sessions are equally fast. Tested are
compare_speeds and holm of bench.stats, without the noise floor that a verdict must also exceed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.stats.multiple import ALPHA, holm
from bench.stats.timing import compare_speeds
from experiments.calibration import machine
from experiments.calibration.common import head, rate
from experiments.record import Record, Row

NAME = "speed_families"
SEED = 20241
SESSIONS = 2000
FAMILY, ROUNDS = 9, 10
SCENARIO = "everything"


def run(quick: bool) -> dict[str, Any]:
    """Sessions of one scenario; ``quick``: 40 of them."""
    sessions = 40 if quick else SESSIONS
    parameters = {"sessions": sessions, "family": FAMILY, "rounds": ROUNDS, "scenario": SCENARIO}
    families = list(_families(np.random.default_rng(SEED), sessions))
    counts = {
        "holm": sum(min(p or 0.0 for p in holm(family)) < ALPHA for family in families),
        "uncorrected": sum(min(family) < ALPHA for family in families),
    }
    return {**head(NAME, quick, SEED, parameters, ("numpy", "scipy")), "outcome": counts}


def _families(rng: np.random.Generator, sessions: int) -> Iterator[list[float]]:
    """The p values of each session."""
    (scenario,) = (s for s in machine.SCENARIOS if s.name == SCENARIO)
    logs, _ = machine.draw(scenario, (sessions, ROUNDS, FAMILY + 1), rng)
    for session in np.exp(logs):
        entries = [dict(enumerate(rounds)) for rounds in session.swapaxes(0, 1)]
        ratios = [compare_speeds(variant, entries[0]) for variant in entries[1:]]
        yield [float(r.p_value) for r in ratios if r is not None and r.p_value is not None]


def rows(record: Record) -> list[Row]:
    """With the correction, and without for comparison."""
    total = record["parameters"]["sessions"]
    made = f"{total:,} simulated sessions of {ROUNDS} rounds, scenario “{SCENARIO}”"
    found = []
    for test, judged in (("holm", True), ("uncorrected", False)):
        count = record["outcome"][test]
        found.append(
            Row(
                f"False alarms: {FAMILY} speeds against one baseline, {test.capitalize()}",
                "at most 5 %" if judged else "informs",
                rate(count, total),
                count / total <= ALPHA if judged else None,
                made,
            )
        )
    return found
