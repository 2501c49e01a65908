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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from experiments.faults.common import (
    bench,
    complete_records,
    head,
    outcome,
    unfinished,
    without_traceback,
)
from experiments.record import Record, Row, trace

NAME = "disk"
SEED = 21
ROUNDS = 20
COMMAND = (
    "run", "--no-timing", "--tune", "off", "--save-history", "--epochs", "2", "--batch-size", "16",
    "--image-size", "32", "--synthetic-images", "60", "--num-workers", "0", "--variants",
)  # fmt: skip
VARIANTS = "MobileNetV3_Small,ResNet18_Hybrid,EfficientNet_Lite0_CA"
QUICK = "MobileNetV3_Small,EfficientNet_Lite0_CA"
PAGE = 4096
ENOUGH_MB = 2000
WATCH_S = 0.02


def run(quick: bool) -> dict[str, Any]:
    """Fill the disk and go on; ``quick``: two variants, one round."""
    rounds = 1 if quick else ROUNDS
    command = [*COMMAND, QUICK if quick else VARIANTS]
    record = head(NAME, quick, SEED, {"command": " ".join(command), "rounds": rounds})
    chance = random.Random(SEED)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="paddy-bench-disk-") as name:
        folder = Path(name)
        cache = folder / "cache"
        with _disk(folder, ENOUGH_MB * 1_000_000) as results:
            most = [0]
            ended = bench(
                command, folder, cache=cache, during=lambda p: _watch(p, folder, results, {}, most)
            )
            expected = outcome(folder)
            if ended.code or not expected:
                raise BenchError(f"the undisturbed sweep failed: {ended.last_line}")
        trace(f"undisturbed: at most {most[0] / 1e6:.0f} MB")
        for number in range(rounds):
            share = 0.95 if quick else chance.random()
            size = round(share * most[0] / PAGE) * PAGE
            outcomes.append(_round(command, folder, cache, size, expected))
            trace(f"round {number + 1} of {rounds}: {outcomes[-1]}")
    return {**record, "most_bytes": most[0], "outcome": outcomes}


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Path]:
    """``folder/results`` as a file system of its own, of so many bytes."""
    results = folder / "results"
    results.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(results))
    try:
        yield results
    finally:
        subprocess.run(["umount", str(results)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"needs the right to mount a tmpfs (root): {done.stderr.strip()}")


def _watch(
    process: Any, folder: Path, results: Path, complete: dict[str, str], most: list[int]
) -> None:
    """Note what is complete and how much is used, for as long as the process runs."""
    while process.poll() is None:
        complete.update(complete_records(folder))
        most[0] = max(most[0], shutil.disk_usage(results).used)
        time.sleep(WATCH_S)


def _shrink(process: Any, folder: Path, results: Path, complete: dict[str, str], size: int) -> None:
    while process.poll() is None and not any(results.glob("sweep-*.json")):
        time.sleep(WATCH_S)
    # What is there already stays there.
    _mount("-o", f"remount,size={max(size, shutil.disk_usage(results).used)}", str(results))
    _watch(process, folder, results, complete, [0])


def _round(
    command: list[str], folder: Path, cache: Path, size: int, expected: dict[str, Any]
) -> dict[str, Any]:
    with _disk(folder, ENOUGH_MB * 1_000_000) as results:
        complete: dict[str, str] = {}
        ended = bench(
            command, folder, cache=cache,
            during=lambda p: _shrink(p, folder, results, complete, size),
        )  # fmt: skip
        after = complete_records(folder)
        lost = [name for name, text in complete.items() if after.get(name) != text]
        _mount("-o", f"remount,size={ENOUGH_MB * 1_000_000}", str(results))
        again = unfinished(folder)
        then = bench([*command, "--resume"] if again else command, folder, cache=cache)
        return {
            "bytes": size,
            "code": ended.code,
            "said": _said(ended.err + ended.out),
            "traceback": not without_traceback(ended),
            "complete_before": len(complete),
            "lost": lost,
            "resumed": again,
            "code_then": then.code,
            "same": outcome(folder) == expected,
        }


def _said(text: str) -> str:
    lines = [line for line in text.splitlines() if "No space left" in line or "error:" in line]
    return lines[0][:160] if lines else ""


def rows(record: Record) -> list[Row]:
    """Records lost, clear words, and whether it could be gone on with."""
    rounds = record["outcome"]
    total = len(rounds)
    before = sum(one["complete_before"] for one in rounds)
    kept = sum(not one["lost"] for one in rounds)
    clear = sum(bool(one["said"]) and not one["traceback"] and one["code"] > 0 for one in rounds)
    same = sum(one["same"] and one["code_then"] == 0 for one in rounds)
    made = (
        f"{record['parameters']['command']}; it needs up to {record['most_bytes'] / 1e6:.0f} MB, "
        f"sizes from {min(one['bytes'] for one in rounds) / 1e6:.1f} to "
        f"{max(one['bytes'] for one in rounds) / 1e6:.1f} MB"
    )
    return [
        Row(
            "Full disks after which every record that was complete before is complete and readable",
            f"{total} of {total}",
            f"{kept} of {total} ({before} records)",
            kept == total and before > 0,
            made,
        ),
        Row(
            "Full disks that the sweep told of in a line, without a traceback",
            f"{total} of {total}",
            f"{clear} of {total}",
            clear == total,
            made,
        ),
        Row(
            "Sweeps that went on, once there was room, to the undisturbed outcome",
            f"{total} of {total}",
            f"{same} of {total}",
            same == total,
            made,
        ),
    ]


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every round."""
    cells = [
        [
            f"{one['bytes'] / 1e6:.2f}",
            str(one["code"]),
            str(one["complete_before"]),
            str(len(one["lost"])),
            one["said"],
        ]
        for one in sorted(record["outcome"], key=lambda one: one["bytes"])
    ]
    header = ["room, MB", "exit code", "complete records before", "lost", "said"]
    return [("Every round, by the room that there was.", header, cells)]
