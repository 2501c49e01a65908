"""How one run is trained: memory format, loaders, workers, compiled or not, shared features."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch import nn

import variants
from bench.data.dataset import Batch, ImageDataset
from bench.data.device import finish
from bench.data.growth import Growth
from bench.data.loaders import make_loader
from bench.data.workers import choose_workers, measure_pipeline
from bench.estimate import FORMATS
from bench.measure.environment import usable_cores
from bench.measure.throughput import device_name
from bench.train import features
from bench.train.accumulation import out_of_memory
from bench.train.optim import AMP_TYPES, choose_amp, freeze_backbone, set_training
from bench.tuning import choose_format, choose_forward, forward_as_before

if TYPE_CHECKING:
    from bench.shared import Sweep

GOES_ON = "as when the training began"
# Pixels a side below which a picture is ready before a thread has taken it over.
SMALL = 100
# What a step takes where nobody measured it.
UNKNOWN_IMAGES_PER_S = {"cpu": 10.0, "cuda": 1000.0}


@attrs.frozen(kw_only=True)
class Setup:
    """What :func:`bench.train.engine.fit` is given besides the model.

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
    sharing: Callable[[], dict[str, Any] | None]

    def as_record(self) -> dict[str, Any]:
        """The ``setup`` of a record's training."""
        return {**self.facts, "features": self.sharing()}


def set_up(
    sweep: Sweep,
    variant: variants.Variant,
    model: nn.Module,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    warnings: list[str],
    before: Mapping[str, Any] | None = None,
) -> Setup:
    """Put the model on the device in its memory format, and make what it is trained with.

    Args:
        sweep: what the run shares with others.
        variant: what is trained.
        model: of the variant, with its initial weights.
        normalisation: mean and std of the images.
        warnings: of the record; a line is added for what was asked for and is not done.
        before: ``lasting`` of the training that goes on; none: it begins.
    """
    config, device, team = sweep.config, sweep.device, sweep.team
    memory_format, why = choose_format(sweep.rates.get(variant.name), config.tune)
    if before is not None:
        memory_format, why = before["memory_format"], GOES_ON
    form = FORMATS[memory_format]
    model.to(device).to(memory_format=form)  # type: ignore[call-overload]
    datasets = {
        part: ImageDataset(
            sweep.images, positions, sweep.parts.index.labels, sweep.parts.num_classes,
            *normalisation,
        )
        for part, positions in sweep.parts.used.as_dict().items()
    }  # fmt: skip
    workers, workers_why = _workers(sweep, variant, datasets["train"], warnings)
    loaders: dict[str, Any] = {
        part: make_loader(
            dataset,
            batch_size=config.batch_size if part == "train" else _evaluated(sweep),
            seed=config.seed,
            train=part == "train",
            # The test part is read once: starting processes for it would cost more than they save.
            num_workers=0 if part == "test" else workers,
            device=device,
            threads=torch.get_num_threads() if config.image_size >= SMALL else 1,
            growth=Growth.of(config) if part == "train" else None,
            member=(team.rank, team.size),
        )
        for part, dataset in datasets.items()
    }

    def prepare(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = finish(batch, device, *normalisation)
        return images.contiguous(memory_format=form), labels

    facts: dict[str, Any] = {
        "memory_format": memory_format,
        "memory_format_reason": why,
        "workers": workers,
        "workers_reason": workers_why,
        "images": sweep.images.describe(),
        "forward": {"chosen": "eager", "tried": [], "reason": "--tune off"},
        "team": team.as_record(),
    }
    if config.freeze_backbone:
        freeze_backbone(model)
    if team.size > 1:
        facts["forward"]["reason"] = "several processes train together"
        return Setup(
            loaders=loaders,
            prepare=prepare,
            # Of a model of its own nobody knows whether each step uses all of it.
            forward=team.wrap(model, skips=variant.build is not None),
            evaluating=model,
            facts=facts,
            lasting={
                "memory_format": memory_format,
                "forward": "eager" if before is None else before["forward"],
            },
            sharing=lambda: None,
        )
    if config.freeze_backbone and sweep.features is not None:
        shared = features.share(
            model,
            loaders,
            sweep.features,
            config,
            fold=sweep.run.fold,
            normalisation=normalisation,
            device=device,
            prepare=prepare,
            keep=variant.name in sweep.needed_later,
        )
        if shared is not None:
            facts["forward"] = {**facts["forward"], "reason": "the backbone is frozen"}
            classify: Any = model.classify
            return Setup(
                loaders=shared,
                prepare=features.ready,
                forward=classify,
                evaluating=classify,
                facts=facts,
                lasting={"memory_format": memory_format, "forward": "eager"},
                sharing=functools.partial(features.as_record, shared, sweep.features),
            )
    forward: Callable[[torch.Tensor], torch.Tensor] = model
    if before is not None:
        forward = forward_as_before(model, before["forward"], config.batch_size)
        facts["forward"] = {"chosen": before["forward"], "tried": [], "reason": GOES_ON}
    elif config.progressive:
        facts["forward"]["reason"] = "--progressive: the size of the images changes"
    elif config.tune == "auto":
        batch = datasets["train"].batch(
            np.arange(config.batch_size), on_gpu=device.type == "cuda", pinned=device.type == "cuda"
        )
        forward, facts["forward"] = _forward(
            sweep, variant, model, prepare, batch, loaders, memory_format
        )
    return Setup(
        loaders=loaders,
        prepare=prepare,
        forward=forward,
        evaluating=model,
        facts=facts,
        lasting={"memory_format": memory_format, "forward": facts["forward"]["chosen"]},
        sharing=lambda: None,
    )


def _evaluated(sweep: Sweep) -> int:
    """Images of a batch without gradients.

    Twice as many small ones take a tenth less time each on a CPU, and no more memory than an
    undivided training step; from :data:`SMALL` pixels on it makes no difference.
    """
    config = sweep.config
    small = config.image_size < SMALL and sweep.accumulation.parts == 1
    return config.batch_size * (2 if small and sweep.device.type == "cpu" else 1)


def _workers(
    sweep: Sweep, variant: variants.Variant, dataset: ImageDataset, warnings: list[str]
) -> tuple[int, str]:
    asked, cores = sweep.config.num_workers, max(1, usable_cores() // sweep.team.local_size)
    if asked is None:
        rates = sweep.rates.get(variant.name)
        step = UNKNOWN_IMAGES_PER_S[sweep.device.type]
        if rates is not None:
            step = 1 / rates.rate(sweep.config.tune)[0]
        return choose_workers(
            measure_pipeline(dataset, device=sweep.device), step, sweep.device, cores
        )
    if asked > cores:
        warnings.append(
            f"--num-workers {asked}: more loader processes than cores of each training ({cores})"
        )
    return asked, "--num-workers"


def _forward(
    sweep: Sweep,
    variant: variants.Variant,
    model: nn.Module,
    prepare: Callable[[Any], tuple[torch.Tensor, torch.Tensor]],
    batch: Batch,
    loaders: dict[str, Any],
    memory_format: str,
) -> tuple[Callable[[torch.Tensor], torch.Tensor], dict[str, Any]]:
    config, device = sweep.config, sweep.device
    steps = config.epochs * len(loaders["train"])
    rates = sweep.rates.get(variant.name)
    expected = None
    if rates is not None:
        expected = rates.rate(config.tune)[0] * config.epochs * len(loaders["train"].dataset)
    amp = choose_amp(config.amp, device)
    context: Any = contextlib.nullcontext
    if amp != "off":
        context = functools.partial(torch.autocast, device.type, dtype=AMP_TYPES[amp])
    set_training(model, frozen=config.freeze_backbone)
    images, labels = prepare(batch)
    about = (
        variant.name, variant.version, config.reduction, config.dropout, config.freeze_backbone,
        tuple(images.shape), memory_format, amp, device_name(device), torch.get_num_threads(),
        torch.__version__,
    )  # fmt: skip
    try:
        return choose_forward(
            model,
            images,
            labels,
            planned_steps=steps,
            expected_s=expected,
            amp=context,
            key="|".join(map(str, about)),
        )
    except Exception as error:
        # The training divides such a batch; what it does then is not what would be measured here.
        if not out_of_memory(error):
            raise
    model.zero_grad(set_to_none=True)
    return model, {"chosen": "eager", "tried": [], "reason": "a batch does not fit in memory"}
