"""Trainings as SLURM jobs, by submitit; its folder must be one that all machines see."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from bench.errors import BenchError
from bench.executors.gathering import gather, make_tasks, token_in
from bench.executors.task import Sent, Task, carry_out
from bench.fleet import Job
from bench.stopping import Stopper
from bench.turns import Outcome

# How often a job is sent again that was lost without a result (preempted jobs SLURM requeues).
RETRIES = 3
# submitit's own defaults are five minutes and one core.
DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60}
AT_ONCE = 8
NUMBERS = ("timeout_min", "mem_gb", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node")


def require_submitit() -> Any:
    """The package.

    Raises:
        BenchError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise BenchError(
            "--executor slurm needs submitit: pip install 'paddy-bench[slurm]', or leave "
            "--executor out"
        ) from error
    return submitit


def parameters(text: str | None) -> dict[str, Any]:
    """``partition=gpu,timeout_min=600`` → submitit's parameters.

    Raises:
        BenchError: a part without ``=``, or a number that is none.
    """
    found = dict(DEFAULTS)
    for part in (text or "").split(","):
        name, equals, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not equals or not name:
            raise BenchError(
                f"--slurm {text}: {part.strip()!r} is no name=value: give partition=gpu,"
                "timeout_min=600 and the like"
            )
        name = name.strip().replace("-", "_")
        if name in NUMBERS:
            try:
                found[name] = int(value)
            except ValueError:
                raise BenchError(f"--slurm {name}={value}: give a whole number") from None
        else:
            # What submitit does not know by a name of its own goes to sbatch as it is.
            found[name if name.startswith("slurm_") else f"slurm_{name}"] = value.strip()
    return found


def check_cluster(executor: str) -> None:
    """See that jobs can be submitted from here.

    Raises:
        BenchError: the package is missing, or there is no SLURM.
    """
    require_submitit()
    if executor == "slurm" and shutil.which("sbatch") is None:
        raise BenchError(
            "--executor slurm: there is no sbatch on this machine: start on a login node of the "
            "cluster, or try with --executor slurm-local, which runs the jobs here"
        )


class FileBoard:
    """Lines of a job in a file of its own, and a file that says whether to stop.

    Args:
        folder: that all machines see.
        number: of the job.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._lines = folder / f"lines-{number}.txt"
        self._stop = folder / "stop"

    def say(self, line: str) -> None:
        with self._lines.open("a", encoding="utf8") as file:
            file.write(f"{line}\n")

    def stopped(self) -> int | None:
        try:
            return int(self._stop.read_text())
        except (OSError, ValueError):
            return None


class Work:
    """A job's work, which submitit can send again when SLURM takes its machine away.

    Args:
        folder: of the boards.
        number: of the job.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number

    def __call__(self, task: Task) -> list[Sent]:
        return carry_out(task, FileBoard(self._folder, self._number))

    def checkpoint(self, task: Task) -> Any:
        """What is to be submitted in its place: the same, which goes on from the last epoch."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, task)


class SlurmCrew:
    """SLURM's machines.

    Args:
        executor: of submitit, with its parameters.
        folder: that all machines see.
    """

    def __init__(self, executor: Any, folder: Path) -> None:
        self._executor, self._folder = executor, folder
        self._count = 0
        self._tasks: dict[Any, tuple[Task, int]] = {}
        self._read: dict[Path, int] = {}

    def submit(self, task: Task, tries: int = 0) -> Any:
        self._count += 1
        job = self._executor.submit(Work(self._folder, self._count), task)
        self._tasks[job] = task, tries
        return _Handle(job)

    def finished(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        time.sleep(seconds)
        for handle in handles:
            job = handle.job
            task, tries = self._tasks[job]
            if job.done() and self._lost(job) and tries < RETRIES:
                handle.job = self.submit(task, tries + 1).job
        return [handle for handle in handles if handle.job.done()]

    def _lost(self, job: Any) -> bool:
        """Whether it ended without a word: its machine was lost, or it was killed."""
        return not job.paths.result_pickle.exists() and not self._stopping()

    def _stopping(self) -> bool:
        return (self._folder / "stop").exists()

    def result(self, handle: Any) -> list[Sent]:
        found: list[Sent] = handle.job.result()
        return found

    def stop(self, number: int) -> None:
        (self._folder / "stop").write_text(str(number))

    def lines(self) -> list[str]:
        found = []
        for path in sorted(self._folder.glob("lines-*.txt")):
            begin = self._read.get(path, 0)
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            self._read[path] = whole
            found += content[begin:whole].decode("utf8", "replace").splitlines()
        return found

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            with contextlib.suppress(Exception):
                handle.job.cancel()


class _Handle:
    """A task wherever it is done: the job changes when it is sent again."""

    def __init__(self, job: Any) -> None:
        self.job = job


def train_all(
    jobs: Sequence[Job],
    devices: Sequence[str],
    *,
    plugins: Sequence[Path],
    threads: int,
    features: Path,
    features_limit: float,
    stopper: Stopper,
    stream: TextIO,
) -> Iterator[tuple[int, Outcome]]:
    """As :func:`bench.executors.on_ray.train_all`, by SLURM."""
    if not jobs:
        return
    submitit = require_submitit()
    config = jobs[0].planned[0].sweep.resolved.config
    folder = (config.results_dir / f".jobs-{jobs[0].planned[0].sweep.id}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stop").unlink(missing_ok=True)
    executor = submitit.AutoExecutor(
        folder, cluster="local" if config.executor == "slurm-local" else "slurm"
    )
    asked = {"cpus_per_task": threads, "name": "paddy-bench", **parameters(config.slurm)}
    if devices[0] == "cuda":
        asked.setdefault("gpus_per_node", 1)
    try:
        executor.update_parameters(**asked)
    except (NameError, TypeError, ValueError) as error:
        raise BenchError(f"--slurm {config.slurm}: {error}") from error
    with token_in(config.results_dir, jobs[0].planned[0].sweep.id) as token:
        tasks = make_tasks(
            jobs,
            plugins=plugins,
            results_dir=config.results_dir,
            token=token,
            gather=config.gather,
            device=devices[0],
            threads=threads,
            features_limit=features_limit / len(devices),
            beside=min(len(devices), len(jobs)) - 1 if config.executor == "slurm-local" else 0,
        )
        crew = SlurmCrew(executor, folder)
        yield from gather(jobs, tasks, crew, at_once=len(devices), stopper=stopper, stream=stream)
    shutil.rmtree(folder, ignore_errors=True)
