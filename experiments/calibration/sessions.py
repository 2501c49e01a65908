"""Real timing sessions with planted truth: two identical small models, and one with 10 % more work.

Every session is one of the harness's own: fresh processes that take turns, rotated order, A/A
control, the rule of the report. They run one after the other with nothing beside them: on a core of
its own, a process is still slowed by a tenth or more while another starts on the next core. What a
broken-off experiment has done stays in its record, and the next call goes on from there.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.options import build
from bench.models.build import load_plugins
from bench.records import write_json
from bench.stats.multiple import holm
from bench.stats.timing import compare_speeds, declare, noise_floor
from bench.timing.cases import Case
from bench.timing.planner import plan_session
from bench.timing.session import CONTROL, Session
from bench.timing.timer import MOST_BLOCKS as TIMED_BLOCKS
from experiments.calibration.blocks import BLOCKS, EXTRA_BLOCKS
from experiments.calibration.common import head, rate
from experiments.record import Record, Row

NAME = "sessions"
RESUMES = True
PLUGIN = Path(__file__).with_name("planted.py")
NAMES = ("Twin_1", "Twin_2", "Slower")
SESSIONS = 40
ROUNDS = 10
PAIRS = tuple(itertools.combinations(NAMES, 2))
PLANTED = EXTRA_BLOCKS / BLOCKS
CASE = Case(
    device="cpu", clock="model", regime="throughput", image_size=32, batch_size=1, threads=1
)


def run(quick: bool, keep: Path | None = None) -> dict[str, Any]:
    """Run the sessions; ``quick``: one of a single round.

    Args:
        quick: whether this is a trial.
        keep: file of the record so far, written after each session; what it holds of the same
            parameters is not run again.
    """
    sessions, rounds = (1, 1) if quick else (SESSIONS, ROUNDS)
    load_plugins([PLUGIN])
    parameters = {
        "sessions": sessions,
        "rounds": rounds,
        "blocks_per_process": TIMED_BLOCKS,
        "models": {
            "Twin_1 and Twin_2": f"{BLOCKS} equal convolutions",
            "Slower": f"{BLOCKS + EXTRA_BLOCKS} of them",
        },
        "planted_slowdown": PLANTED,
        "threads": 1,
    }
    versions = ("torch", "numpy", "scipy")
    record = {**head(NAME, quick, 0, parameters, versions), "sessions": []}
    if keep is not None and keep.exists():
        known = json.loads(keep.read_text(encoding="utf8"))
        if known["parameters"] == parameters:
            record["sessions"] = known["sessions"]
    for seed in range(len(record["sessions"]), sessions):
        record["sessions"].append(_run_one(seed, rounds))
        verdicts = ", ".join(
            f"{a}: {b}" for a, b in decide(record["sessions"][-1])["verdicts"].items()
        )
        print(f"session {seed + 1} of {sessions}: {verdicts}", file=sys.stderr, flush=True)
        if keep is not None:
            write_json(keep, record)
    return record


def _run_one(seed: int, rounds: int) -> dict[str, Any]:
    values = {"image_size": CASE.image_size, "rounds": rounds, "threads": 1, "seed": seed}
    config = build(values)
    plan = plan_session(NAMES, NAMES[0], [CASE], config, {"cpu": {}})
    timed = Session(plan, config, num_classes=10, plugins=[PLUGIN], images=[]).run()
    entries = {name: timed.timing[name][0] for name in NAMES}
    entries[NAMES[0] + CONTROL] = timed.record["control"]["timing"][0]
    return {
        "seed": seed,
        "seconds": timed.record["seconds"],
        "order": timed.record["order"],
        "others_load": [one["others_load"] for one in entries[NAMES[0]]["rounds"]],
        "block_seconds": {
            name: {one["round"]: one["block_seconds"] for one in entry["rounds"]}
            for name, entry in entries.items()
        },
    }


def decide(session: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict of each pair ("B against A"), as the report gives it, and what it rests on."""
    seconds = {
        name: {int(number): blocks for number, blocks in rounds.items()}
        for name, rounds in session["block_seconds"].items()
    }
    first = seconds[NAMES[0]]
    floor = noise_floor(compare_speeds(seconds[NAMES[0] + CONTROL], first))
    ratios = [compare_speeds(seconds[b], seconds[a]) for a, b in PAIRS]
    adjusted = holm([None if ratio is None else ratio.p_value for ratio in ratios])
    verdicts = {
        f"{b} against {a}": declare(ratio, floor, p)
        for (a, b), ratio, p in zip(PAIRS, ratios, adjusted, strict=True)
    }
    return {"floor": floor, "ratios": ratios, "verdicts": verdicts}


def rows(record: Record) -> list[Row]:
    """False alarms between the twins, and how often the planted slowdown was declared."""
    decided = [decide(session) for session in record["sessions"]]
    total = len(decided)
    alarms = sum(d["verdicts"]["Twin_2 against Twin_1"] in ("faster", "slower") for d in decided)
    alone = sum(
        d["ratios"][0].p_value is not None and d["ratios"][0].p_value < 0.05 for d in decided
    )
    found = sum(d["verdicts"]["Slower against Twin_1"] == "slower" for d in decided)
    made = (
        f"{total} real sessions, {record['parameters']['rounds']} rounds, fresh processes, "
        "1 thread, one session at a time"
    )
    planted_text = f"planted slowdown of {100 * PLANTED:.0f} % (22 equal blocks instead of 20)"
    return [
        Row(
            "two identical models: one is declared faster",
            f"at most 2 of {SESSIONS}",
            rate(alarms, total),
            alarms <= 2 * total / SESSIONS,
            made,
        ),
        Row(
            "two identical models: the interval alone excludes 1",
            "informs (5 % expected)",
            rate(alone, total),
            None,
            made,
        ),
        Row(
            f"{planted_text} is declared",
            f"at least 38 of {SESSIONS}",
            rate(found, total),
            found >= 38 * total / SESSIONS,
            made,
        ),
    ]
