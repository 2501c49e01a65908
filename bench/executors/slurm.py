"""Trainings as SLURM jobs, by submitit; its folder must be one that all machines see."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from bench.config.options import RunConfig
from bench.errors import BenchError, error_line
from bench.executors.base import train_tasks
from bench.executors.task import Task, TaskResult, carry_out
from bench.runner.context import Outcome
from bench.runner.executor import Job, LocalExecutor, Resources
from bench.system.environment import usable_cores

# How often a job is sent again that was lost without a result (preempted jobs SLURM requeues).
RETRIES = 3
# submitit's own defaults are five minutes and one core.
DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60}
AT_ONCE = 8
# Of a job, where neither --threads nor --slurm says it.
CORES = 4
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
    values = dict(DEFAULTS)
    for part in filter(None, map(str.strip, (text or "").split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise BenchError(
                f"--slurm {text}: {part!r} is no name=value: give partition=gpu,"
                "timeout_min=600 and the like"
            )
        name = name.strip().replace("-", "_")
        if name in NUMBERS:
            try:
                values[name] = int(value)
            except ValueError:
                raise BenchError(f"--slurm {name}={value}: give a whole number") from None
        else:
            # What submitit does not know by a name of its own goes to sbatch as it is.
            values[f"slurm_{name.removeprefix('slurm_')}"] = value.strip()
    return values


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


def find_devices(config: RunConfig, here: str, cores: int) -> list[str]:
    """What trains at once: ``cuda`` or ``cpu``, as often as there are jobs.

    Args:
        config: the options.
        here: this machine's kind of device.
        cores: of this machine.

    Raises:
        BenchError: there is no SLURM, a parameter is unknown, or more is asked for than there is.
    """
    check_cluster(config.executor)
    requested = parameters(config.slurm)
    if config.executor == "slurm-local":
        if config.device == "cuda" and here != "cuda":
            raise BenchError("--device cuda: this machine has no GPU: use --device cpu or auto")
        kind = "cpu" if config.device == "cpu" else here
        most = 1 if kind == "cuda" else cores
        if config.devices is not None and config.devices > most:
            raise BenchError(
                f"--devices {config.devices}: slurm-local trains {most} at once here: give {most} "
                "or fewer, or leave --executor out"
            )
        devices = [kind] * (config.devices or 1)
    else:
        # A login node has no GPU: what is asked of SLURM says what the jobs have.
        gpus = any(
            "gpu" in name or ("gr" in name and "gpu" in str(value))
            for name, value in requested.items()
        )
        on_gpu = config.device == "cuda" or (config.device == "auto" and (gpus or here == "cuda"))
        devices = ["cuda" if on_gpu else "cpu"] * (config.devices or AT_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        _executor(config, Path(folder), cuda=devices[0] == "cuda", threads=1)
    return devices


def _executor(config: RunConfig, folder: Path, *, cuda: bool, threads: int) -> Any:
    """submitit's, with its parameters.

    Raises:
        BenchError: it does not know one of them.
    """
    local = config.executor == "slurm-local"
    executor = require_submitit().AutoExecutor(folder, cluster="local" if local else "slurm")
    options = {"cpus_per_task": threads, "name": "paddy-bench", **parameters(config.slurm)}
    if cuda and not any("gpu" in name or "gres" in name for name in options):
        options["gpus_per_node"] = 1
    try:
        executor.update_parameters(**options)
    except (NameError, TypeError, ValueError) as error:
        raise BenchError(
            f"--slurm {config.slurm}: submitit does not take that: {error_line(error)}"
        ) from error
    return executor


class FileChannel:
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

    def __call__(self, task: Task) -> list[TaskResult]:
        return carry_out(task, FileChannel(self._folder, self._number))

    def checkpoint(self, task: Task) -> Any:
        """What is to be submitted in its place: the same, which goes on from the last epoch."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, task)


class SlurmPool:
    """SLURM's machines.

    Args:
        executor: of submitit, with its parameters.
        folder: that all machines see.
    """

    def __init__(self, executor: Any, folder: Path) -> None:
        self._executor, self._folder = executor, folder
        self._count = 0
        self._handles: list[_Handle] = []
        self._read: dict[Path, int] = {}

    def submit(self, task: Task) -> Any:
        handle = _Handle(self._send(task), task)
        self._handles.append(handle)
        return handle

    def _send(self, task: Task) -> Any:
        self._count += 1
        try:
            return self._executor.submit(Work(self._folder, self._count), task)
        except Exception as error:  # submitit passes on what sbatch says
            raise BenchError(
                f"SLURM does not take a job: {error_line(error, -300)}: see --slurm"
            ) from error

    def finished(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        time.sleep(seconds)
        for handle in handles:
            if handle.job.done() and handle.tries < RETRIES and self._lost(handle.job):
                handle.job, handle.tries = self._send(handle.task), handle.tries + 1
        return [handle for handle in handles if handle.job.done()]

    def _lost(self, job: Any) -> bool:
        """Whether it ended without a word: its machine was lost, or it was killed."""
        return not (job.paths.result_pickle.exists() or (self._folder / "stop").exists())

    def result(self, handle: Any) -> list[TaskResult]:
        results: list[TaskResult] = handle.job.result()
        return results

    def stop(self, number: int) -> None:
        (self._folder / "stop").write_text(str(number))
        for handle in self._handles:
            # What waits in the queue has nothing to save.
            if not handle.job.done() and str(handle.job.state) == "PENDING":
                handle.job.cancel()

    def lines(self) -> list[str]:
        lines = []
        for path in sorted(self._folder.glob("lines-*.txt")):
            content = path.read_bytes()
            begin, end = self._read.get(path, 0), content.rfind(b"\n") + 1
            self._read[path] = end
            lines += content[begin:end].decode("utf8", "replace").splitlines()
        return lines

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            with contextlib.suppress(Exception):
                handle.job.cancel()


@attrs.define(eq=False)
class _Handle:
    """A task wherever it is done: the job changes when it is sent again."""

    job: Any
    task: Task
    tries: int = 0


class SlurmExecutor(LocalExecutor):
    """SLURM, or submitit's imitation of it on this machine (``slurm-local``)."""

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        return find_devices(config, device.type, usable_cores())

    def train(self, jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[int, Outcome]]:
        if not jobs:
            return
        sweep, devices = jobs[0].planned[0].sweep, resources.devices
        config, local = sweep.config, sweep.config.executor == "slurm-local"
        # A login node's cores are not those of a job.
        cores = parameters(config.slurm).get("cpus_per_task", CORES)
        threads = config.threads or (resources.threads if local else cores)
        name = f".jobs-{sweep.id}"
        for before in config.results_dir.glob(f"{name}-*"):
            # Jobs that outlive whoever submitted them must not train the same runs beside new ones.
            (before / "stop").write_text(str(int(signal.SIGTERM)))
        folder = (config.results_dir / f"{name}-{secrets.token_hex(3)}").absolute()
        folder.mkdir(parents=True)
        executor = _executor(config, folder, cuda=devices[0] == "cuda", threads=threads)
        beside = min(len(devices), len(jobs)) - 1 if local else 0
        pool = SlurmPool(executor, folder)
        yield from train_tasks(pool, jobs, resources, threads=threads, concurrent_runs=beside)
        shutil.rmtree(folder, ignore_errors=True)
