"""A killed loader process, images that vanish in the middle of a training, a results folder that
cannot be written to (a file is in its place), and two sweeps at once in one folder.

Pictures are drawn by the harness and read from the files (`--no-cache`), so that the loaders have
something to lose.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.faults.common import (
    Ended,
    bench,
    complete_records,
    head,
    left_over,
    outcome,
    without_traceback,
)
from experiments.record import Record, Row, trace
from experiments.speed.commands import children_of
from experiments.speed.pictures import pictures

NAME = "starvation"
VARIANTS = "MobileNetV3_Small,ResNet18_Hybrid"
IMAGES = 300
OPTIONS = (
    "--no-timing", "--tune", "off", "--epochs", "3", "--batch-size", "8", "--image-size", "64",
    "--no-cache", "--variants", VARIANTS,
)  # fmt: skip


def run(quick: bool) -> dict[str, Any]:
    """Do each of them; ``quick``: with fewer pictures."""
    record = head(NAME, quick, None, {"options": " ".join(OPTIONS)})
    images = 120 if quick else IMAGES
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="paddy-bench-starvation-") as name:
        folder = Path(name)
        data = folder / "data"
        shutil.copytree(pictures(images), data)
        for case in (_killed_worker, _vanished_images, _read_only, _two_at_once):
            what = (case.__doc__ or "").rstrip(".")
            place = folder / case.__name__
            place.mkdir()
            outcomes[what] = case(place, data, folder / "cache")
            trace(f"{what}: {outcomes[what]}")
    return {**record, "images": images, "outcome": outcomes}


# The temporary folder's own name says nothing.
_PLACE = re.compile(r"/\S*paddy-bench-starvation-[^/]*/")


def _command(data: Path, workers: int) -> list[str]:
    return ["run", *OPTIONS, "--data-dir", str(data), "--num-workers", str(workers)]


def _when_training(folder: Path, act: Callable[[], object]) -> Callable[[Any], None]:
    """Act once the first epoch of the sweep is over: its ``last.pt`` tells."""

    def wait(process: Any) -> None:
        while process.poll() is None:
            if any(folder.glob("results/*/last.pt")):
                act()
                return
            time.sleep(0.02)

    return wait


def _killed_worker(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """A loader process is killed."""
    killed: list[int] = []

    def during(process: Any) -> None:
        def kill() -> None:
            while process.poll() is None and not killed:
                for child in children_of(process.pid)[:1]:
                    # It may have ended by itself just now: another one comes.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        killed.append(child)
                time.sleep(0.01)

        _when_training(folder, kill)(process)

    ended = bench(_command(data, 1), folder, cache=cache, during=during)
    then = bench(["run", "--resume"], folder, cache=cache)
    return {
        **_told(ended, "DataLoader worker"),
        "happened": bool(killed),
        "went_on": then.code == 0 and len(outcome(folder)) == 2,
    }


def _vanished_images(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """The data folder is gone in the middle of an epoch."""
    away = data.with_name("away")
    ended = bench(
        _command(data, 0), folder, cache=cache,
        during=_when_training(folder, lambda: data.rename(away)),
    )  # fmt: skip
    happened = away.exists()
    if happened:
        away.rename(data)
    then = bench(["run", "--resume"], folder, cache=cache)
    return {
        **_told(ended, "bring it back"),
        "happened": happened,
        "went_on": then.code == 0 and len(outcome(folder)) == 2,
    }


def _read_only(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """The results folder cannot be written to."""
    # A file in its place: the owner of everything may write to a read-only folder.
    (folder / "results").write_text("not a folder", "utf8")
    ended = bench(_command(data, 0), folder, cache=cache)
    (folder / "results").unlink()
    return {**_told(ended, "results"), "happened": True, "went_on": True}


def _two_at_once(folder: Path, data: Path, cache: Path) -> dict[str, Any]:
    """Two sweeps at once in one results folder."""
    ended: list[Ended] = []

    def sweep() -> None:
        ended.append(bench(_command(data, 0), folder, cache=cache))

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = complete_records(folder)
    return {
        "happened": True,
        "code": max(one.code for one in ended),
        "traceback": not all(map(without_traceback, ended)),
        "said": f"{len(records)} complete records of 4, "
        f"{len(list(folder.glob('results/sweep-*.json')))} sweeps, "
        f"{len(left_over(folder))} files too many",
        "told": len(records) == 4 and not left_over(folder),
        "went_on": all(one.code == 0 for one in ended),
    }


def _told(ended: Ended, words: str) -> dict[str, Any]:
    lines = [line for line in (ended.err + ended.out).splitlines() if words in line]
    return {
        "code": ended.code,
        "traceback": not without_traceback(ended),
        "said": _PLACE.sub("", lines[0] if lines else ended.last_line)[:240],
        "told": bool(lines) and ended.code > 0,
    }


def rows(record: Record) -> list[Row]:
    """One row for each fault."""
    made = f"{record['images']} pictures; run {record['parameters']['options']}"
    return [
        Row(
            what,
            "told in a line, nothing lost, it goes on",
            f"exit code {one['code']}; “{one['said']}”; "
            f"{'went on to its end' if one['went_on'] else 'DID NOT go on'}",
            one["happened"] and one["told"] and one["went_on"] and not one["traceback"],
            made,
        )
        for what, one in record["outcome"].items()
    ]
