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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from experiments.commands import Ended, children_of, every, run_bench
from experiments.faults.common import complete_records, left_over, outcome
from experiments.pictures import pictures
from experiments.rows import Row
from experiments.suite import Json, Record, trace

OPTIONS = (
    "--no-timing --tune off --epochs 3 --batch-size 8 --image-size 64 --no-cache "
    "--variants MobileNetV3_Small,ResNet18_Hybrid"
)
PARAMETERS = {"options": OPTIONS}
QUICK: Json = {}
# The temporary folder's own name says nothing.
_PLACE = re.compile(r"/\S*paddy-bench-starvation-[^/]*/")


def measure(chosen: Record) -> Json:
    """Do each of them; a quick run with fewer pictures."""
    images = 120 if chosen["quick"] else 300
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="paddy-bench-starvation-") as name:
        data = Path(name, "data")
        shutil.copytree(pictures(images), data)
        for case in (_killed_worker, _vanished_images, _read_only, _two_at_once):
            what = (case.__doc__ or "").rstrip(".")
            folder = Path(name, case.__name__)
            folder.mkdir()
            outcomes[what] = case(folder, data)
            trace(f"{what}: {outcomes[what]}")
    return {"images": images, "outcome": outcomes}


def _run(folder: Path, data: Path, workers: int = 0, **how: Any) -> Ended:
    command = ["run", *OPTIONS.split(), "--data-dir", str(data), "--num-workers", str(workers)]
    return run_bench(command, folder, cache=data.with_name("cache"), **how)


def _resumes(folder: Path, data: Path) -> bool:
    """Whether the sweep goes on to its end."""
    then = run_bench(["run", "--resume"], folder, cache=data.with_name("cache"))
    return then.code == 0 and len(outcome(folder)) == 2


def _when_training(folder: Path, act: Callable[[Any], object]) -> Callable[[Any], None]:
    """Act once the first epoch of the sweep is over: its ``last.pt`` tells."""

    def wait(process: Any) -> None:
        every(0.02, lambda process: any(folder.glob("results/*/last.pt")))(process)
        if process.poll() is None:
            act(process)

    return wait


def _killed_worker(folder: Path, data: Path) -> Json:
    """A loader process is killed."""
    killed: list[int] = []

    def kill(process: Any) -> bool:
        for child in children_of(process.pid)[:1]:
            # It may have ended by itself just now: another one comes.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
                killed.append(child)
        return bool(killed)

    ended = _run(folder, data, workers=1, during=_when_training(folder, every(0.01, kill)))
    result = _told(ended, "DataLoader worker")
    return result | {"happened": bool(killed), "went_on": _resumes(folder, data)}


def _vanished_images(folder: Path, data: Path) -> Json:
    """The data folder is gone in the middle of an epoch."""
    away = data.with_name("away")
    vanish = _when_training(folder, lambda process: data.rename(away))
    result = _told(_run(folder, data, during=vanish), "bring it back")
    happened = away.exists()
    if happened:
        away.rename(data)
    return result | {"happened": happened, "went_on": _resumes(folder, data)}


def _read_only(folder: Path, data: Path) -> Json:
    """The results folder cannot be written to."""
    # A file in its place: the owner of everything may write to a read-only folder.
    (folder / "results").write_text("not a folder", "utf8")
    result = _told(_run(folder, data), "results")
    (folder / "results").unlink()
    return result | {"happened": True, "went_on": True}


def _two_at_once(folder: Path, data: Path) -> Json:
    """Two sweeps at once in one results folder."""
    with ThreadPoolExecutor(2) as pool:
        sweeps = list(pool.map(lambda number: _run(folder, data), range(2)))
    records, unwanted = complete_records(folder), left_over(folder)
    return {
        "happened": True,
        "code": max(ended.code for ended in sweeps),
        "traceback": any(ended.traceback for ended in sweeps),
        "said": f"{len(records)} complete records of 4, "
        f"{len(list(folder.glob('results/sweep-*.json')))} sweeps, "
        f"{len(unwanted)} files too many",
        "told": len(records) == 4 and not unwanted,
        "went_on": all(ended.code == 0 for ended in sweeps),
    }


def _told(ended: Ended, words: str) -> Json:
    lines = [line for line in ended.text.splitlines() if words in line]
    return {
        "code": ended.code,
        "traceback": ended.traceback,
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
            f"exit code {case['code']}; “{case['said']}”; "
            f"{'went on to its end' if case['went_on'] else 'DID NOT go on'}",
            case["happened"] and case["told"] and case["went_on"] and not case["traceback"],
            made,
        )
        for what, case in record["outcome"].items()
    ]
