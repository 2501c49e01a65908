"""The harness as a contender: the one place where the experiments reach into its insides.

Everything else of it is run as the commands that users run (:mod:`experiments.speed.commands`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import variants
from bench import build, config
from bench.config import RunConfig
from bench.data.cache import DecodedImages
from bench.data.dataset import ImageDataset
from bench.data.loaders import make_loader
from bench.data.parts import Parts, decode_images, find_parts
from bench.data.workers import choose_workers, measure_pipeline
from bench.estimate import measure_rates
from bench.measure.environment import usable_cores
from bench.measure.memory import keep_freed_memory
from bench.tuning import choose_format

CLASSES = 10
DEVICE = torch.device("cpu")
# The process is ended from outside: no schedule and no patience may end it before.
MANY = 100_000

Job = Mapping[str, Any]
Mean = tuple[float, ...]


def config_of(job: Job) -> RunConfig:
    """The options of a job: its data, image size, batch, and ``options`` by name."""
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


def chosen_format(job: Job) -> tuple[str, float | None]:
    """The memory format that the harness chooses by measurement, and images/s of its steps."""
    options = config_of(job)
    rates = measure_rates([variants.get(job["variant"])], options, CLASSES, DEVICE)
    found = rates.get(job["variant"])
    speed = None if found is None else 1 / found.rate(options.tune)[0]
    return choose_format(found, options.tune)[0], speed


# --- data ------------------------------------------------------------------------------------


def decoded(options: RunConfig, parts: Parts | None = None) -> tuple[Parts, DecodedImages]:
    """The images of a config, from the cache where they are in it, else decoded into it."""
    parts = parts or find_parts(options)
    images = decode_images(parts.index, parts.positions(), options, workers=usable_cores())
    return parts.without(images), images


def loaders_of(
    parts: Parts,
    images: DecodedImages,
    options: RunConfig,
    normalisation: tuple[Mean, Mean],
    *,
    step_images_per_s: float | None = None,
) -> dict[str, Any]:
    """The loaders of each part, as a run makes them.

    Args:
        parts: the images of the run.
        images: their pixels.
        options: of the run; without ``num_workers`` they are chosen by measurement.
        normalisation: mean and std.
        step_images_per_s: of the training step, to choose the number of processes by.
    """
    datasets = {
        part: ImageDataset(images, positions, parts.index.labels, parts.num_classes, *normalisation)
        for part, positions in parts.used.as_dict().items()
    }
    workers = options.num_workers
    if workers is None:
        cores = usable_cores()
        own = measure_pipeline(datasets["train"], device=DEVICE)
        workers = choose_workers(own, step_images_per_s or own, DEVICE, cores)[0]
    return {
        part: make_loader(
            dataset,
            batch_size=options.batch_size,
            seed=options.seed,
            train=part == "train",
            num_workers=workers if part == "train" else 0,
            device=DEVICE,
            threads=options.threads or usable_cores(),
        )
        for part, dataset in datasets.items()
    }
