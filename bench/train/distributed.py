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
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bench.errors import BenchError, error_line
from bench.system.launch import started_together
from bench.system.signals import StopRequest, TrainingInterrupted
from bench.train.optim import Forward
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
        """Return whether this is the process that decides and writes."""
        return self.rank == 0

    def as_record(self) -> dict[str, Any] | None:
        """Return what a record says; none: there is one process."""
        return None

    def tell(self, value: Any) -> Any:
        """Return the leader's value, in every process."""
        return value

    def everywhere(self, value: Any) -> list[Any]:
        """Return every process' value by rank, in every process."""
        return [value]

    def agreed(self, number: int | None) -> int | None:
        """Return the signal to stop by, the same in all processes at the same step."""
        return number

    def check(self, stopper: StopRequest, seconds: float) -> None:
        """Do ``stopper.check`` as the leader finds it.

        Raises:
            TrainingInterrupted: it is time to stop, in every process.
        """
        signals: list[int | None] = []
        try:
            stopper.check(seconds)
        except TrainingInterrupted as stopped:
            signals.append(stopped.number)
        signals = self.tell(signals)
        if signals:
            raise TrainingInterrupted(signals[0])

    def share(
        self, labels: torch.Tensor, weight: torch.Tensor | None, whole: int
    ) -> float | torch.Tensor | None:
        """Return what this process' mean loss counts in the whole batch's; none: it is all of it.

        Args:
            labels: (b,) int64, of this process' rows.
            weight: (classes,) of the loss, or none.
            whole: rows of the whole batch.
        """
        return None

    def wrap(self, model: nn.Module, *, skips: bool = False) -> Forward:
        """Return what computes a training step's logits; gradients are those of the whole batch.

        Args:
            model: on its device, with what is frozen frozen.
            skips: whether a step may leave out some of its weights: then each one is looked for.
        """
        return model

    def expect(self, whole: int) -> None:
        """Say that the next step is on so many rows, in all processes together."""

    def begin(self, what: Any) -> None:
        """Tell the others to do something along with this process, which leads."""
        self.busy = self.size > 1
        self.tell(what)

    def end(self) -> None:
        """Say that what was begun has ended, in all processes."""
        self.busy = False

    def cause(self, error: BaseException) -> BaseException:
        """Return what another process said when it broke off; else the error that followed."""
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
        self._norms: Any = distributed.new_group(backend=self._backend)
        self._rows = WholeBatch(rank, size, self._norms)
        self._hosts = len(set(self.everywhere(os.uname().nodename)))
        if device.type == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    @property
    def _backend(self) -> str:
        return "nccl" if self.device.type == "cuda" else "gloo"

    def _watch(self) -> None:
        """End a process that waits on its GPU for one that has failed: it hears nothing else."""
        with contextlib.suppress(Exception):
            while not self._store.check([_ERROR]):
                time.sleep(WATCH_S)
            time.sleep(10 * WATCH_S)
            text = self._store.get(_ERROR).decode()
            print(f"error: {text}: what is finished is kept", file=sys.stderr, flush=True)
            os._exit(1)

    def as_record(self) -> dict[str, Any]:
        """Return how many processes on how many machines, and what they do as one."""
        return {
            "processes": self.size,
            "machines": self._hosts,
            "backend": self._backend,
            "batch_norm": "over the whole batch",
        }

    def tell(self, value: Any) -> Any:
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._control, device=_CONTROL)
        return box[0]

    def everywhere(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self._control)
        return values

    def agreed(self, number: int | None) -> int | None:
        # What is asked at one step is answered at the next: nobody waits for it.
        answer = self._settle()
        flag = torch.tensor(number or 0)
        work = distributed.all_reduce(
            flag, distributed.ReduceOp.MAX, group=self._control, async_op=True
        )
        self._flag = work, flag
        return answer

    def _settle(self) -> int | None:
        """Wait for the answer to what was asked before; none: nothing was, or nobody stops."""
        if self._flag is None:
            return None
        (work, flag), self._flag = self._flag, None
        work.wait()
        return int(flag.item()) or None

    def check(self, stopper: StopRequest, seconds: float) -> None:
        # Nobody asks for that answer any more.
        self._settle()
        super().check(stopper, seconds)

    def share(
        self, labels: torch.Tensor, weight: torch.Tensor | None, whole: int
    ) -> float | torch.Tensor | None:
        if weight is None:
            return len(labels) / whole
        rows = weight[labels].sum()
        total = rows.clone()
        distributed.all_reduce(total, group=self._norms)
        return rows / total

    def wrap(self, model: nn.Module, *, skips: bool = False) -> Forward:
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
        gpus = torch.cuda.device_count()
        if local_size > gpus:
            raise BenchError(
                f"torchrun started {local_size} processes on this machine, which has {gpus} "
                f"GPUs: give --nproc-per-node {gpus}, or --device cpu"
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
