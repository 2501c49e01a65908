"""Predict what a sweep would take with more images or more devices, from what is measured here.

The model is simple and stated (docs/methods.md): time grows with the images; devices train one
model each, the longest first, or one model together; what it gets wrong is shown by past runs.
"""

from __future__ import annotations

import heapq
import math
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

import variants
from bench.config.options import RunConfig
from bench.data.progressive import ProgressiveSchedule
from bench.models import build
from bench.models.complexity import saved_bytes
from bench.records import load_records
from bench.runner.preflight import PreflightResult
from bench.system.digits import fixed
from bench.timing.timer import device_name

# Weights, their gradients and AdamW's two moments, in float32.
BYTES_PER_TRAINED = 16
BYTES_PER_WEIGHT = 4
# While it trains: its state as it is and as it is written anew, and a better epoch's weights.
STATE_WEIGHTS = 7
# A record holds of each evaluated image its name, label, prediction and confidence.
BYTES_PER_PREDICTION = 60
# Assumed, not measured: what one GPU sends to the next over PCIe.
LINK_BYTES_PER_S = 10e9


@attrs.frozen
class Need:
    """Time, memory, disk space and cost of all runs of one variant.

    Attributes:
        variant: its name.
        hours: of one device, one run after the other.
        together_hours: of all devices, each run trained by all of them together.
        memory_gb: of a device that trains alone, in float32.
        disk_gb: of its results.
        cost: of ``hours`` at the price, or none.
    """

    variant: str
    hours: float
    together_hours: float
    memory_gb: float
    disk_gb: float
    cost: float | None


@attrs.frozen
class Forecast:
    """Time, disk space and cost of a sweep.

    Attributes:
        needs: of each variant.
        images: of each part.
        devices: how many there are.
        hours: until the last run has ended, where each device trains one run at a time.
        cache_gb: of decoded images.
        cost: of all devices from the first run to the last, or none.
        error: measured ÷ predicted time of past runs: median, lowest, highest, number; or none.
        device: whose speed was measured.
    """

    needs: list[Need]
    images: dict[str, int]
    devices: int
    hours: float
    cache_gb: float
    cost: float | None
    error: tuple[float, float, float, int] | None
    device: str


def print_forecast(
    parsed: Namespace,
    chosen: Sequence[variants.Variant],
    config: RunConfig,
    checked: PreflightResult,
) -> None:
    """Print the forecast for ``--images``, ``--gpus`` and ``--price``."""
    exists = config.results_dir.is_dir()
    prediction = forecast(
        chosen,
        config,
        checked,
        load_records(config.results_dir)[0] if exists else [],
        images=parsed.images,
        devices=parsed.gpus or 1,
        price=parsed.price,
    )
    print("\n".join(lines_of(prediction)))


def forecast(
    chosen: Sequence[variants.Variant],
    config: RunConfig,
    checked: PreflightResult,
    records: Sequence[Mapping[str, Any]],
    *,
    images: int | None,
    devices: int,
    price: float | None,
) -> Forecast:
    """Predict the time, disk space and cost of a sweep.

    Args:
        chosen: the variants.
        config: the options.
        checked: of the same sweep here: its parts, and the speed of each variant's steps.
        records: of past runs.
        images: in all; none: as many as there are. They are divided as those that there are.
        devices: like the one whose speed was measured.
        price: of a device for an hour, in any currency.
    """
    parts = checked.runs[0].parts
    used = {part: len(positions) for part, positions in parts.used.as_dict().items()}
    factor = 1.0 if images is None else images / sum(used.values())
    counts = {part: round(factor * count) for part, count in used.items()}
    needs, runs = [], []
    for variant in chosen:
        need, seconds = _need(variant, config, checked, counts, devices, price)
        needs.append(need)
        runs += [seconds / 3600] * len(checked.runs)
    hours = makespan(runs, devices)
    cached = sum(counts.values()) * config.image_size**2 * 3
    return Forecast(
        needs,
        counts,
        devices,
        hours,
        (min(cached, config.cache_limit) if config.cache else 0.0) / 1e9,
        None if price is None else price * devices * hours,
        past_error(records, device_name(checked.device)),
        device_name(checked.device),
    )


def _need(
    variant: variants.Variant,
    config: RunConfig,
    checked: PreflightResult,
    counts: Mapping[str, int],
    devices: int,
    price: float | None,
) -> tuple[Need, float]:
    """Return the needs of a variant, and the seconds of one of its runs on one device."""
    rates = {name: estimate.rate for name, estimate in checked.rates.items()}
    train_s, valid_s = rates.get(variant.name) or max(rates.values(), default=(math.nan, math.nan))
    growth = ProgressiveSchedule.of(config)
    train_s *= 1.0 if growth is None else growth.area
    model = build.on_meta(variant, checked.runs[0].parts.num_classes, config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    seconds = config.epochs * (train_s * counts["train"] + valid_s * counts["valid"])
    seconds += valid_s * counts.get("test", 0)
    steps = config.epochs * math.ceil(counts["train"] / config.batch_size)
    sent = 2 * (devices - 1) / devices * BYTES_PER_WEIGHT * weights / LINK_BYTES_PER_S
    together = seconds / devices + steps * sent
    saved = saved_bytes(model, config.image_size)
    number = len(checked.runs)
    predictions = BYTES_PER_PREDICTION * (counts["valid"] + counts.get("test", 0))
    hours = number * seconds / 3600
    return Need(
        variant.name,
        hours,
        number * together / 3600,
        training_bytes(weights, config.batch_size, saved) / 1e9,
        (number * (BYTES_PER_WEIGHT * weights + predictions) + STATE_WEIGHTS * 4 * weights) / 1e9,
        None if price is None else price * hours,
    ), seconds


def training_bytes(weights: int, batch_size: int, saved: int) -> int:
    """Return the bytes that a training step in float32 takes.

    Args:
        weights: of the model, all trained.
        batch_size: images.
        saved: bytes of activations for each of them.
    """
    return BYTES_PER_TRAINED * weights + batch_size * saved


def makespan(hours: Sequence[float], devices: int) -> float:
    """Return the hours until the last run has ended, the longest run starting first."""
    free = [0.0] * devices
    for duration in sorted(hours, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def past_error(
    records: Sequence[Mapping[str, Any]], device: str
) -> tuple[float, float, float, int] | None:
    """Return measured ÷ predicted seconds of past trainings: median, lowest, highest, number.

    Those that ended early count for the epochs that they had; those that were broken off, ran
    beside others, or were trained by several processes, do not count.
    """
    ratios = []
    for record in records:
        training = record.get("training") or {}
        expected, seconds = training.get("expected_seconds"), training.get("seconds")
        whole = record.get("status") == "complete" and not record.get("resumed")
        alone = not training.get("beside") and not (training.get("setup") or {}).get("team")
        same = training.get("device_name") == device and alone
        if whole and same and expected and seconds:
            share = training["epochs_run"] / record["config"]["epochs"]
            ratios.append(seconds / (expected * share))
    if not ratios:
        return None
    return statistics.median(ratios), min(ratios), max(ratios), len(ratios)


def lines_of(prediction: Forecast) -> list[str]:
    """Return the forecast as text: a table, and what it is based on."""
    from tabulate import tabulate

    priced = prediction.cost is not None
    rows = [
        [
            need.variant,
            fixed(60 * need.hours, 1, digits=2),
            fixed(60 * need.together_hours, 1, digits=2),
            fixed(need.memory_gb, 2),
            fixed(need.disk_gb, 2),
            *([fixed(need.cost, 2)] if need.cost is not None else []),
        ]
        for need in prediction.needs
    ]
    headers = [
        "variant", "minutes on one device", f"minutes, {prediction.devices} train it together",
        "memory of a device, GB", "results on disk, GB",
        *(["cost on one device"] if priced else []),
    ]  # fmt: skip
    counts = ", ".join(f"{count:,} {part}" for part, count in prediction.images.items())
    text = [
        tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True),
        "",
        f"images    {counts}",
        f"devices   {prediction.devices} like this one: {prediction.device}",
        f"minutes   {fixed(60 * prediction.hours, 1, digits=2)} until the last run has ended, each "
        "device training one run at a time, the longest first",
        f"disk      {fixed(prediction.cache_gb, 2)} GB of decoded images, and the results",
    ]
    if prediction.cost is not None:
        text.append(
            f"cost      {fixed(prediction.cost, 2)}, all {prediction.devices} devices until the "
            "last run has ended"
        )
    if prediction.error is None:
        text.append("error     no past run on this device says how far predictions are off")
    else:
        middle, low, high, number = prediction.error
        text.append(
            f"error     {number} past runs on this device took {fixed(middle, 2)} × what was "
            f"predicted ({fixed(low, 2)}–{fixed(high, 2)})"
        )
    return [
        *text,
        "model     time grows with the images; together, gradients go over "
        f"{LINK_BYTES_PER_S / 1e9:g} GB/s (assumed); see docs/methods.md",
    ]
