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

from bench.executors.task import Task, TaskResult, plugin_texts, versions
from bench.records import new_run_folder, write_record
from bench.runner.context import Outcome, RunSpec
from bench.runner.executor import Job, Resources
from bench.runner.queue import noted
from bench.runner.record import explain, now
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


def train_tasks(
    pool: WorkerPool,
    jobs: Sequence[Job],
    resources: Resources,
    *,
    threads: int,
    concurrent_runs: int,
) -> Iterator[tuple[int, Outcome]]:
    """Train jobs by the workers of a pool; as :meth:`bench.runner.executor.Executor.train`.

    Args:
        pool: who carries them out.
        jobs: in any order.
        resources: what they are trained with, as far as it does not belong to this machine.
        threads: CPU threads of each worker.
        concurrent_runs: other trainings that may run on the machine of one.
    """
    sweep = jobs[0].planned[0].sweep
    with token_in(sweep.config.results_dir, sweep.id) as token:
        tasks = make_tasks(
            jobs, resources, token=token, threads=threads, concurrent_runs=concurrent_runs
        )
        yield from gather(
            jobs, tasks, pool, at_once=len(resources.devices), stopper=resources.stopper
        )


def make_tasks(
    jobs: Sequence[Job], resources: Resources, *, token: str, threads: int, concurrent_runs: int
) -> list[Task]:
    """A task for each job; arguments as of :func:`train_tasks`.

    Args:
        token: as of :class:`bench.executors.task.Task`.
    """
    plugins = plugin_texts(resources.plugins)
    deadline = resources.stopper.deadline
    if deadline is not None:
        # The monotonic clocks of two machines have nothing to do with each other.
        deadline = time.time() + deadline - time.monotonic()
    tasks = []
    for job in jobs:
        specs = job.specs(concurrent_runs)
        sweep, run = specs[0].sweep, specs[0].run
        fold = "" if run.fold is None else f"-fold-{run.fold}"
        tasks.append(
            Task(
                name=f"task-{sweep.id}-seed-{run.seed}{fold}",
                runs=specs,
                plugins=plugins,
                results_dir=sweep.config.results_dir.absolute(),
                token=token,
                cwd=Path.cwd(),
                device=resources.devices[0],
                threads=threads,
                features_limit=resources.features_limit / len(resources.devices),
                deadline=deadline,
                versions=versions(),
            )
        )
    return tasks


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
    pool: WorkerPool,
    *,
    at_once: int,
    stopper: StopRequest,
) -> Iterator[tuple[int, Outcome]]:
    """Send tasks, the longest first; position, folder and record of each run as it comes home.

    Args:
        jobs: what each task is of.
        tasks: one for each job.
        pool: who carries them out.
        at_once: how many are sent before one has ended.
        stopper: says whether to stop before the end.

    Raises:
        TrainingInterrupted: the stopper said so; what has ended has come home.
    """
    waiting = sorted(range(len(jobs)), key=lambda number: jobs[number].seconds)
    running: dict[Any, int] = {}
    stopping = incomplete = False

    def show() -> None:
        for line in pool.lines():
            logger.info(line)

    try:
        with stopper.holding():
            while waiting or running:
                while waiting and len(running) < at_once and stopper.number is None:
                    number = waiting.pop()
                    running[pool.submit(tasks[number])] = number
                if stopper.number is not None and not stopping:
                    waiting, stopping = [], True
                    pool.stop(stopper.number)
                ended = pool.finished(list(running), WAIT_S) if running else []
                show()
                for handle in ended:
                    number = running.pop(handle)
                    job = jobs[number]
                    outcomes = _home(job, tasks[number], pool, handle, stopping=stopping)
                    incomplete |= len(outcomes) < len(job.numbers)
                    yield from zip(job.numbers, outcomes, strict=False)
        show()
    except BaseException:
        pool.cancel(list(running))
        raise
    if incomplete or stopper.number is not None:
        raise TrainingInterrupted(stopper.number)


def _home(job: Job, task: Task, pool: WorkerPool, handle: Any, *, stopping: bool) -> list[Outcome]:
    config = job.planned[0].sweep.config
    try:
        results = pool.result(handle)
    except Exception as error:
        # What is stopped, or was never begun, goes on with --resume: it has not failed.
        return [] if stopping else [_lost(spec, task, error) for spec in job.planned]
    outcomes = []
    for result in results:
        folder, record = config.results_dir / result.folder, result.record
        if result.files is not None:
            name = record["variant"]["name"]
            folder = new_run_folder(config.results_dir, name, datetime.now(), record)
            for name, content in result.files.items():
                # Names come from another machine, and must not lead out of the folder.
                (folder / Path(name).name).write_bytes(content)
        outcomes.append((folder, record))
    if config.gather is not None and len(outcomes) == len(job.planned):
        clear(working(config.gather, task.name))
    return outcomes


def _lost(spec: RunSpec, task: Task, error: Exception) -> Outcome:
    """A failed record of a run whose task did not come home."""
    sweep, name = spec.sweep, spec.variant.name
    begun = noted(task.results_dir, task.name, name, sweep.id, spec.run) or spec.begun
    if begun is not None:
        folder, record = begun
        if record["status"] == "complete":
            return begun
    else:
        record = spec.new_record(sweep.device)
        folder = new_run_folder(sweep.config.results_dir, name, datetime.now(), record)
    text = explain(error)
    record = {
        **record,
        "status": "failed",
        "finished": now(),
        "error": {"type": type(error).__name__, "message": text[-500:], "traceback": str(error)},
    }
    write_record(folder, record)
    return folder, record
