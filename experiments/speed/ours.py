"""The harness as a contender: the one place where the experiments reach into its insides.

Everything else of it is run as the commands that users run (:mod:`experiments.speed.commands`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

import variants
from bench import build, config
from bench.config import RunConfig
from bench.data.cache import DecodedImages
from bench.data.device import finish
from bench.data.loaders import ImageDataset, make_loader
from bench.data.parts import Parts, cache_folder, decode_parts, find_parts
from bench.estimate import FORMATS, measure_rates
from bench.measure.environment import usable_cores
from bench.measure.memory import keep_freed_memory
from bench.train.engine import fit
from bench.tuning import choose_format
from experiments.speed.pipes import Channel

CLASSES = 10
DEVICE = torch.device("cpu")
# The process is ended from outside: no schedule and no patience may end it before.
MANY = 100_000

Job = Mapping[str, Any]
Mean = tuple[float, ...]


def config_of(job: Job) -> RunConfig:
    """The options of a job: ``variant``, ``data_dir``, ``image_size``, ``batch_size``, ``options``."""
    return config.build(
        {
            "data_dir": Path(job["data_dir"]) if job.get("data_dir") else None,
            "image_size": job["image_size"],
            "batch_size": job["batch_size"],
            "epochs": MANY,
            "patience": MANY,
            "timing": False,
            **job.get("options", {}),
        }
    )


def settle(threads: int | None = None) -> None:
    """Allocator and threads, as the harness sets them for its own training."""
    keep_freed_memory()
    torch.set_num_threads(threads or usable_cores())


def model_of(job: Job, classes: int = CLASSES) -> tuple[nn.Module, Mean, Mean]:
    """The job's model with random weights, and mean and std of its images."""
    model, _ = build.build(variants.get(job["variant"]), classes, config_of(job))
    return model, *build.normalisation(model)


def memory_format(job: Job) -> str:
    """The memory format that the harness chooses by measurement."""
    options = config_of(job)
    rates = measure_rates([variants.get(job["variant"])], options, CLASSES, DEVICE)
    return choose_format(rates.get(job["variant"]), options.tune)[0]


# --- data ------------------------------------------------------------------------------------


def decoded(options: RunConfig, parts: Parts | None = None) -> tuple[Parts, DecodedImages]:
    """The images of a config, from the cache where they are in it, else decoded into it."""
    return decode_parts(
        parts or find_parts(options), options, folder=cache_folder(), workers=usable_cores()
    )


def loaders_of(
    parts: Parts, images: DecodedImages, options: RunConfig, threads: int | None = None
) -> dict[str, Any]:
    """The loaders of each part, as a run makes them."""
    return {
        part: make_loader(
            ImageDataset(images, positions, parts.index.labels, parts.num_classes),
            batch_size=options.batch_size,
            seed=options.seed,
            train=part == "train",
            num_workers=options.num_workers or 0,
            device=DEVICE,
            threads=threads or usable_cores(),
        )
        for part, positions in parts.used.as_dict().items()
    }


# --- contenders ------------------------------------------------------------------------------


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

    def batches(self, loader: Any, epoch: int) -> Iterator[Any]:
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


def train(job: Job, channel: Channel) -> None:
    """Train by the harness' own loop, with its loader; the first epoch holds all preparations.

    These are: finding and hashing the files, building the cache, measuring the memory format.

    Args:
        job: ``variant``, ``data_dir``, ``image_size``, ``batch_size``, ``options``.
        channel: to whoever asks for epochs.
    """
    settle()
    model, mean, std = model_of(job)
    options = config_of(job)
    channel.ready()
    begin = channel.wait()
    parts, images = decoded(options)
    name = memory_format(job)
    loaders = loaders_of(parts, images, options)
    gate = Gate(channel, begin, memory_format=name)
    _fit(model, name, loaders["train"], loaders["valid"], options, gate, (mean, std))


def train_fixed(job: Job, channel: Channel) -> None:
    """The same loop and step on one batch that lies in memory.

    Args:
        job: as of :func:`train`; ``images`` of an epoch, ``valid_images``, ``memory_format``.
        channel: to whoever asks for epochs.
    """
    settle()
    model, _, _ = model_of(job)
    size = job["batch_size"]
    shape = (size, 3, job["image_size"], job["image_size"])
    form = FORMATS[job["memory_format"]]
    images = torch.randn(shape).contiguous(memory_format=form)
    batch = (images, torch.arange(size) % CLASSES)
    train_part = FixedBatches(batch, job["images"] // size)
    valid_part = FixedBatches(batch, job.get("valid_images", size) // size)
    channel.ready()
    gate = Gate(channel, None)
    _fit(model, job["memory_format"], train_part, valid_part, config_of(job), gate, None)


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


def _fit(
    model: nn.Module,
    format_name: str,
    train_part: Any,
    valid_part: Any,
    options: RunConfig,
    gate: Gate,
    normalisation: tuple[Mean, Mean] | None,
) -> None:
    model.to(memory_format=FORMATS[format_name])  # type: ignore[call-overload]

    def prepare(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return batch if normalisation is None else finish(batch, DEVICE, *normalisation)

    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            train_part,
            valid_part,
            options,
            device=DEVICE,
            prepare=prepare,
            progress=gate,  # type: ignore[arg-type]
            best_path=Path(folder) / "best_model.pt",
            about={},
        )


def read(job: Job, channel: Channel) -> None:
    """Read the training part once an epoch on one core, augmented and normalised; no model."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settle(threads=1)
    _, mean, std = model_of(job)
    options = config_of(job)
    parts, images = decoded(options)
    loader = loaders_of(parts, images, options, threads=1)["train"]
    channel.ready()
    while True:
        begin, seen = channel.wait(), 0
        for batch in loader:
            seen += len(finish(batch, DEVICE, mean, std)[1])
        channel.answer(time.perf_counter() - begin, seen)


def decode_once(job: Job, channel: Channel) -> None:
    """Decode all images of the data on all cores into an empty cache: one epoch, once."""
    settle()
    options = config_of(job)
    parts = find_parts(options)
    channel.ready()
    begin = channel.wait()
    _, images = decoded(options, parts)
    channel.answer(time.perf_counter() - begin, len(images.rows))
