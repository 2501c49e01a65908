"""Processes that train one model together, as torchrun starts them; one process is a team too.

Every process has its rows of each batch, and the same weights after each step. Process 0 leads: it
alone measures, decides and writes; what the others must know they are told.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bench.errors import BenchError, error_line
from bench.system.launch import started_together
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train.sync_batchnorm import WholeBatch

# As long as the leader may work alone (timing takes hours) while the others wait.
PATIENCE = timedelta(days=7)
# Until all have come together, and until one that waits for another's row of numbers gives up.
TIMEOUT = timedelta(minutes=10)
# How often a process on a GPU looks whether another one has failed.
WATCH_S = 2.0
_ERROR = "paddy-bench/error"
_CONTROL = torch.device("cpu")


class ProcessGroupError(Exception):
    """Why the processes of a team cannot go on together."""


class PeerLost(ProcessGroupError):
    """Another process has ended without a word."""


class ProcessGroup:
    """One process alone; :class:`Together` is several.

    Attributes:
        rank: number of this process.
        size: how many there are.
        local_size: how many there are on this machine.
        device: that this process trains on.
        busy: whether the others train along just now.
    """

    rank = 0
    size = 1
    local_size = 1
    busy = False
    device = _CONTROL

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    def as_record(self) -> dict[str, Any] | None:
        """For the record; none: there is one process."""
        return None

    def tell(self, value: Any) -> Any:
        """The leader's value, in every process."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Every process' value by rank, in the leader; elsewhere nothing of use."""
        return [value]

    def everywhere(self, value: Any) -> list[Any]:
        """Every process' value by rank, in every process."""
        return [value]

    def agreed(self, number: int | None) -> int | None:
        """The signal to stop by, the same in all processes at the same step."""
        return number

    def check(self, stopper: StopRequest, seconds: float) -> None:
        """``stopper.check`` as the leader finds it.

        Raises:
            TrainingInterrupted: it is time to stop, in every process.
        """
        stopper.check(seconds)

    def share(
        self, labels: torch.Tensor, weight: torch.Tensor | None, whole: int
    ) -> float | torch.Tensor | None:
        """What this process' mean loss counts in that of the whole batch; none: it is all of it.

        Args:
            labels: (b,) int64, of this process' rows.
            weight: (classes,) of the loss, or none.
            whole: rows of the whole batch.
        """
        return None

    def wrap(
        self, model: nn.Module, *, skips: bool = False
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """What computes a training step's logits so that gradients are those of the whole batch.

        Args:
            model: on its device, with what is frozen frozen.
            skips: whether a step may leave out some of its weights: then each one is looked for.
        """
        return model

    def expect(self, whole: int) -> None:
        """The next step is on so many rows, in all processes together."""

    def begin(self, what: Any) -> None:
        """Tell the others to do something along with this process, which leads."""

    def end(self) -> None:
        """What was begun has ended, in all processes."""

    def cause(self, error: BaseException) -> BaseException:
        """What another process said when it broke off, in place of the error that followed."""
        return error

    def leave(self, error: str | None = None, *, broken: bool = False) -> None:
        """Part from the others.

        Args:
            error: what they are told; none: nothing.
            broken: whether messages between them may hang.
        """


class Together(ProcessGroup):
    """A process of several.

    Args:
        rank: its number.
        size: how many there are.
        local_size: how many there are on this machine.
        store: where they find each other.
        device: that this process trains on.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        local_size: int,
        store: distributed.Store,
        device: torch.device,
    ) -> None:
        self.rank, self.size, self.local_size = rank, size, local_size
        self.device = device
        self._store = store
        self._flag: tuple[Any, torch.Tensor] | None = None
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT
        )
        self._control: Any = distributed.new_group(backend="gloo", timeout=PATIENCE)
        # Its messages must not be taken for those of the gradients, which are sent beside them.
        self._norms: Any = distributed.new_group(backend="gloo" if device.type == "cpu" else "nccl")
        self._rows = WholeBatch(rank, size, self._norms)
        self._hosts = len(set(self.everywhere(os.uname().nodename)))
        if device.type == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End a process that waits on its GPU for one that has failed: it hears nothing else."""
        with contextlib.suppress(Exception):
            while not self._store.check([_ERROR]):
                time.sleep(WATCH_S)
            time.sleep(10 * WATCH_S)
            text = self._store.get(_ERROR).decode()
            print(f"error: {text}: what is finished is kept", file=sys.stderr, flush=True)
            os._exit(1)

    def everywhere(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value, group=self._control)
        return found

    def as_record(self) -> dict[str, Any]:
        """How many processes on how many machines, and what they do as one."""
        return {
            "processes": self.size,
            "machines": self._hosts,
            "backend": "nccl" if self.device.type == "cuda" else "gloo",
            "batch_norm": "over the whole batch",
        }

    def tell(self, value: Any) -> Any:
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._control, device=_CONTROL)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        found: list[Any] | None = [None] * self.size if self.leads else None
        distributed.gather_object(value, found, dst=0, group=self._control)
        return found or []

    def agreed(self, number: int | None) -> int | None:
        # What is asked at one step is answered at the next: nobody waits for it.
        before, self._flag = self._flag, None
        flag = torch.tensor(number or 0)
        work = distributed.all_reduce(
            flag, distributed.ReduceOp.MAX, group=self._control, async_op=True
        )
        self._flag = work, flag
        if before is None:
            return None
        before[0].wait()
        return int(before[1].item()) or None

    def _settle(self) -> None:
        """Wait for the answer that nobody asked for any more."""
        before, self._flag = self._flag, None
        if before is not None:
            before[0].wait()

    def check(self, stopper: StopRequest, seconds: float) -> None:
        self._settle()
        found: tuple[bool, int | None] = (False, None)
        if self.leads:
            try:
                stopper.check(seconds)
            except TrainingInterrupted as stopped:
                found = True, stopped.number
        stops, number = self.tell(found)
        if stops:
            raise TrainingInterrupted(number)

    def share(
        self, labels: torch.Tensor, weight: torch.Tensor | None, whole: int
    ) -> float | torch.Tensor | None:
        if weight is None:
            return len(labels) / whole
        own = weight[labels].sum()
        together = own.clone()
        distributed.all_reduce(together, group=self._norms)
        return own / together

    def wrap(
        self, model: nn.Module, *, skips: bool = False
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        # The others may still decode their images.
        self.everywhere(None)
        with warnings.catch_warnings():
            # A newer PyTorch has another name for it, which an older one does not know.
            warnings.filterwarnings("ignore", message="`broadcast_buffers`", category=FutureWarning)
            parallel = DistributedDataParallel(
                model,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=skips,
            )

        def together(images: torch.Tensor) -> torch.Tensor:
            with self._rows:
                return parallel(images)

        return together

    def expect(self, whole: int) -> None:
        self._rows.whole = whole

    def begin(self, what: Any) -> None:
        self.busy = True
        self.tell(what)

    def end(self) -> None:
        self.busy = False

    def cause(self, error: BaseException) -> BaseException:
        with contextlib.suppress(Exception):
            if self._store.check([_ERROR]):
                return ProcessGroupError(self._store.get(_ERROR).decode())
        if isinstance(error, RuntimeError) and "onnection" in str(error):
            return PeerLost("another process of this training has ended, or cannot be reached")
        return error

    def leave(self, error: str | None = None, *, broken: bool = False) -> None:
        if error is not None:
            with contextlib.suppress(Exception):
                if not self._store.check([_ERROR]):
                    self._store.set(_ERROR, error)
        if broken:
            # The others wait for messages of this one: an end of the process ends that at once,
            # and tearing down what is broken may hang.
            return
        with contextlib.suppress(Exception):
            self._settle()
            distributed.destroy_process_group()


def join(asked_device: str, environment: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Come together with the other processes that torchrun has started.

    Args:
        asked_device: ``auto``, ``cpu`` or ``cuda``.
        environment: variables as torchrun sets them.

    Raises:
        BenchError: there are fewer GPUs than processes on this machine, or the others do not come.
    """
    size = started_together(environment)
    if size == 1:
        return ProcessGroup()
    rank, local = int(environment["RANK"]), int(environment.get("LOCAL_RANK", "0"))
    local_size = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if asked_device != "cpu" and torch.cuda.is_available():
        there = torch.cuda.device_count()
        if local_size > there:
            raise BenchError(
                f"torchrun started {local_size} processes on this machine, which has {there} "
                f"GPUs: give --nproc-per-node {there}, or --device cpu"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        store, rank, size = next(distributed.rendezvous("env://", timeout=TIMEOUT))
        store.set_timeout(TIMEOUT)
        return Together(rank, size, local_size, distributed.PrefixStore("bench", store), device)
    except (RuntimeError, ValueError) as error:
        raise BenchError(
            f"process {rank} of {size} does not reach the others ({error_line(error)}): "
            "see that all are started with torchrun and reach the machine of the first"
        ) from error
