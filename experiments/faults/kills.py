"""A smoke sweep is killed (SIGKILL) at random moments and gone on with until it is done.

Each round has one to three kills, at moments drawn evenly over the time that the undisturbed sweep
takes with its imports. Then history, metrics and every prediction are compared with those of the
undisturbed sweep, bit for bit. Memory formats are measured on most machines and could differ from
sweep to sweep: `--tune off` takes that out of the comparison (a sweep that goes on keeps its own).
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from experiments.commands import run_bench
from experiments.faults.common import left_over, outcome, run_or_resume, undisturbed, unfinished
from experiments.rows import Row, all_row
from experiments.suite import Json, Record, Tables, trace

SEED = 20
MOST_KILLS = 3
COMMAND = "run --preset smoke --no-timing --tune off --variants "
PARAMETERS = {
    "command": COMMAND + "MobileNetV3_Small,EfficientNetV2_S_BoTLinear,ResNet18_Hybrid",
    "rounds": 20,
}
QUICK = {
    "command": COMMAND + "MobileNetV3_Small,ResNet18_Hybrid --epochs 2 --synthetic-images 60 "
    "--image-size 32",
    "rounds": 2,
}
# Whatever does not end after so many goings-on never will.
MOST_RESUMES = 3


def measure(chosen: Record) -> Json:
    """Kill and go on."""
    command = chosen["command"].split()
    chance = random.Random(SEED)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="paddy-bench-kills-") as name:
        cache = Path(name, "cache")

        def new_folder(what: str) -> Path:
            folder = Path(name, what)
            folder.mkdir()
            return folder

        # The second one finds what the first has left in the cache, as the killed ones do.
        run_bench(command, new_folder("first"), cache=cache)
        whole, expected = undisturbed(command, new_folder("whole"), cache=cache)
        trace(f"undisturbed: {whole.seconds:.0f} s, {len(expected)} complete runs")
        for number in range(chosen["rounds"]):
            folder = new_folder(f"round-{number}")
            moments = [
                chance.uniform(0.0, whole.seconds) for _ in range(chance.randint(1, MOST_KILLS))
            ]
            outcomes.append(_round(command, folder, cache, moments, expected))
            trace(f"round {number + 1} of {chosen['rounds']}: {outcomes[-1]}")
    return {
        "undisturbed_s": whole.seconds,
        "undisturbed_runs": len(expected),
        "outcome": outcomes,
    }


def _round(
    command: list[str],
    folder: Path,
    cache: Path,
    moments: list[float],
    expected: Json,
) -> Json:
    kills, codes = [], []
    for moment in moments:
        if outcome(folder).keys() == expected.keys():
            break
        ended, again = run_or_resume(command, folder, cache=cache, kill_after=moment)
        kills.append(
            {
                "after_s": moment,
                "killed": ended.code == -9,
                "resumed": again,
                "last_line": ended.last_line[:120],
            }
        )
    # Where there are runs and no sweep to go on with, the last one had ended before its kill.
    while len(codes) < MOST_RESUMES and (unfinished(folder) or not (codes or outcome(folder))):
        ended, _ = run_or_resume(command, folder, cache=cache)
        codes.append(ended.code)
    runs = outcome(folder)
    return {
        "kills": kills,
        "codes": codes,
        "runs": len(runs),
        "records": len(list(folder.glob("results/*/run.json"))),
        "same": runs == expected,
        "left_over": left_over(folder),
    }


def rows(record: Record) -> list[Row]:
    """Rounds that ended as the undisturbed sweep; records too many or too few; left-overs."""
    rounds, runs = record["outcome"], record["undisturbed_runs"]
    same = sum(each["same"] for each in rounds)
    right = sum(each["runs"] == each["records"] == runs for each in rounds)
    clean = sum(not each["left_over"] for each in rounds)
    kills = [kill for each in rounds for kill in each["kills"] if kill["killed"]]
    made = (
        f"{record['parameters']['command']}; {len(kills)} kills, "
        f"{sum(kill['resumed'] for kill in kills)} of them of a sweep that was gone on with"
    )
    total = len(rounds)
    return [
        all_row(
            "Killed sweeps with the history, metrics and predictions of the undisturbed one",
            same,
            total,
            made,
        ),
        all_row(f"Killed sweeps with exactly {runs} records", right, total, made),
        Row(
            "Killed sweeps that left no other file in the results folder",
            "informs",
            f"{clean} of {total}",
            None,
            made,
        ),
    ]


def details(record: Record) -> Tables:
    """Every kill."""
    cells = [
        [
            str(number),
            f"{kill['after_s']:.1f}",
            "yes" if kill["killed"] else "no, it had ended",
            "yes" if kill["resumed"] else "no",
            kill["last_line"],
        ]
        for number, each in enumerate(record["outcome"], 1)
        for kill in each["kills"]
    ]
    header = ["round", "after, s", "killed", "a sweep that was gone on with", "had said last"]
    caption = f"Every kill; undisturbed the sweep takes {record['undisturbed_s']:.0f} s."
    return [(caption, header, cells)]
