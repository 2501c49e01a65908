"""What a contender's process does for us: train, train on a fixed batch, read, decode."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.data.parts import find_parts
from bench.timing.estimate import FORMATS
from bench.train import loop
from bench.train.checkpoint import CheckpointFiles
from bench.train.loop import Feed, TrainContext
from experiments.speed import ours
from experiments.speed.channel import Channel
from experiments.speed.race import TURNS


class Gate:
    """Stands where the loop shows its progress: lets an epoch begin when it is asked for.

    Args:
        channel: to whoever asks.
        begin: the clock when the first epoch was asked for; none: it has yet to be.
        about: said with each answer.
    """

    def __init__(self, channel: Channel, begin: float | None, **about: Any) -> None:
        self.channel, self.begin, self.about = channel, begin, about
        self.seconds, self.images = 0.0, 0

    def batches(self, loader: Any, epoch: int, seen: int = 0) -> Iterator[Any]:
        """The loader's batches, and the time that all steps on them took."""
        begin = self.channel.wait() if self.begin is None else self.begin
        self.begin, self.images = None, 0
        for batch in loader:
            yield batch
            self.images += len(batch[1])
        self.seconds = time.perf_counter() - begin

    def epoch_done(self, row: Mapping[str, float], best_epoch: int) -> None:
        """Answer once validation is over too, so that nothing runs beside the next contender."""
        about = {
            name: value.what if isinstance(value, Turns) else value
            for name, value in self.about.items()
        }
        valid = row["valid_seconds"]
        self.channel.answer(self.seconds, self.images, valid_seconds=valid, **about)


def train(job: ours.Job, channel: Channel) -> None:
    """Train by the harness' own loop, with its loader; the first epoch holds all preparations.

    These are: finding and hashing the files, building the cache, measuring a step.

    Args:
        job: ``variant``, ``data_dir``, ``image_size``, ``batch_size``, ``options``.
        channel: to whoever asks for epochs.
    """
    options = ours.config_of(job)
    ours.settle(options.threads)
    model, normalisation = ours.model_of(job)
    channel.ready()
    begin = channel.wait()
    setup = ours.prepared(job, model, normalisation)
    gate = Gate(
        channel,
        begin,
        memory_format=setup.facts["memory_format"],
        workers=setup.facts["workers"],
        forward=setup.facts["forward"]["chosen"],
    )
    feed = Feed(setup.loaders, setup.prepare, setup.forward, setup.evaluating)
    _fit(model, feed, options, gate)


def train_fixed(job: ours.Job, channel: Channel) -> None:
    """The same loop and step on one batch that lies in memory.

    Args:
        job: as of :func:`train`; ``images`` of an epoch, ``valid_images``, ``memory_format``.
        channel: to whoever asks for epochs.
    """
    options = ours.config_of(job)
    ours.settle(options.threads)
    model, _ = ours.model_of(job)
    size = job["batch_size"]
    shape = (size, 3, job["image_size"], job["image_size"])
    form = FORMATS[job["memory_format"]]
    model.to(memory_format=form)  # type: ignore[call-overload]
    images = torch.randn(shape).contiguous(memory_format=form)
    batch = (images, torch.arange(size) % ours.CLASSES)
    train_part = FixedBatches(batch, job["images"] // size)
    valid_part = FixedBatches(batch, job.get("valid_images", size) // size)
    channel.ready()
    gate = Gate(channel, None)
    feed = Feed({"train": train_part, "valid": valid_part}, lambda batch: batch)
    _fit(model, feed, options, gate)


@attrs.frozen
class FixedBatches:
    """A loader that gives one batch again and again."""

    batch: tuple[torch.Tensor, torch.Tensor]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _ in range(self.count):
            yield self.batch


def train_in_turn(job: ours.Job, channel: Channel) -> None:
    """The same loop, model and process: epochs from the harness' loader and of the fixed batch.

    Which comes next is drawn anew in each round of three (the fixed batch twice: A/A).

    Args:
        job: as of :func:`train`, and ``seed`` of the order.
        channel: to whoever asks for epochs; an answer's ``what`` says which it was.
    """
    options = ours.config_of(job)
    ours.settle(options.threads)
    model, normalisation = ours.model_of(job)
    setup = ours.prepared(job, model, normalisation)
    loader = setup.loaders["train"]
    fixed = setup.prepare(next(iter(loader)))
    turns = Turns(loader, FixedBatches(fixed, len(loader)), job["seed"])
    channel.ready()
    gate = Gate(channel, None, turns=turns)
    feed = Feed(
        {**setup.loaders, "train": turns},
        lambda batch: batch if isinstance(batch, Fixed) else setup.prepare(batch),
    )
    _fit(model, feed, options, gate)


class Fixed(tuple[torch.Tensor, torch.Tensor]):
    """A batch that is prepared already."""


class Turns:
    """A loader whose epochs are of this kind and of that.

    Args:
        loader: of the harness.
        fixed: one batch, as often.
        seed: of the order.
    """

    def __init__(self, loader: Any, fixed: FixedBatches, seed: int) -> None:
        self.dataset = loader.dataset
        self.what = ""
        self._loader, self._fixed = loader, fixed
        self._random, self._order = random.Random(seed), list[str]()

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        if not self._order:
            self._order = self._random.sample(TURNS, len(TURNS))
        self.what = self._order.pop()
        if self.what == TURNS[0]:
            return iter(self._loader)
        return map(Fixed, self._fixed)


def _fit(model: nn.Module, feed: Feed, options: RunConfig, gate: Gate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loop.train(
            model,
            feed,
            ours.endless(options),
            TrainContext(device=ours.DEVICE, progress=gate),  # type: ignore[arg-type]
            # Nothing may run beside the next contender.
            CheckpointFiles(best=Path(folder) / "best_model.pt", about={}, behind=False),
        )


def read(job: ours.Job, channel: Channel) -> None:
    """Read the training part once an epoch on one core, augmented and normalised; no model."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ours.settle(1)
    setup = ours.prepared(job, *ours.model_of(job))
    channel.ready()
    while True:
        begin, seen = channel.wait(), 0
        for batch in setup.loaders["train"]:
            seen += len(setup.prepare(batch)[1])
        channel.answer(time.perf_counter() - begin, seen)


def decode_once(job: ours.Job, channel: Channel) -> None:
    """Decode all images of the data on all cores into an empty cache: one epoch, once."""
    options = ours.config_of(job)
    ours.settle(options.threads)
    parts = find_parts(options)
    channel.ready()
    begin = channel.wait()
    images = ours.decoded(options, parts)
    channel.answer(time.perf_counter() - begin, len(images.rows))
