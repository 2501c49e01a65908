"""A timing session on a machine of a Ray cluster, with nothing beside it."""

from __future__ import annotations

from typing import Any, TextIO

from bench.config import RunConfig
from bench.errors import BenchError
from bench.executors.board import BoardActor
from bench.executors.gathering import WAIT_S
from bench.executors.on_ray import RETRIES, OnBoard, connect, nodes_of, only_on
from bench.executors.timing import Request, check_modes, time_here
from bench.session import Timed
from bench.stopping import Stopper

# How Ray names a machine's kind of accelerator among its resources, and what every machine has.
ACCELERATOR = "accelerator_type:"
BUILT_IN = ("CPU", "GPU", "memory", "object_store_memory")


def find_class(config: RunConfig) -> None:
    """See that a machine of the class of ``--timing-on`` is there, and can time what is asked for.

    Raises:
        BenchError: it is not, or cannot.
    """
    ray = connect(config.address)
    node = _node_of(ray, str(config.timing_on))
    where = node["NodeManagerHostname"]
    asked = ray.remote(check_modes).options(num_cpus=0, scheduling_strategy=only_on(node))
    try:
        ray.get(asked.remote(config, where), timeout=120)
    except ray.exceptions.RayTaskError as error:
        raise BenchError(" ".join(str(error.cause or error).split())[-300:]) from error
    except ray.exceptions.GetTimeoutError as error:
        raise BenchError(f"worker {where} does not answer within 120 s") from error


def time_on(request: Request, *, stopper: Stopper, stream: TextIO) -> Timed:
    """Run a timing session on a machine of the class of ``--timing-on``, with nothing beside it.

    Args:
        request: what to time.
        stopper: says whether to stop before the end.
        stream: where progress goes.

    Raises:
        BenchError: the machine is gone, or cannot time.
        StoppedError: the stopper said so.
    """
    ray = connect(request.config.address)
    node = _node_of(ray, str(request.config.timing_on))
    board = ray.remote(BoardActor).options(num_cpus=0).remote()
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
            print(line, file=stream, flush=True)

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
            f"--timing-on {request.config.timing_on}: {' '.join(str(cause).split())[-300:]}"
        ) from error
    except BaseException:
        ray.cancel(handle, force=True)
        raise
    return timed


def _time_there(request: Request, actor: Any) -> Timed:
    return time_here(request, OnBoard(actor))


def _node_of(ray: Any, name: str) -> dict[str, Any]:
    nodes = nodes_of(ray)
    for node in nodes:
        own = name in node["Resources"] and name not in BUILT_IN
        if own or f"{ACCELERATOR}{name}" in node["Resources"]:
            return dict(node)
    known = {key.removeprefix(ACCELERATOR) for node in nodes for key in node["Resources"]}
    named = sorted(key for key in known if ":" not in key and key not in BUILT_IN)
    raise BenchError(
        f"--timing-on {name}: no machine of the cluster has that accelerator or resource (there "
        f"are: {', '.join(named) or 'none'}): start one with --resources, or leave --timing-on out"
    )
