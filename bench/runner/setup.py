"""How one run is trained: memory format, loaders, workers, compiled or not, shared features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import nn

import variants
from bench.data.dataset import Batch, ImageDataset
from bench.data.device import finish
from bench.data.loaders import make_loader
from bench.data.progressive import ProgressiveSchedule
from bench.data.workers import choose_workers, measure_pipeline
from bench.system.environment import usable_cores
from bench.timing.estimate import FORMATS
from bench.timing.tuning import FROZEN, TOGETHER, Choice, forward_as_chosen
from bench.train import features
from bench.train.optim import freeze_backbone

if TYPE_CHECKING:
    from bench.runner.context import Sweep

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
    chosen = sweep.tuned.get(variant.name) or Choice(
        config.memory_format_on(device.type),
        f"the same for all variants on {device.type}"
        if config.memory_format == "auto"
        else "--memory-format",
        {"chosen": "eager", "tried": [], "reason": "--tune off"},
    )
    if before is not None:
        again = {"chosen": before["forward"], "tried": [], "reason": GOES_ON}
        chosen = Choice(before["memory_format"], GOES_ON, again)
    memory_format = chosen.memory_format
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
            growth=ProgressiveSchedule.of(config) if part == "train" else None,
            member=(team.rank, team.size),
        )
        for part, dataset in datasets.items()
    }

    def prepare(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = finish(batch, device, *normalisation)
        return images.contiguous(memory_format=form), labels

    facts: dict[str, Any] = {
        "memory_format": memory_format,
        "memory_format_reason": chosen.memory_format_reason,
        "workers": workers,
        "workers_reason": workers_why,
        "images": sweep.images.describe(),
        "forward": dict(chosen.forward),
        "team": team.as_record(),
    }
    if config.freeze_backbone:
        freeze_backbone(model)
    if team.size > 1:
        facts["forward"] = {**chosen.forward, "chosen": "eager", "reason": TOGETHER}
        return Setup(
            loaders=loaders,
            prepare=prepare,
            # Of a model of its own nobody knows whether each step uses all of it.
            forward=team.wrap(model, skips=variant.build is not None),
            evaluating=model,
            facts=facts,
            lasting={"memory_format": memory_format, "forward": chosen.forward["chosen"]},
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
            prepare=prepare,
            keep=variant.name in sweep.needed_later,
        )
        if shared is not None:
            facts["forward"] = {**chosen.forward, "chosen": "eager", "reason": FROZEN}
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
    return Setup(
        loaders=loaders,
        prepare=prepare,
        forward=forward_as_chosen(model, chosen.forward["chosen"], config.batch_size),
        evaluating=model,
        facts=facts,
        lasting={"memory_format": memory_format, "forward": chosen.forward["chosen"]},
        sharing=lambda: None,
    )


def _evaluated(sweep: Sweep) -> int:
    """Images of a batch without gradients.

    Twice as many small ones take a tenth less time each on a CPU, and no more memory than a
    training step of half the batch; from :data:`SMALL` pixels on it makes no difference. Whether
    memory was short has no part in it: a sweep that goes on evaluates as it did before.
    """
    small = sweep.config.image_size < SMALL and sweep.device.type == "cpu"
    return sweep.config.batch_size * (2 if small else 1)


def _workers(
    sweep: Sweep, variant: variants.Variant, dataset: ImageDataset, warnings: list[str]
) -> tuple[int, str]:
    asked, cores = sweep.config.num_workers, max(1, usable_cores() // sweep.team.local_size)
    if asked is None:
        rates = sweep.rates.get(variant.name)
        step = UNKNOWN_IMAGES_PER_S[sweep.device.type]
        if rates is not None:
            step = 1 / rates.rate[0]
        number, why = choose_workers(
            measure_pipeline(dataset, device=sweep.device), step, sweep.device, cores
        )
        # Variants of one backbone share the measurement of one of them.
        return number, why if rates is None else f"{why} (steps measured of {rates.of})"
    if asked > cores:
        warnings.append(
            f"--num-workers {asked}: more loader processes than cores of each training ({cores})"
        )
    return asked, "--num-workers"
