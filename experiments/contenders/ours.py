"""The harness as a contender: the one place where the experiments reach into its insides.

A contender's process trains, trains on a fixed batch, reads or decodes, an epoch whenever it is
told to. Everything else of the harness is run as the commands that users run
(:mod:`experiments.commands`).
"""

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

import variants
from bench.config import options as config
from bench.config.options import RunConfig
from bench.config.presets import Resolved
from bench.data.cache import DecodedImages
from bench.data.parts import DataSplits, decode_images, find_parts
from bench.models import build
from bench.runner.context import ProcessContext, Run, RunSpec, SweepContext
from bench.runner.setup import Setup, set_up
from bench.system.environment import usable_cores
from bench.system.memory import keep_freed_memory
from bench.timing.estimate import FORMATS, measure_rates
from bench.train import loop
from bench.train.checkpoint import CheckpointFiles
from bench.train.loop import Feed, TrainContext
from experiments.contenders.worker import TURNS, Channel

CLASSES = 10
DEVICE = torch.device("cpu")
MANY = 100_000

# ``variant``, ``data_dir``, ``image_size``, ``batch_size``, and ``options`` by name.
Job = Mapping[str, Any]
Batch = tuple[torch.Tensor, torch.Tensor]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def config_of(job: Job) -> RunConfig:
    """The options of a job."""
    data_dir = job.get("data_dir")
    values = {"data_dir": data_dir and Path(data_dir), "timing": False}
    values |= {name: job[name] for name in ("image_size", "batch_size")}
    return config.build(values | job.get("options", {}))


def settle(threads: int | None = None) -> None:
    """Allocator and threads, as the harness sets them for its own training."""
    keep_freed_memory()
    torch.set_num_threads(threads or usable_cores())


def model_of(job: Job, classes: int = CLASSES) -> tuple[nn.Module, Normalisation]:
    """The job's model with random weights, and mean and std of its images."""
    model, _ = build.build(variants.get(job["variant"]), classes, config_of(job))
    return model, build.normalisation(model)


def begin_job(job: Job) -> tuple[RunConfig, nn.Module, Normalisation]:
    """Options, model and normalisation of a job, in a process that has settled."""
    options = config_of(job)
    settle(options.threads)
    return options, *model_of(job)


def decoded(options: RunConfig, parts: DataSplits) -> DecodedImages:
    """The images of a config, from the cache where they are in it, else decoded into it."""
    return decode_images(parts.index, parts.positions(), options, workers=usable_cores())


def prepared(
    job: Job, model: nn.Module, normalisation: Normalisation, parts: DataSplits | None = None
) -> Setup:
    """All that stands between a command and its first epoch, in the order of ``bench run``.

    Files found and hashed, speeds measured (unless ``num_workers`` is given), images decoded,
    workers chosen, loaders made.

    Args:
        job: what is trained.
        model: the variant's; it gets its memory format.
        normalisation: mean and std.
        parts: the images, where they are known already.
    """
    options, variant = config_of(job), variants.get(job["variant"])
    parts = parts or find_parts(options)
    # Only the number of workers hangs on them.
    given = options.num_workers is not None
    rates = {} if given else measure_rates([variant], options, CLASSES, DEVICE)
    images = decoded(options, parts)
    sweep = SweepContext(
        id="", command="", resolved=Resolved(options, {}, None), device=DEVICE, rates=rates
    )
    run = Run(options.seed, None, parts.without(images))
    spec = RunSpec(sweep=sweep, run=run, key=variant.key)
    process = ProcessContext(device=DEVICE, images=images)
    return set_up(spec, process, model, normalisation, [])


def as_it_is(batch: Any) -> Any:
    """Prepare a batch that is prepared already."""
    return batch


def fit_model(
    model: nn.Module, feed: Feed, options: RunConfig, progress: Any, *, behind: bool = True
) -> None:
    """Train with the recipe; the model ends with the weights of its best epoch.

    Args:
        model: (B, 3, S, S) → (B, classes) logits.
        feed: loaders ``train`` and ``valid``, and how their batches are prepared.
        options: the recipe.
        progress: told of batches and epochs.
        behind: write files while the next epoch trains.
    """
    with tempfile.TemporaryDirectory() as folder:
        loop.train(
            model,
            feed,
            options,
            TrainContext(device=DEVICE, progress=progress),
            CheckpointFiles(best=Path(folder) / "best_model.pt", about={}, behind=behind),
        )


# --- contenders ------------------------------------------------------------------------------


class Gate:
    """Stands where the loop shows its progress: lets an epoch begin when it is asked for.

    Args:
        channel: to whoever asks.
        begin: the clock when the first epoch was asked for; none: it has yet to be.
        about: said with each answer.
    """

    def __init__(self, channel: Channel, begin: float | None = None, **about: Any) -> None:
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
        valid = row["valid_seconds"]
        self.channel.answer(self.seconds, self.images, valid_seconds=valid, **self.about)

    def fit(self, model: nn.Module, feed: Feed, options: RunConfig) -> None:
        """Train without an end: the process is ended from outside."""
        endless = attrs.evolve(options, epochs=MANY, patience=MANY)
        # Nothing may run beside the next contender.
        fit_model(model, feed, endless, self, behind=False)


def train(job: Job, channel: Channel) -> None:
    """Train by the harness' own loop, with its loader; the first epoch holds all preparations.

    These are: finding and hashing the files, building the cache, measuring a step.

    Args:
        job: what is trained.
        channel: to whoever asks for epochs.
    """
    options, model, normalisation = begin_job(job)
    channel.ready()
    gate = Gate(channel, channel.wait())
    setup = prepared(job, model, normalisation)
    gate.about |= {name: setup.facts[name] for name in ("memory_format", "workers")}
    gate.about["forward"] = setup.facts["forward"]["chosen"]
    feed = Feed(setup.loaders, setup.prepare, setup.forward, setup.evaluating)
    gate.fit(model, feed, options)


def train_fixed(job: Job, channel: Channel) -> None:
    """The same loop and step on one batch that lies in memory.

    Args:
        job: as of :func:`train`; ``images`` of an epoch, ``memory_format``.
        channel: to whoever asks for epochs.
    """
    options, model, _ = begin_job(job)
    batch_size, size = job["batch_size"], job["image_size"]
    form = FORMATS[job["memory_format"]]
    model.to(memory_format=form)
    images = torch.randn(batch_size, 3, size, size).contiguous(memory_format=form)
    batch = (images, torch.arange(batch_size) % CLASSES)
    loaders = {
        "train": fixed_batches(batch, job["images"] // batch_size),
        "valid": fixed_batches(batch, 1),
    }
    channel.ready()
    Gate(channel).fit(model, Feed(loaders, as_it_is), options)


def fixed_batches(batch: Batch, count: int) -> list[Batch]:
    """A loader that gives one batch again and again."""
    return [batch] * count


def train_in_turn(job: Job, channel: Channel) -> None:
    """The same loop, model and process: epochs from the harness' loader and of the fixed batch.

    Which comes next is drawn anew in each round of three (the fixed batch twice: A/A).

    Args:
        job: as of :func:`train`, and ``seed`` of the order.
        channel: to whoever asks for epochs; an answer's ``turns`` says which it was.
    """
    options, model, normalisation = begin_job(job)
    setup = prepared(job, model, normalisation)
    loader = setup.loaders["train"]
    fixed = fixed_batches(setup.prepare(next(iter(loader))), len(loader))
    gate = Gate(channel)
    turns = Turns(loader, fixed, job["seed"], gate.about)
    channel.ready()
    feed = Feed(
        setup.loaders | {"train": turns},
        lambda batch: batch if isinstance(batch, Fixed) else setup.prepare(batch),
    )
    gate.fit(model, feed, options)


class Fixed(Batch):
    """A batch that is prepared already."""


class Turns:
    """A loader whose epochs are of this kind and of that.

    Args:
        loader: of the harness.
        fixed: one batch, as often.
        seed: of the order.
        about: gets the kind of the epoch that has begun as ``turns``.
    """

    def __init__(self, loader: Any, fixed: list[Batch], seed: int, about: dict[str, Any]) -> None:
        self.dataset = loader.dataset
        self._loader, self._fixed, self._about = loader, fixed, about
        self._random, self._order = random.Random(seed), list[str]()

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        self._order = self._order or self._random.sample(TURNS, len(TURNS))
        self._about["turns"] = self._order.pop()
        if self._about["turns"] == TURNS[0]:
            return iter(self._loader)
        return map(Fixed, self._fixed)


def read(job: Job, channel: Channel) -> None:
    """Read the training part once an epoch on one core, augmented and normalised; no model."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _, model, normalisation = begin_job(job)
    setup = prepared(job, model, normalisation)
    channel.ready()
    while True:
        begin, seen = channel.wait(), 0
        for batch in setup.loaders["train"]:
            seen += len(setup.prepare(batch)[1])
        channel.answer(time.perf_counter() - begin, seen)


def decode_once(job: Job, channel: Channel) -> None:
    """Decode all images of the data on all cores into an empty cache: one epoch, once."""
    options = config_of(job)
    settle(options.threads)
    parts = find_parts(options)
    channel.ready()
    begin = channel.wait()
    images = decoded(options, parts)
    channel.answer(time.perf_counter() - begin, len(images.rows))
