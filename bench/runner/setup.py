"""How one run is trained: memory format, loaders, workers, compiled or not, shared features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import nn

from bench.data.dataset import Batch, ImageDataset
from bench.data.device import finish
from bench.data.loaders import make_loader
from bench.data.progressive import ProgressiveSchedule
from bench.data.workers import choose_workers, measure_pipeline
from bench.runner.context import ProcessContext, RunSpec
from bench.system.environment import usable_cores
from bench.timing.estimate import FORMATS
from bench.timing.tuning import FROZEN, TOGETHER, Choice, forward_as_chosen
from bench.train import features
from bench.train.optim import freeze_backbone

# Mean and std of the images, one number each for red, green and blue.
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
GOES_ON = "as when the training began"
# Pixels a side below which a picture is ready before a thread has taken it over.
SMALL = 100
# What a step takes where nobody measured it.
UNKNOWN_IMAGES_PER_S = {"cpu": 10.0, "cuda": 1000.0}


@attrs.frozen(kw_only=True)
class Setup:
    """What :func:`bench.train.loop.train` is given besides the model.

    Attributes:
        loaders: batches of each part.
        prepare: a batch → images (or features) and labels on the device.
        forward: what computes the logits of a training step.
        evaluating: the same for evaluation.
        facts: what was chosen, and why.
        lasting: what of it must stay when a training goes on later.
        sharing: what was shared with other variants; asked for when the run has ended.
    """

    loaders: dict[str, Any]
    prepare: Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
    forward: Callable[[torch.Tensor], torch.Tensor]
    evaluating: Callable[[torch.Tensor], torch.Tensor]
    facts: dict[str, Any]
    lasting: dict[str, Any]
    sharing: Callable[[], dict[str, Any] | None] = lambda: None

    def as_record(self) -> dict[str, Any]:
        """The ``setup`` of a record's training."""
        return {**self.facts, "features": self.sharing()}


def set_up(
    spec: RunSpec,
    process: ProcessContext,
    model: nn.Module,
    normalisation: Normalisation,
    warnings: list[str],
    before: Mapping[str, Any] | None = None,
) -> Setup:
    """Put the model on the device in its memory format, and make what it is trained with.

    Args:
        spec: of the run.
        process: what the run shares with others.
        model: of the variant, with its initial weights.
        normalisation: mean and std of the images.
        warnings: of the record; a line is added for what was asked for and is not done.
        before: ``lasting`` of the training that goes on; none: it begins.
    """
    config, device, team = spec.config, process.device, process.team
    choice = _choice(spec, device.type, before)
    mode = choice.forward["chosen"]
    form = FORMATS[choice.memory_format]
    model.to(device).to(memory_format=form)  # type: ignore[call-overload]
    loaders, facts = _loaders(spec, process, normalisation, warnings)

    def prepare(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = finish(batch, device, *normalisation)
        return images.contiguous(memory_format=form), labels

    facts = {
        "memory_format": choice.memory_format,
        "memory_format_reason": choice.memory_format_reason,
        **facts,
        "forward": dict(choice.forward),
        "team": team.as_record(),
    }
    setup = Setup(
        loaders=loaders,
        prepare=prepare,
        forward=model,
        evaluating=model,
        facts=facts,
        lasting={"memory_format": choice.memory_format, "forward": mode},
    )
    if config.freeze_backbone:
        freeze_backbone(model)
    if team.size > 1:
        facts["forward"] |= {"chosen": "eager", "reason": TOGETHER}
        # Of a model of its own nobody knows whether each step uses all of it.
        forward = team.wrap(model, skips=spec.variant.build is not None)
        return attrs.evolve(setup, forward=forward)
    shared = _share_features(spec, process, model, normalisation, setup)
    if shared is not None:
        return shared
    return attrs.evolve(setup, forward=forward_as_chosen(model, mode, config.batch_size))


def _share_features(
    spec: RunSpec,
    process: ProcessContext,
    model: nn.Module,
    normalisation: Normalisation,
    setup: Setup,
) -> Setup | None:
    """Return how the head alone is trained on features of the frozen backbone; none: it is not."""
    if not spec.config.freeze_backbone or process.features is None:
        return None
    loaders = features.share(
        model,
        setup.loaders,
        process.features,
        spec.config,
        fold=spec.run.fold,
        normalisation=normalisation,
        prepare=setup.prepare,
        keep=spec.keep_features,
    )
    if loaders is None:
        return None
    classify: Any = model.classify
    chosen = {"chosen": "eager", "reason": FROZEN}
    return Setup(
        loaders=loaders,
        prepare=features.ready,
        forward=classify,
        evaluating=classify,
        facts={**setup.facts, "forward": setup.facts["forward"] | chosen},
        lasting={**setup.lasting, "forward": "eager"},
        sharing=functools.partial(features.as_record, loaders, process.features),
    )


def _choice(spec: RunSpec, device: str, before: Mapping[str, Any] | None) -> Choice:
    """Return the memory format and the forward pass: as before, as measured, or as asked for."""
    if before is not None:
        forward = {"chosen": before["forward"], "tried": [], "reason": GOES_ON}
        return Choice(before["memory_format"], GOES_ON, forward)
    config = spec.config
    return spec.sweep.tuned.get(spec.variant.name) or Choice(
        config.memory_format_on(device),
        f"the same for all variants on {device}"
        if config.memory_format == "auto"
        else "--memory-format",
        {"chosen": "eager", "tried": [], "reason": "--tune off"},
    )


def _loaders(
    spec: RunSpec, process: ProcessContext, normalisation: Normalisation, warnings: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the batches of each part, and what the record says of them."""
    config, parts, team = spec.config, spec.parts, process.team
    datasets = {
        part: ImageDataset(
            process.images, positions, parts.index.labels, parts.num_classes, *normalisation
        )
        for part, positions in parts.used.as_dict().items()
    }
    workers, reason = _workers(spec, process, datasets["train"], warnings)
    small = config.image_size < SMALL
    # Twice as many small images without gradients take a tenth less time each on a CPU, and no
    # more memory than a training step of half the batch; from SMALL pixels on it makes no
    # difference. Whether memory was short has no part in it: a sweep that goes on evaluates as it
    # did before.
    evaluated = config.batch_size * (2 if small and process.device.type == "cpu" else 1)
    loaders: dict[str, Any] = {
        part: make_loader(
            dataset,
            batch_size=config.batch_size if part == "train" else evaluated,
            seed=config.seed,
            train=part == "train",
            # The test part is read once: starting processes for it would cost more than they save.
            num_workers=0 if part == "test" else workers,
            device=process.device,
            threads=1 if small else torch.get_num_threads(),
            growth=ProgressiveSchedule.of(config) if part == "train" else None,
            member=(team.rank, team.size),
        )
        for part, dataset in datasets.items()
    }
    images = process.images.describe()
    return loaders, {"workers": workers, "workers_reason": reason, "images": images}


def _workers(
    spec: RunSpec, process: ProcessContext, dataset: ImageDataset, warnings: list[str]
) -> tuple[int, str]:
    number, device = spec.config.num_workers, process.device
    cores = max(1, usable_cores() // process.team.local_size)
    if number is not None:
        if number > cores:
            warnings.append(
                f"--num-workers {number}: more loader processes than cores of each training "
                f"({cores})"
            )
        return number, "--num-workers"
    rates = spec.sweep.rates.get(spec.variant.name)
    step = UNKNOWN_IMAGES_PER_S[device.type] if rates is None else 1 / rates.rate[0]
    number, reason = choose_workers(measure_pipeline(dataset, device=device), step, device, cores)
    # Variants of one backbone share the measurement of one of them.
    return number, reason if rates is None else f"{reason} (steps measured of {rates.of})"
