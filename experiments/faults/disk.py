"""The disk that holds the results is full at random points of a sweep.

The results folder is a file system in memory (tmpfs). Once the sweep has checked that there is room
enough and has begun, it shrinks to a size drawn between nothing and what the undisturbed sweep
needs at most: the write that no longer fits is another one each time. Every record that was
complete at any moment before must be complete and readable after. Then the file system grows again
and the sweep goes on; its outcome is compared with the undisturbed one's.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from experiments.commands import every, run_bench
from experiments.faults.common import complete_records, outcome, run_or_resume, undisturbed
from experiments.rows import Row, all_row
from experiments.suite import Json, Record, Tables, trace

SEED = 21
COMMAND = (
    "run --no-timing --tune off --save-history --epochs 2 --batch-size 16 --image-size 32 "
    "--synthetic-images 60 --num-workers 0 --variants "
)
PARAMETERS = {
    "command": COMMAND + "MobileNetV3_Small,ResNet18_Hybrid,EfficientNet_Lite0_CA",
    "rounds": 20,
}
QUICK = {"command": COMMAND + "MobileNetV3_Small,EfficientNet_Lite0_CA", "rounds": 1}
PAGE = 4096
ENOUGH = 2_000_000_000
WATCH_S = 0.02


def measure(chosen: Record) -> Json:
    """Fill the disk and go on."""
    command = chosen["command"].split()
    chance = random.Random(SEED)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="paddy-bench-disk-") as name:
        folder = Path(name)
        cache = folder / "cache"
        with _disk(folder) as results:
            used = [0]
            note = every(WATCH_S, lambda process: used.append(shutil.disk_usage(results).used))
            _, expected = undisturbed(command, folder, cache=cache, during=note)
        most = max(used)
        trace(f"undisturbed: at most {most / 1e6:.0f} MB")
        for number in range(chosen["rounds"]):
            share = 0.95 if chosen["quick"] else chance.random()
            size = round(share * most / PAGE) * PAGE
            outcomes.append(_round(command, folder, size, expected))
            trace(f"round {number + 1} of {chosen['rounds']}: {outcomes[-1]}")
    return {"most_bytes": most, "outcome": outcomes}


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """``folder/results`` as a file system of its own."""
    results = folder / "results"
    results.mkdir(exist_ok=True)
    _mount(f"size={ENOUGH}", results, "-t", "tmpfs", "tmpfs")
    try:
        yield results
    finally:
        subprocess.run(["umount", str(results)], check=True)


def _mount(options: str, results: Path, *arguments: str) -> None:
    command = ["mount", "-o", options, *arguments, str(results)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"needs the right to mount a tmpfs (root): {done.stderr.strip()}")


def _round(command: list[str], folder: Path, size: int, expected: Json) -> Json:
    cache, complete = folder / "cache", {}
    with _disk(folder) as results:

        def shrink(process: Any) -> None:
            every(WATCH_S, lambda process: any(results.glob("sweep-*.json")))(process)
            # What is there already stays there.
            room = max(size, shutil.disk_usage(results).used)
            _mount(f"remount,size={room}", results)
            every(WATCH_S, lambda process: complete.update(complete_records(folder)))(process)

        ended = run_bench(command, folder, cache=cache, during=shrink)
        after = complete_records(folder)
        _mount(f"remount,size={ENOUGH}", results)
        then, again = run_or_resume(command, folder, cache=cache)
        said = [
            line for line in ended.text.splitlines() if "No space left" in line or "error:" in line
        ]
        return {
            "bytes": size,
            "code": ended.code,
            "said": said[0][:160] if said else "",
            "traceback": ended.traceback,
            "complete_before": len(complete),
            "lost": [name for name, text in complete.items() if after.get(name) != text],
            "resumed": again,
            "code_then": then.code,
            "same": outcome(folder) == expected,
        }


def rows(record: Record) -> list[Row]:
    """Records lost, clear words, and whether it could be gone on with."""
    rounds = record["outcome"]
    before = sum(each["complete_before"] for each in rounds)
    intact = sum(not each["lost"] for each in rounds)
    clear = sum(
        bool(each["said"]) and not each["traceback"] and each["code"] > 0 for each in rounds
    )
    same = sum(each["same"] and each["code_then"] == 0 for each in rounds)
    sizes = [each["bytes"] / 1e6 for each in rounds]
    made = (
        f"{record['parameters']['command']}; it needs up to {record['most_bytes'] / 1e6:.0f} MB, "
        f"sizes from {min(sizes):.1f} to {max(sizes):.1f} MB"
    )
    return [
        all_row(
            "Full disks after which every record that was complete before is complete and readable",
            intact,
            len(rounds),
            made,
            note=f" ({before} records)",
            met=before > 0,
        ),
        all_row(
            "Full disks that the sweep told of in a line, without a traceback",
            clear,
            len(rounds),
            made,
        ),
        all_row(
            "Sweeps that went on, once there was room, to the undisturbed outcome",
            same,
            len(rounds),
            made,
        ),
    ]


def details(record: Record) -> Tables:
    """Every round."""
    cells = [
        [
            f"{each['bytes'] / 1e6:.2f}",
            str(each["code"]),
            str(each["complete_before"]),
            str(len(each["lost"])),
            each["said"],
        ]
        for each in sorted(record["outcome"], key=lambda each: each["bytes"])
    ]
    header = ["room, MB", "exit code", "complete records before", "lost", "said"]
    return [("Every round, by the room that there was.", header, cells)]
