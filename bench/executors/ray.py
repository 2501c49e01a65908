"""Train and time by Ray: on this machine, or on a cluster that is there already."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError, error_line
from bench.executors.base import WAIT_S, train_tasks
from bench.executors.board import ChannelActor
from bench.executors.task import (
    Task,
    TaskResult,
    carry_out,
    check_versions,
    plugin_texts,
    versions,
)
from bench.executors.timing import Request, check_modes, time_here
from bench.runner.context import Outcome
from bench.runner.executor import Job, Resources
from bench.system.digits import counted
from bench.system.environment import usable_cores
from bench.system.signals import StopRequest
from bench.timing.session import Timed

logger = logging.getLogger(__name__)

# A cluster that does not answer by then is taken for one that is not there.
TIMEOUT_S = 10.0
# A worker imports PyTorch and timm before it answers, on busy machines beside many others.
ANSWER_S = 600
# How often a task is done again whose worker or machine was lost.
RETRIES = 3
LOCAL = "local"
# How Ray names a machine's kind of accelerator among its resources, and what every machine has.
ACCELERATOR = "accelerator_type:"
BUILT_IN = ("CPU", "GPU", "memory", "object_store_memory")


def require_ray() -> Any:
    """The package.

    Raises:
        BenchError: it is not installed.
    """
    # Nobody is told how it is used, and no page is served.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker keeps the threads and devices that it was given by us.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            "--executor ray needs Ray: pip install 'paddy-bench[ray]', or leave --executor out"
        ) from error
    return ray


def connect(address: str | None) -> Any:
    """Join a cluster, or start Ray on this machine; the package.

    Args:
        address: ``host:port``, ``ray://host:port``, ``auto`` or none (``RAY_ADDRESS``, else this
            machine alone).

    Raises:
        BenchError: the package is missing, or no cluster answers in time.
    """
    ray = require_ray()
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": usable_cores(), "include_dashboard": False}
    elif address != "auto":
        _check_address(address)
    try:
        with _own_signals():
            ray.init(address=address, **options)
    except Exception as error:  # Ray has many, also for other versions of itself
        raise BenchError(
            f"--address {address}: Ray cannot join that cluster: {error_line(error, 300)}"
        ) from error
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and would end the program without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_address(address: str) -> None:
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise BenchError(
            f"--address {address} is no address: give host:6379, ray://host:10001 or auto"
        )
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        raise BenchError(
            f"--address {address}: no Ray cluster answers within {TIMEOUT_S:g} s ({error}): see "
            "that it is up (ray status) and that this machine reaches it"
        ) from error


def find_devices(address: str | None, asked: int | None, device: str) -> list[str]:
    """What a cluster trains on at once: ``cuda`` or ``cpu``, as often as there are.

    Args:
        address: as of :func:`connect`.
        asked: of ``--devices``; none: all GPUs, or one training on each machine.
        device: of ``--device``.

    Raises:
        BenchError: more are asked for than the cluster has, or a machine has other versions.
    """
    ray = connect(address)
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    if device == "cuda" and not gpus:
        raise BenchError("--device cuda: the cluster has no GPU: use --device cpu or auto")
    _probe(ray)
    if gpus and device != "cpu":
        if asked is not None and asked > gpus:
            raise BenchError(
                f"--devices {asked}: the cluster has {gpus} GPUs: give {gpus} or fewer"
            )
        return ["cuda"] * (asked or gpus)
    if asked is not None and asked > cores:
        raise BenchError(
            f"--devices {asked}: the cluster has {counted(cores, 'core')}: give {cores} or fewer"
        )
    return ["cpu"] * (asked or len(nodes_of(ray)))


def nodes_of(ray: Any) -> list[dict[str, Any]]:
    """The machines of a cluster that can compute."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def only_on(node: Mapping[str, Any]) -> Any:
    """A task goes to that machine and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def _probe(ray: Any) -> None:
    """Every machine has the versions of this one."""
    try:
        _ask(ray, nodes_of(ray), check_versions, versions())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BenchError):
            raise BenchError(str(error.cause)) from error
        raise BenchError(
            f"a worker of the cluster cannot run paddy-bench "
            f"({error_line(error.cause or error, -300)}): install it there"
        ) from error
    except ray.exceptions.GetTimeoutError as error:
        raise BenchError(f"a worker of the cluster does not answer within {ANSWER_S} s") from error


def _ask(
    ray: Any, nodes: Sequence[Mapping[str, Any]], check: Callable[..., None], value: Any
) -> None:
    """Have machines check a value; each is told its name. Raises what they raise, as Ray has it."""
    handles = [
        ray.remote(check)
        .options(num_cpus=0, scheduling_strategy=only_on(node))
        .remote(value, node["NodeManagerHostname"])
        for node in nodes
    ]
    ray.get(handles, timeout=ANSWER_S)


class RayChannel:
    """The actor as a worker sees it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def say(self, line: str) -> None:
        self._actor.say.remote(line)

    def stopped(self) -> int | None:
        import ray

        number: int | None = ray.get(self._actor.stopped.remote())
        return number


def _carry_out(task: Task, actor: Any) -> list[TaskResult]:
    return carry_out(task, RayChannel(actor))


class RayPool:
    """Ray's workers, each with its share of a machine.

    Args:
        ray: the package, connected.
        cores: of each task.
        gpus: of each task.
    """

    def __init__(self, ray: Any, *, cores: float, gpus: int) -> None:
        self._ray = ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # A machine of the cluster may go; with this one the sweep goes anyway.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        board = ray.remote(ChannelActor).options(num_cpus=0, scheduling_strategy=here)
        self._board = board.remote()
        self._remote = ray.remote(_carry_out).options(
            num_cpus=cores, num_gpus=gpus, max_retries=RETRIES
        )

    def submit(self, task: Task) -> Any:
        return self._remote.remote(task, self._board)

    def finished(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        done, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds)
        return list(done)

    def result(self, handle: Any) -> list[TaskResult]:
        try:
            results: list[TaskResult] = self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from error
        return results

    def stop(self, number: int) -> None:
        self._board.stop.remote(number)

    def lines(self) -> list[str]:
        lines: list[str] = self._ray.get(self._board.lines.remote())
        return lines

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            with contextlib.suppress(Exception):
                self._ray.cancel(handle, force=True)


# --- timing ----------------------------------------------------------------------------------


def find_class(config: RunConfig) -> None:
    """See that a machine of the class of ``--timing-on`` is there, and can time what is asked for.

    Raises:
        BenchError: it is not, or cannot.
    """
    ray = connect(config.address)
    node = _node_of(ray, str(config.timing_on))
    where = node["NodeManagerHostname"]
    try:
        _ask(ray, [node], check_modes, config)
    except ray.exceptions.RayTaskError as error:
        raise BenchError(error_line(error.cause or error, -300)) from error
    except ray.exceptions.GetTimeoutError as error:
        raise BenchError(f"worker {where} does not answer within {ANSWER_S} s") from error


def time_on(request: Request, *, stopper: StopRequest) -> Timed:
    """Run a timing session on a machine of the class of ``--timing-on``, with nothing beside it.

    Args:
        request: what to time.
        stopper: says whether to stop before the end.

    Raises:
        BenchError: the machine is gone, or cannot time.
        TrainingInterrupted: the stopper said so.
    """
    ray = connect(request.config.address)
    node = _node_of(ray, str(request.config.timing_on))
    board = ray.remote(ChannelActor).options(num_cpus=0).remote()
    # All that the machine has: Ray gives nothing of it to anybody else meanwhile.
    remote = ray.remote(_time_there).options(
        num_cpus=node["Resources"]["CPU"],
        num_gpus=node["Resources"].get("GPU", 0),
        max_retries=RETRIES,
        scheduling_strategy=only_on(node),
    )
    handle = remote.remote(request, board)

    def show() -> None:
        for line in ray.get(board.lines.remote()):
            logger.info(line)

    try:
        with stopper.holding():
            while not ray.wait([handle], timeout=WAIT_S)[0]:
                show()
                stopper.check()
        show()
        timed: Timed = ray.get(handle)
    except ray.exceptions.RayError as error:
        ray.cancel(handle, force=True)
        cause = getattr(error, "cause", None) or error
        raise BenchError(
            f"--timing-on {request.config.timing_on}: {error_line(cause, -300)}"
        ) from error
    except BaseException:
        ray.cancel(handle, force=True)
        raise
    return timed


def _time_there(request: Request, actor: Any) -> Timed:
    return time_here(request, RayChannel(actor))


def _node_of(ray: Any, name: str) -> dict[str, Any]:
    nodes = nodes_of(ray)
    for node in nodes:
        custom = name in node["Resources"] and name not in BUILT_IN
        if custom or f"{ACCELERATOR}{name}" in node["Resources"]:
            return dict(node)
    keys = {key.removeprefix(ACCELERATOR) for node in nodes for key in node["Resources"]}
    named = sorted(key for key in keys if ":" not in key and key not in BUILT_IN)
    raise BenchError(
        f"--timing-on {name}: no machine of the cluster has that accelerator or resource (there "
        f"are: {', '.join(named) or 'none'}): start one with --resources, or leave --timing-on out"
    )


class RayExecutor:
    """Ray on this machine, or a cluster (``--address``)."""

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        devices = find_devices(config.address, config.devices, config.device)
        if config.timing and config.timing_on is not None:
            find_class(config)
        return devices

    def train(self, jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[int, Outcome]]:
        if not jobs:
            return
        config, devices = jobs[0].planned[0].sweep.config, resources.devices
        ray = connect(config.address)
        nodes = nodes_of(ray)
        # How many each machine gets, and so how many of its cores each has.
        together = math.ceil(min(len(devices), len(jobs)) / max(1, len(nodes)))
        cores = min((int(node["Resources"]["CPU"]) for node in nodes), default=1)
        threads = min(config.threads or max(1, cores // together), cores)
        pool = RayPool(ray, cores=threads, gpus=int(devices[0] == "cuda"))
        yield from train_tasks(pool, jobs, resources, threads=threads, concurrent_runs=together - 1)

    def time(
        self,
        chosen: Sequence[variants.Variant],
        config: RunConfig,
        num_classes: int,
        *,
        plugins: Sequence[Path],
        images: Sequence[Path],
        stopper: StopRequest,
    ) -> Timed:
        request = Request(
            keys=tuple(variant.key for variant in chosen),
            plugins=plugin_texts(plugins),
            config=config,
            num_classes=num_classes,
            images=tuple(images),
            cwd=Path.cwd(),
            versions=versions(),
        )
        return time_on(request, stopper=stopper)
