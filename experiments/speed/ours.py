"""The harness as a contender: the one place where the experiments reach into its insides.

Everything else of it is run as the commands that users run (:mod:`experiments.speed.commands`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
from bench.timing.estimate import measure_rates

CLASSES = 10
DEVICE = torch.device("cpu")
MANY = 100_000

Job = Mapping[str, Any]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def config_of(job: Job) -> RunConfig:
    """The options of a job: its data, image size, batch, and ``options`` by name."""
    return config.build(
        {
            "data_dir": Path(job["data_dir"]) if job.get("data_dir") else None,
            "image_size": job["image_size"],
            "batch_size": job["batch_size"],
            "timing": False,
            **job.get("options", {}),
        }
    )


def endless(options: RunConfig) -> RunConfig:
    """The same without an end: the process is ended from outside."""
    return attrs.evolve(options, epochs=MANY, patience=MANY)


def settle(threads: int | None = None) -> None:
    """Allocator and threads, as the harness sets them for its own training."""
    keep_freed_memory()
    torch.set_num_threads(threads or usable_cores())


def model_of(job: Job, classes: int = CLASSES) -> tuple[nn.Module, Normalisation]:
    """The job's model with random weights, and mean and std of its images."""
    model, _ = build.build(variants.get(job["variant"]), classes, config_of(job))
    return model, build.normalisation(model)


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
        job: ``variant``, ``data_dir``, ``image_size``, ``batch_size``, ``options``.
        model: the variant's; it gets its memory format.
        normalisation: mean and std.
        parts: the images, where they are known already.
    """
    options, variant = config_of(job), variants.get(job["variant"])
    parts = parts or find_parts(options)
    # Only the number of workers hangs on them.
    asked = options.num_workers is not None
    rates = {} if asked else measure_rates([variant], options, CLASSES, DEVICE)
    images = decoded(options, parts)
    sweep = SweepContext(
        id="", command="", resolved=Resolved(options, {}, None), device=DEVICE, rates=rates
    )
    run = Run(options.seed, None, parts.without(images))
    spec = RunSpec(sweep=sweep, run=run, key=variant.key)
    process = ProcessContext(device=DEVICE, images=images)
    return set_up(spec, process, model, normalisation, [])
