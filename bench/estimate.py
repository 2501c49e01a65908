"""Minutes that a sweep will take, from a short measurement of each backbone or a cached one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

import variants
from bench import build
from bench.config import RunConfig
from bench.data.parts import Parts, cache_folder
from bench.measure.environment import usable_cores
from bench.measure.throughput import device_name
from bench.train.optim import freeze_backbone, set_training

PROBE_BATCH = 8
BUDGET_S = 40.0
TIMING_START_S = 10.0


@attrs.frozen
class Estimate:
    """Minutes of one variant, training and timing together."""

    variant: str
    minutes: float
    note: str


def estimate(
    chosen: Sequence[variants.Variant], config: RunConfig, parts: Parts, device: torch.device
) -> list[Estimate]:
    """Estimate each variant from three training steps and forward passes of its backbone.

    Variants of one backbone share a measurement (attention on the last feature map adds a few
    percent). Backbones are measured until :data:`BUDGET_S` seconds are over; what is left gets no
    figure of its own but the slowest measured one, and says so.
    """
    torch.set_num_threads(config.threads or usable_cores())
    known = _load_cache()
    deadline = time.perf_counter() + BUDGET_S
    rates: dict[str, tuple[float, float] | None] = {}
    for variant in chosen:
        key = _key(variant, config, device)
        if key not in known and time.perf_counter() < deadline:
            try:
                known[key] = list(_measure(variant, config, parts.num_classes, device))
            except Exception:
                known[key] = None
        found = known.get(key)
        rates[variant.name] = (found[0], found[1]) if found else None
    _save_cache({key: value for key, value in known.items() if value})
    measured = [rate for rate in rates.values() if rate]
    slowest = max(measured) if measured else (0.0, 0.0)
    out = []
    for variant in chosen:
        rate = rates[variant.name]
        train_s, valid_s = rate or slowest
        seconds = config.epochs * (
            train_s * len(parts.used.train) + valid_s * len(parts.used.valid)
        )
        seconds += valid_s * len(parts.used.test)
        if config.timing:
            sizes = len({config.image_size, 224})
            devices = 2 if device.type == "cuda" else 1
            seconds += TIMING_START_S + config.time_budget * sizes * devices
        note = "" if rate else " (not measured: as the slowest of the others)"
        out.append(Estimate(variant.name, seconds / 60, note))
    return out


def _measure(
    variant: variants.Variant, config: RunConfig, num_classes: int, device: torch.device
) -> tuple[float, float]:
    """Seconds for one image in a training step and in a forward pass."""
    plain = attrs.evolve(config, pretrained=False, weights=None)
    model = build.build(variant, num_classes, plain)[0].to(device)
    if config.freeze_backbone:
        freeze_backbone(model)
    size = min(PROBE_BATCH, config.batch_size)
    images = torch.randn(size, 3, config.image_size, config.image_size, device=device)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)

    def train_step() -> None:
        set_training(model, frozen=config.freeze_backbone)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def forward() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return _seconds(train_step, device) / size, _seconds(forward, device) / size


def _seconds(step: Any, device: torch.device) -> float:
    """The faster of two calls after one that warms up."""
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


# --- cache -----------------------------------------------------------------------------------


def _key(variant: variants.Variant, config: RunConfig, device: torch.device) -> str:
    # A variant with a build function of its own shares its backbone's name with nobody.
    what = variant.name if variant.build is not None else variant.backbone
    threads = config.threads or usable_cores()
    frozen = "frozen" if config.freeze_backbone else "whole"
    batch = min(PROBE_BATCH, config.batch_size)
    parts = (what, config.image_size, batch, frozen, device_name(device), threads)
    return "|".join(map(str, (*parts, torch.__version__)))


def _cache_file() -> Path:
    return cache_folder() / "estimates.json"


def _load_cache() -> dict[str, list[float] | None]:
    try:
        known = json.loads(_cache_file().read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _save_cache(known: dict[str, list[float] | None]) -> None:
    file = _cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(known), encoding="utf8")
        part.replace(file)
    except OSError:
        return  # a cache that cannot be kept costs a measurement next time, nothing else
