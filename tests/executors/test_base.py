"""Tasks that are sent and come home: 10,000 of them, to 1,000 workers that fail."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from bench.executors import base
from bench.executors.base import gather, token_in
from bench.executors.task import TaskResult
from bench.runner.executor import Job
from bench.system.signals import StopRequest, TrainingInterrupted


@attrs.frozen(eq=False)
class One:
    """Stands for a run, its sweep, options and variant."""

    number: int
    results_dir: Path = Path("results")
    gather: None = None

    @property
    def sweep(self) -> One:
        return self

    resolved = config = sweep


class Workers:
    """So many workers, by a clock of their own; some tasks are lost, some fail.

    Args:
        lost: share of tasks whose worker does not come back.
    """

    def __init__(self, lost: float = 0.0, seed: int = 0) -> None:
        self.lost, self.random = lost, random.Random(seed)
        self.running: dict[int, float] = {}
        self.sent: list[int] = []
        self.most = 0
        self.stopped: int | None = None
        self.cancelled: list[int] = []
        self.now = 0.0

    def submit(self, task: Any) -> int:
        self.sent.append(task.number)
        self.running[task.number] = self.now + self.random.uniform(1, 10)
        self.most = max(self.most, len(self.running))
        return task.number

    def finished(self, handles: Sequence[int], seconds: float) -> list[int]:
        assert set(handles) == set(self.running)
        first = sorted(handles, key=self.running.__getitem__)[: max(1, len(handles) // 10)]
        self.now = self.running[first[-1]]
        for handle in first:
            del self.running[handle]
        return first

    def result(self, handle: int) -> list[TaskResult]:
        if self.stopped is not None:
            return []
        if self.random.random() < self.lost:
            raise RuntimeError("the worker died")
        return [TaskResult(f"run-{handle}", {"number": handle, "status": "complete"}, None)]

    def stop(self, number: int) -> None:
        self.stopped = number

    def lines(self) -> list[str]:
        return ["a line"] if self.running else []

    def cancel(self, handles: Sequence[int]) -> None:
        self.cancelled = list(handles)


def jobs(count: int) -> list[Any]:
    chance = random.Random(1)
    return [Job((number,), (One(number),), chance.uniform(1, 100)) for number in range(count)]


def carry_out(count: int, at_once: int, crew: Workers, stopper: StopRequest | None = None):
    sent = jobs(count)
    return gather(
        sent,
        [One(number) for number in range(count)],  # type: ignore[misc]
        crew,
        at_once=at_once,
        stopper=stopper or StopRequest(),
    )


@pytest.fixture(autouse=True)
def lost(monkeypatch) -> None:
    def record_of(one: Any, task: Any, error: Exception):
        return Path("lost"), {"number": one.number, "status": "failed", "error": str(error)}

    monkeypatch.setattr(base, "_lost", record_of)


def test_ten_thousand_tasks_on_a_thousand_workers_none_twice_none_lost() -> None:
    crew = Workers(lost=0.1)
    begin = time.perf_counter()
    found = list(carry_out(10_000, 1000, crew))
    seconds = time.perf_counter() - begin
    assert sorted(number for number, _ in found) == list(range(10_000))
    assert all(number == record["number"] for number, (_, record) in found)
    assert sorted(crew.sent) == list(range(10_000))
    assert crew.most == 1000
    failed = sum(record["status"] == "failed" for _, (_, record) in found)
    assert 800 < failed < 1200
    assert seconds < 10


def test_the_bookkeeping_is_linear() -> None:
    def seconds(count: int) -> float:
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            assert len(list(carry_out(count, 500, Workers(lost=0.05)))) == count
            best = min(best, time.perf_counter() - begin)
        return best

    assert seconds(8000) < 3 * 4 * seconds(2000)


def test_the_longest_are_sent_first() -> None:
    crew = Workers()
    sent = jobs(50)
    list(carry_out(50, 1, crew))
    taken = [sent[number].seconds for number in crew.sent]
    assert taken == sorted(taken, reverse=True)


def test_a_signal_stops_what_runs_and_sends_nothing_more() -> None:
    crew, stopper = Workers(), StopRequest()
    found = carry_out(100, 5, crew, stopper)
    first = next(found)
    stopper.note(15, None)
    with pytest.raises(TrainingInterrupted) as stopped:
        list(found)
    assert stopped.value.number == 15
    assert crew.stopped == 15
    assert len(crew.sent) < 12
    assert first[1][1]["status"] == "complete"


def test_an_error_here_cancels_what_runs() -> None:
    crew = Workers()
    found = carry_out(100, 5, crew)
    next(found)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)
    assert crew.cancelled


def test_a_file_tells_whether_a_worker_sees_the_folder(tmp_path: Path) -> None:
    with token_in(tmp_path, "a") as token:
        assert (tmp_path / token).exists()
        (tmp_path / ".task-a-1-Tiny").touch()
        (tmp_path / ".task-b-1-Tiny").touch()
    assert [path.name for path in tmp_path.iterdir()] == [".task-b-1-Tiny"]


@pytest.mark.slow
def test_runs_of_this_process_are_gathered_too(photos, tiny_plugin, tmp_path, monkeypatch) -> None:
    from bench.cli.main import main

    monkeypatch.chdir(tmp_path)
    line = (
        f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} --epochs 1 "
        f"--batch-size 8 --image-size 32 --no-timing --tune off --gather file://{tmp_path}/copies"
    )
    assert main(line.split()) == 0
    here = {path.relative_to("results") for path in Path("results").glob("*/*")}
    there = {path.relative_to("copies") for path in Path("copies").glob("*/*")}
    assert len(there) == 8
    assert here == there
    for path in there:
        assert (Path("results") / path).read_bytes() == (Path("copies") / path).read_bytes()


@pytest.mark.slow
def test_a_copy_that_fails_ends_nothing(photos, tiny_plugin, tmp_path, monkeypatch, capsys) -> None:
    from bench.cli.main import main

    def full(path: Path, url: str) -> None:
        raise OSError("the bucket is full")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.runner.sweep.put", full)
    line = (
        f"run --variants Tiny --plugin {tiny_plugin} --data-dir {photos} --epochs 1 "
        f"--batch-size 8 --image-size 32 --no-timing --tune off --gather file://{tmp_path}/copies"
    )
    assert main(line.split()) == 0
    err = capsys.readouterr().err
    assert "could not be copied to file://" in err
    assert "the bucket is full" in err
