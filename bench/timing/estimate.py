"""How fast each backbone trains here, and the minutes that a sweep will take.

From a short measurement, or a cached one of the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.data.parts import DataSplits
from bench.data.progressive import ProgressiveSchedule
from bench.models import build
from bench.system.environment import LoadMeter, usable_cores
from bench.system.memory import keep_freed_memory
from bench.system.paths import recall, remember
from bench.timing.planner import Rate
from bench.timing.timer import device_name
from bench.train.optim import freeze_backbone, set_training

# Images of a measured step: eight of 224 pixels, as many pixels of smaller ones (whose batches
# cost most beside the pixels) up to sixteen, and never more than a batch.
PROBE_BATCH, PROBE_SIZE, PROBE_MOST = 8, 224, 16
# Steps that take longer are timed once.
LONG_S = 0.1
BUDGET_S = 40.0
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
# What is kept between sweeps, and part of its keys: a new number for a new way of measuring.
KIND, VERSION = "estimates", 7
# Above this share of the machine that others use, what is measured is of no use later.
MUCH_LOAD = 0.1


@attrs.frozen
class StepRates:
    """How fast the steps of a variant are.

    Attributes:
        rate: seconds for one image in a training step and in a forward pass.
        batch: images of the measured batch.
        load: share of the machine that others used meanwhile, 0..1, where it was much.
        of: what was measured: the backbone, whose variants share it, or a variant without one.
    """

    rate: Rate
    batch: int
    load: float | None = None
    of: str = ""


@attrs.frozen
class Estimate:
    """Time of training one variant: all its seeds and folds, and one epoch of one of them."""

    variant: str
    minutes: float
    epoch_s: float
    note: str


def measure_rates(
    chosen: Sequence[variants.Variant],
    config: RunConfig,
    num_classes: int,
    device: torch.device,
    memory_format: str | None = None,
) -> dict[str, StepRates]:
    """Speeds of each variant's steps.

    Some steps of each backbone are timed, or what an earlier check of the same machine found:
    variants of one backbone share a measurement (attention on the last feature map adds a few
    percent). Backbones are measured until :data:`BUDGET_S` seconds are over; a variant that cannot
    be built or whose turn does not come is missing. What was measured beside other programs is
    measured anew the next time.

    Args:
        chosen: the variants.
        config: the options.
        num_classes: outputs of the models.
        device: where to measure.
        memory_format: a name of :data:`FORMATS`; none: the config's on that device.
    """
    memory_format = memory_format or config.memory_format_on(device.type)
    keep_freed_memory()
    torch.set_num_threads(config.threads or usable_cores())
    cache, measured = recall(KIND), dict[str, list[float]]()
    keys = [_key(variant, config, device, memory_format) for variant in chosen]
    deadline = time.perf_counter() + BUDGET_S
    meter = LoadMeter()
    meter.start()
    for variant, key in zip(chosen, keys, strict=True):
        if key not in cache and time.perf_counter() < deadline:
            try:
                rate = _measure(variant, config, num_classes, device, memory_format)
                cache[key] = measured[key] = rate
            except Exception:
                cache[key] = None
    load = meter.stop() or 0.0
    busy = load > MUCH_LOAD
    if not busy:
        remember(KIND, measured)
    return {
        variant.name: StepRates(
            rate=(cache[key][0], cache[key][1]),
            batch=_probe_batch(config),
            load=load if busy and key in measured else None,
            of=_measured(variant),
        )
        for variant, key in zip(chosen, keys, strict=True)
        if cache.get(key)
    }


def estimate(
    chosen: Sequence[variants.Variant],
    config: RunConfig,
    runs: Sequence[DataSplits],
    rates: Mapping[str, StepRates],
) -> list[Estimate]:
    """Return the time of each variant on the images of all its runs.

    A variant without a rate takes the slowest one's. Images that grow take their share of the
    pixels; an epoch's time is then the mean.
    """
    slowest = max((rates[name].rate for name in rates), default=(0.0, 0.0))
    splits = [parts.used for parts in runs]
    train = sum(len(split.train) for split in splits)
    valid = sum(len(split.valid) for split in splits)
    test = sum(len(split.test) for split in splits)
    growth = ProgressiveSchedule.of(config)
    area = 1.0 if growth is None else growth.area
    estimates = []
    for variant in chosen:
        rate = rates.get(variant.name)
        train_s, valid_s = rate.rate if rate else slowest
        epoch = area * train_s * train + valid_s * valid
        seconds = config.epochs * epoch + valid_s * test
        note = ""
        if rate is None:
            note = " (not measured: as the slowest of the others)"
        elif rate.load is not None:
            note = f" (measured while others used {100 * rate.load:.0f} % of the machine)"
        estimates.append(Estimate(variant.name, seconds / 60, epoch / len(runs), note))
    return estimates


def random_batch(
    variant: variants.Variant,
    config: RunConfig,
    num_classes: int,
    device: torch.device,
    memory_format: str,
    size: int,
) -> tuple[nn.Module, torch.Tensor]:
    """Return a model with random weights and (size, 3, S, S) random images, as they train.

    Args:
        memory_format: a name of :data:`FORMATS`.
    """
    plain = attrs.evolve(config, pretrained=False, weights=None)
    model = build.build(variant, num_classes, plain)[0].to(device)
    form = FORMATS[memory_format]
    model.to(memory_format=form)  # type: ignore[call-overload]
    images = torch.randn(size, 3, config.image_size, config.image_size, device=device)
    return model, images.contiguous(memory_format=form)


def _measure(
    variant: variants.Variant,
    config: RunConfig,
    num_classes: int,
    device: torch.device,
    memory_format: str,
) -> list[float]:
    """Return the seconds for one image in a training step and in a forward pass.

    An update costs the same whatever the batch: it is timed apart, and shared by the images of a
    batch of the training.
    """
    size = _probe_batch(config)
    model, images = random_batch(variant, config, num_classes, device, memory_format, size)
    if config.freeze_backbone:
        freeze_backbone(model)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), fused=True)
    updates: list[float] = []

    def train_step() -> None:
        set_training(model, frozen=config.freeze_backbone)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        _wait(device)
        begin = time.perf_counter()
        optimizer.step()
        _wait(device)
        updates.append(time.perf_counter() - begin)

    @torch.inference_mode()
    def forward() -> None:
        model.eval()
        model(images)

    step_s = _seconds(train_step, device)
    train_s = per_image(step_s, min(updates), size, config.batch_size)
    return [train_s, _seconds(forward, device) / size]


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """The faster of two calls after one that warms up; a long one is called once."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < 3 and taken[1] < LONG_S):
        begin = time.perf_counter()
        step()
        _wait(device)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def per_image(step_s: float, update_s: float, size: int, batch_size: int) -> float:
    """Seconds for one image in a step on ``batch_size`` images.

    Args:
        step_s: of a step on ``size`` images, with its update.
        update_s: of the update alone.
        size: images of the measured step.
        batch_size: images of a batch in training.
    """
    return max(0.0, step_s - update_s) / size + update_s / batch_size


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _probe_batch(config: RunConfig) -> int:
    pixels = PROBE_BATCH * PROBE_SIZE**2
    most = max(PROBE_BATCH, min(PROBE_MOST, pixels // config.image_size**2))
    return min(config.batch_size, most)


def _measured(variant: variants.Variant) -> str:
    # A variant with a build function of its own shares its backbone's name with nobody.
    return variant.name if variant.build is not None else variant.backbone


def _key(
    variant: variants.Variant, config: RunConfig, device: torch.device, memory_format: str
) -> str:
    parts = (
        VERSION,
        _measured(variant),
        config.image_size,
        _probe_batch(config),
        config.batch_size,
        "frozen" if config.freeze_backbone else "whole",
        device_name(device),
        config.threads or usable_cores(),
        memory_format,
        torch.__version__,
    )
    return "|".join(map(str, parts))
