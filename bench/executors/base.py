"""What every executor does with tasks: make them, wait for them, bring their runs home."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import attrs

from bench.executors.task import Task, TaskResult, versions
from bench.records import new_run_folder, write_record
from bench.runner.executor import Job
from bench.runner.queue import Outcome, noted
from bench.runner.record import explain, new_record, now
from bench.runner.remote_store import clear, working
from bench.system.signals import StopRequest, TrainingInterrupted

logger = logging.getLogger(__name__)

# How long to wait for what ends before looking whether to stop.
WAIT_S = 0.5


class WorkerPool(Protocol):
    """The workers of an executor."""

    def submit(self, task: Task) -> Any:
        """Send a task; its handle."""

    def finished(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Those that have ended, after so many seconds at most."""

    def result(self, handle: Any) -> list[TaskResult]:
        """What a task has left; raises what ended it."""

    def stop(self, number: int) -> None:
        """Tell all tasks to stop by a signal's number."""

    def lines(self) -> list[str]:
        """What tasks have said since the last time."""

    def cancel(self, handles: Sequence[Any]) -> None:
        """End tasks at once."""


def make_tasks(
    jobs: Sequence[Job],
    *,
    plugins: Sequence[Path],
    results_dir: Path,
    token: str,
    gather: str | None,
    device: str,
    threads: int,
    features_limit: float,
    beside: int,
) -> list[Task]:
    """A task for each job.

    Arguments as the attributes of :class:`bench.executors.task.Task`, and ``beside`` as of a sweep.
    """
    texts = tuple((path.name, path.read_text(encoding="utf8")) for path in plugins)
    found = []
    for job in jobs:
        sweep = job.planned[0].sweep
        run = sweep.run
        fold = "" if run.fold is None else f"-fold-{run.fold}"
        deadline = sweep.stopper.deadline
        if deadline is not None:
            # The monotonic clocks of two machines have nothing to do with each other.
            deadline = time.time() + deadline - time.monotonic()
        found.append(
            Task(
                sweep=attrs.evolve(sweep.plain(), beside=beside),
                name=f"task-{sweep.id}-seed-{run.seed}{fold}",
                runs=tuple(
                    (one.variant.key, one.epoch_s, one.expected_s, one.begun) for one in job.planned
                ),
                plugins=texts,
                results_dir=results_dir.absolute(),
                token=token,
                gather=gather,
                cwd=Path.cwd(),
                device=device,
                threads=threads,
                features_limit=features_limit,
                deadline=deadline,
                versions=versions(),
            )
        )
    return found


@contextlib.contextmanager
def token_in(results_dir: Path, sweep: str) -> Iterator[str]:
    """The name of a file that tells a worker whether it sees this very folder.

    Args:
        results_dir: the folder.
        sweep: its id; the notes of its tasks go too when the block ends.
    """
    path = results_dir / f".shared-{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
        for note in results_dir.glob(f".task-{sweep}-*"):
            note.unlink(missing_ok=True)


def gather(
    jobs: Sequence[Job],
    tasks: Sequence[Task],
    crew: WorkerPool,
    *,
    at_once: int,
    stopper: StopRequest,
) -> Iterator[tuple[int, Outcome]]:
    """Send tasks, the longest first; position, folder and record of each run as it comes home.

    Args:
        jobs: what each task is of.
        tasks: one for each job.
        crew: who carries them out.
        at_once: how many are sent before one has ended.
        stopper: says whether to stop before the end.

    Raises:
        TrainingInterrupted: the stopper said so; what has ended has come home.
    """
    waiting = sorted(range(len(jobs)), key=lambda number: jobs[number].seconds)
    sent: dict[Any, int] = {}
    told, short = False, False

    def show() -> None:
        for line in crew.lines():
            logger.info(line)

    try:
        with stopper.holding():
            while waiting or sent:
                while waiting and len(sent) < at_once and stopper.number is None:
                    number = waiting.pop()
                    sent[crew.submit(tasks[number])] = number
                if stopper.number is not None:
                    waiting = []
                    if not told:
                        crew.stop(stopper.number)
                        told = True
                ended = crew.finished(list(sent), WAIT_S) if sent else []
                show()
                for handle in ended:
                    number = sent.pop(handle)
                    outcomes = _home(jobs[number], tasks[number], crew, handle, stopping=told)
                    short |= len(outcomes) < len(jobs[number].numbers)
                    yield from zip(jobs[number].numbers, outcomes, strict=False)
        show()
    except BaseException:
        crew.cancel(list(sent))
        raise
    if short or stopper.number is not None:
        raise TrainingInterrupted(stopper.number)


def _home(job: Job, task: Task, crew: WorkerPool, handle: Any, *, stopping: bool) -> list[Outcome]:
    results = job.planned[0].sweep.resolved.config.results_dir
    try:
        found = crew.result(handle)
    except Exception as error:
        # What is stopped, or was never begun, goes on with --resume: it has not failed.
        return [] if stopping else [_lost(one, task, error) for one in job.planned]
    outcomes = []
    for sent in found:
        folder = results / sent.folder
        record = sent.record
        if sent.files is not None:
            folder = new_run_folder(results, record["variant"]["name"], datetime.now(), record)
            for name, content in sent.files.items():
                # Names come from another machine, and must not lead out of the folder.
                (folder / Path(name).name).write_bytes(content)
        outcomes.append((folder, record))
    if task.gather is not None and len(outcomes) == len(job.planned):
        clear(working(task.gather, task.name))
    return outcomes


def _lost(one: Any, task: Task, error: Exception) -> Outcome:
    """A failed record of a run whose task did not come home."""
    sweep = one.sweep
    begun = noted(task.results_dir, task.name, one.variant.name, sweep.id, sweep.run) or one.begun
    if begun is not None:
        folder, record = begun
        if record["status"] == "complete":
            return begun
    else:
        about = {"id": sweep.id, "command": sweep.command, "preset": sweep.resolved.preset}
        record = new_record(
            one.variant,
            sweep.config,
            sweep=about,
            sources=sweep.resolved.sources,
            data=sweep.data,
            device=sweep.device,
        )
        folder = new_run_folder(
            sweep.resolved.config.results_dir, one.variant.name, datetime.now(), record
        )
    text = explain(error)
    record = {
        **record,
        "status": "failed",
        "finished": now(),
        "error": {"type": type(error).__name__, "message": text[-500:], "traceback": str(error)},
    }
    write_record(folder, record)
    return folder, record
