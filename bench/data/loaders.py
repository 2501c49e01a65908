"""Batches of a decoded split: seeded, the same whatever the number of worker processes.

Order and random parameters of an epoch depend on the seed and its number alone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.data.dataset import Batch, ImageDataset
from bench.data.progressive import ProgressiveSchedule, weaken
from bench.data.transforms import draw_epoch, shuffled

# A batch takes seconds at most; a network drive that has gone away answers never.
TIMEOUT_S = 300.0


class Item(NamedTuple):
    """What is to be prepared: a batch, or this process' rows of it.

    Attributes:
        indices: of its images in the dataset.
        draws: how each is augmented, or none.
        size: of the images, where it is not the dataset's.
        whole: images of the whole batch.
    """

    indices: np.ndarray
    draws: np.ndarray | None
    size: int | None
    whole: int


@attrs.frozen(kw_only=True)
class Schedule:
    """What the batches of an epoch hold.

    Attributes:
        length: images.
        batch_size: B; the last batch may be smaller, in training larger by one.
        seed: of order and augmentation.
        train: shuffle and augment.
        growth: of size and augmentation from epoch to epoch, in training.
        member: number of this process, and how many share each batch.
        shards: (length,) the archive in which each image lies, or none.
    """

    length: int
    batch_size: int
    seed: int
    train: bool
    growth: ProgressiveSchedule | None = None
    member: tuple[int, int] = (0, 1)
    shards: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the batches of an epoch.

        In training a last batch of one image joins the one before it: BatchNorm cannot train on
        one value for each channel, and dropping it would never show that image in that epoch.
        """
        full, rest = divmod(self.length, self.batch_size)
        joins = self.train and rest == 1 and full > 0
        return full + (rest > 0 and not joins)

    def items(self, epoch: int) -> list[Item]:
        """Return each batch of an epoch: in training in a new order with new draws."""
        size = None
        if self.train:
            order = shuffled(self.length, self.seed, epoch, self.shards)
            draws = draw_epoch(self.length, self.seed, epoch)
            if self.growth is not None:
                stage = self.growth.stage(epoch)
                draws, size = weaken(draws, stage.strength), stage.image_size
        else:
            order, draws = np.arange(self.length), None
        edges = [*(number * self.batch_size for number in range(len(self))), self.length]
        items = []
        for start, stop in pairwise(edges):
            first, last = bounds(stop - start, *self.member)
            indices = order[start + first : start + last]
            params = None if draws is None else draws[indices]
            items.append(Item(indices, params, size, stop - start))
        return items


def bounds(count: int, number: int, size: int) -> tuple[int, int]:
    """Return the rows of a batch that one of several processes has: first, and first of the next.

    They are divided as evenly as they can be, as by :func:`torch.tensor_split`.

    Args:
        count: rows of the whole batch.
        number: of the process.
        size: how many there are.
    """
    each, rest = divmod(count, size)
    start = number * each + min(number, rest)
    return start, start + each + (number < rest)


class Loader:
    """Batches of a dataset, an epoch at each pass.

    Args:
        dataset: the images.
        schedule: what each batch holds.
        num_workers: processes that prepare batches, kept from epoch to epoch; 0: this process.
        on_gpu: whether the model is on one.
        threads: that prepare a batch where there are no processes.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        schedule: Schedule,
        *,
        num_workers: int,
        on_gpu: bool,
        threads: int,
    ) -> None:
        self.dataset = dataset
        self._schedule = schedule
        self._epoch, self._first = 1, 0
        # The processes are told of an epoch's batches through this list.
        self._items: list[Item] = []
        threads = 0 if num_workers else threads
        pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._work = _Work(dataset, on_gpu, threads, pool)
        self._processes = self._start(num_workers, on_gpu) if num_workers else None

    def __len__(self) -> int:
        return len(self._schedule)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Make the next pass that of an epoch; without it the first pass is epoch 1, and so on.

        Args:
            epoch: its number, from 1.
            first: batch to begin that pass with, from 0.
        """
        self._epoch, self._first = epoch, first

    def __iter__(self) -> Iterator[Batch]:
        items = self._schedule.items(self._epoch)[self._first :]
        self._epoch, self._first = self._epoch + 1, 0
        if self._processes is None:
            return map(self._work.__getitem__, items)
        self._items[:] = items
        # They begin now, not when the first batch is asked for.
        return iter(self._processes)

    def _start(self, num_workers: int, on_gpu: bool) -> DataLoader:
        return _Processes(
            self._work,
            batch_size=None,
            sampler=self._items,
            # Without one of its own it draws worker seeds from the global generator, and how often
            # depends on the number of workers: dropout would then differ with it.
            generator=torch.Generator().manual_seed(self._schedule.seed),
            num_workers=num_workers,
            pin_memory=on_gpu,
            persistent_workers=True,
            timeout=TIMEOUT_S,
            worker_init_fn=_leave_interrupts,
        )


class _Processes(DataLoader):
    """A loader without PyTorch's warning of more workers than cores: the record has its own."""

    def check_worker_number_rationality(self) -> None:
        pass


@attrs.frozen
class _Work(Dataset[Batch]):
    """Prepares an item, in this process with its threads, or without any in a worker."""

    dataset: ImageDataset
    on_gpu: bool
    threads: int
    pool: ThreadPoolExecutor | None

    def __getitem__(self, item: Any) -> Batch:
        batch = self.dataset.batch(
            item.indices,
            item.draws,
            item.size,
            on_gpu=self.on_gpu,
            # Workers leave it to PyTorch's thread of this process.
            pinned=self.on_gpu and self.threads > 0,
            pool=self.pool,
            threads=self.threads,
        )
        return batch._replace(whole=item.whole)


def _leave_interrupts(number: int) -> None:
    # A terminal sends Ctrl-C to these processes too, and the training still needs their batches
    # to finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "RANK" in os.environ:
        # torchrun sends SIGTERM to all that its processes have started.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def make_loader(
    dataset: ImageDataset,
    *,
    batch_size: int,
    seed: int,
    train: bool,
    num_workers: int,
    device: torch.device,
    threads: int,
    growth: ProgressiveSchedule | None = None,
    member: tuple[int, int] = (0, 1),
) -> Loader:
    """Return a loader of a device's batches; ``Args`` as :class:`Schedule` and :class:`Loader`."""
    schedule = Schedule(
        length=len(dataset),
        batch_size=batch_size,
        seed=seed,
        train=train,
        growth=growth,
        member=member,
        shards=dataset.shards,
    )
    return Loader(
        dataset,
        schedule,
        num_workers=num_workers,
        on_gpu=device.type == "cuda",
        threads=threads,
    )
