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
from typing import Any

from bench.errors import BenchError
from experiments.faults.common import bench, head, left_over, outcome, unfinished
from experiments.record import Record, Row, trace

NAME = "kills"
SEED = 20
ROUNDS = 20
MOST_KILLS = 3
COMMAND = ("run", "--preset", "smoke", "--no-timing", "--tune", "off", "--variants")
VARIANTS = "MobileNetV3_Small,EfficientNetV2_S_BoTLinear,ResNet18_Hybrid"
QUICK_VARIANTS = "MobileNetV3_Small,ResNet18_Hybrid"
QUICK = ("--epochs", "2", "--synthetic-images", "60", "--image-size", "32")
# Whatever does not end after so many goings-on never will.
MOST_RESUMES = 3


def run(quick: bool) -> dict[str, Any]:
    """Kill and go on; ``quick``: two variants, two epochs, two rounds."""
    rounds = 2 if quick else ROUNDS
    command = [*COMMAND, QUICK_VARIANTS if quick else VARIANTS]
    command += QUICK if quick else ()
    record = head(NAME, quick, SEED, {"command": " ".join(command), "rounds": rounds})
    chance = random.Random(SEED)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="paddy-bench-kills-") as name:
        folder = Path(name)
        cache = folder / "cache"
        whole = _new(folder, "whole")
        # The second one finds what the first has left in the cache, as the killed ones do.
        bench(command, _new(folder, "first"), cache=cache)
        undisturbed = bench(command, whole, cache=cache)
        expected = outcome(whole)
        if undisturbed.code or not expected:
            raise BenchError(f"the undisturbed sweep failed: {undisturbed.last_line}")
        trace(f"undisturbed: {undisturbed.seconds:.0f} s, {len(expected)} complete runs")
        for number in range(rounds):
            one = _new(folder, f"round-{number}")
            outcomes.append(_round(command, one, cache, undisturbed.seconds, chance, expected))
            trace(f"round {number + 1} of {rounds}: {outcomes[-1]}")
    return {
        **record,
        "undisturbed_s": undisturbed.seconds,
        "undisturbed_runs": len(expected),
        "outcome": outcomes,
    }


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _round(
    command: list[str],
    folder: Path,
    cache: Path,
    seconds: float,
    chance: random.Random,
    expected: dict[str, Any],
) -> dict[str, Any]:
    kills = []
    for _ in range(chance.randint(1, MOST_KILLS)):
        moment = chance.uniform(0.0, seconds)
        again = unfinished(folder)
        if outcome(folder).keys() == expected.keys():
            break
        ended = bench(
            [*command, "--resume"] if again else command, folder, cache=cache, kill_after=moment
        )
        kills.append(
            {
                "after_s": moment,
                "killed": ended.code == -9,
                "resumed": again,
                "last_line": ended.last_line[:120],
            }
        )
    codes = []
    while len(codes) < MOST_RESUMES and (not codes or unfinished(folder)):
        if codes == [] and not unfinished(folder) and outcome(folder):
            break  # the last one had ended before its kill
        again = unfinished(folder)
        ended = bench([*command, "--resume"] if again else command, folder, cache=cache)
        codes.append(ended.code)
    found = outcome(folder)
    return {
        "kills": kills,
        "codes": codes,
        "runs": len(found),
        "records": len(list(folder.glob("results/*/run.json"))),
        "same": found == expected,
        "left_over": left_over(folder),
    }


def rows(record: Record) -> list[Row]:
    """Rounds that ended as the undisturbed sweep; records too many or too few; left-overs."""
    rounds = record["outcome"]
    same = sum(one["same"] for one in rounds)
    runs = record["undisturbed_runs"]
    right = sum(one["runs"] == one["records"] == runs for one in rounds)
    clean = sum(not one["left_over"] for one in rounds)
    kills = [kill for one in rounds for kill in one["kills"] if kill["killed"]]
    made = (
        f"{record['parameters']['command']}; {len(kills)} kills, "
        f"{sum(kill['resumed'] for kill in kills)} of them of a sweep that was gone on with"
    )
    total = len(rounds)
    return [
        Row(
            "Killed sweeps with the history, metrics and predictions of the undisturbed one",
            f"{total} of {total}",
            f"{same} of {total}",
            same == total,
            made,
        ),
        Row(
            f"Killed sweeps with exactly {runs} records",
            f"{total} of {total}",
            f"{right} of {total}",
            right == total,
            made,
        ),
        Row(
            "Killed sweeps that left no other file in the results folder",
            "informs",
            f"{clean} of {total}",
            None,
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every kill."""
    cells = [
        [
            str(number),
            f"{kill['after_s']:.1f}",
            "yes" if kill["killed"] else "no, it had ended",
            "yes" if kill["resumed"] else "no",
            kill["last_line"],
        ]
        for number, one in enumerate(record["outcome"], 1)
        for kill in one["kills"]
    ]
    header = ["round", "after, s", "killed", "a sweep that was gone on with", "had said last"]
    caption = f"Every kill; undisturbed the sweep takes {record['undisturbed_s']:.0f} s."
    return [(caption, header, cells)]
