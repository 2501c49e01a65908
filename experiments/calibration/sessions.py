"""Real timing sessions with planted truth: two identical small models, and one with 10 % more work.

Every session is one of the harness's own: fresh processes that take turns, rotated order, A/A
control, the rule of the report. They run one after the other with nothing beside them: on a core of
its own, a process is still slowed by a tenth or more while another starts on the next core. What a
broken-off experiment has done stays in its record, and the next call goes on from there.
"""

from __future__ import annotations

from pathlib import Path

from bench.models.build import load_plugins
from bench.stats.multiple import ALPHA
from bench.timing.timer import MOST_BLOCKS as TIMED_BLOCKS
from experiments.calibration.timed import (
    BLOCKS,
    EXTRA_BLOCKS,
    blocks_of,
    judge,
    model_case,
    run_session,
)
from experiments.rows import Row, rate, rate_row
from experiments.suite import Json, Part, Record, trace

RESUMES = True
SEED = 0
PACKAGES = ("torch", "numpy", "scipy")
PLUGIN = Path(__file__).with_name("planted.py")
NAMES = ("Twin_1", "Twin_2", "Slower")
# The first of each against the second.
PAIRS = [("Twin_2", "Twin_1"), ("Slower", "Twin_1"), ("Slower", "Twin_2")]
PLANTED = EXTRA_BLOCKS / BLOCKS
SESSIONS = 40
PARAMETERS = {
    "sessions": SESSIONS,
    "rounds": 10,
    "blocks_per_process": TIMED_BLOCKS,
    "models": {
        "Twin_1 and Twin_2": f"{BLOCKS} equal convolutions",
        "Slower": f"{BLOCKS + EXTRA_BLOCKS} of them",
    },
    "planted_slowdown": PLANTED,
    "threads": 1,
}
QUICK = {"sessions": 1, "rounds": 1}
CASE = model_case("throughput", image_size=32, batch_size=1, threads=1)


def measure(chosen: Record, part: Part) -> Json:
    """Run the sessions that are not done yet."""
    load_plugins([PLUGIN])
    sessions = part.done.get("sessions", [])
    for seed in range(len(sessions), chosen["sessions"]):
        sessions.append(_run_one(seed, chosen["rounds"]))
        verdicts, _, _ = judge(sessions[-1]["block_seconds"], NAMES[0], PAIRS)
        said = ", ".join(f"{a} against {b}: {verdict}" for (a, b), verdict in verdicts.items())
        trace(f"session {seed + 1} of {chosen['sessions']}: {said}")
        part.add("sessions", sessions)
    return {"sessions": sessions}


def _run_one(seed: int, rounds: int) -> Json:
    values = {"image_size": CASE.image_size, "rounds": rounds, "threads": 1, "seed": seed}
    timed, entries = run_session(NAMES, NAMES[0], [CASE], values, plugins=[PLUGIN])
    return {
        "seed": seed,
        "seconds": timed.record["seconds"],
        "order": timed.record["order"],
        "others_load": [each["others_load"] for each in entries[NAMES[0]][0]["rounds"]],
        "block_seconds": {name: blocks_of(entry) for name, (entry,) in entries.items()},
    }


def rows(record: Record) -> list[Row]:
    """False alarms between the twins, and how often the planted slowdown was declared."""
    total = len(record["sessions"])
    alarms = alone = declared = 0
    twins, slower, _ = PAIRS
    for session in record["sessions"]:
        verdicts, ratios, _ = judge(session["block_seconds"], NAMES[0], PAIRS)
        p_value = ratios[twins].p_value
        alarms += verdicts[twins] in ("faster", "slower")
        alone += p_value is not None and p_value < ALPHA
        declared += verdicts[slower] == "slower"
    made = (
        f"{total} real sessions, {record['parameters']['rounds']} rounds, fresh processes, "
        "1 thread, one session at a time"
    )
    return [
        Row(
            "two identical models: one is declared faster",
            f"at most 2 of {SESSIONS}",
            rate(alarms, total),
            alarms <= 2 * total / SESSIONS,
            made,
        ),
        rate_row(
            "two identical models: the interval alone excludes 1",
            alone,
            total,
            made,
            informs="informs (5 % expected)",
        ),
        Row(
            f"planted slowdown of {100 * PLANTED:.0f} % (22 equal blocks instead of 20) "
            "is declared",
            f"at least 38 of {SESSIONS}",
            rate(declared, total),
            declared >= 38 * total / SESSIONS,
            made,
        ),
    ]
