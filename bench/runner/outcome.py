"""What a training leaves: in its record, and in the files that the guide promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.config.options import RunConfig
from bench.data.progressive import ProgressiveSchedule
from bench.errors import BenchError
from bench.records import write_json, write_record
from bench.records.plot import training_plot
from bench.runner.context import ProcessContext, RunSpec
from bench.runner.record import time_into
from bench.runner.setup import Setup
from bench.system.digits import counted
from bench.system.memory import PeakMemory
from bench.timing.session import Timed
from bench.timing.timer import device_name
from bench.train.loop import TrainResult


def count_costs(spec: RunSpec, result: TrainResult) -> None:
    """Training and validation; what the first batch took beyond a steady one apart."""
    for label in ("first batch", "saving", "training", "validation"):
        # The epochs before the run was broken off are in the result too.
        spec.costs.seconds.pop(label, None)
    training, first = sum(row["train_seconds"] for row in result.epochs), 0.0
    if result.steps > 1:
        steady = (training - result.first_batch_seconds) / (result.steps - 1)
        first = max(0.0, result.first_batch_seconds - steady)
    spec.costs.add("first batch", first)
    spec.costs.add("saving", result.saving_seconds)
    spec.costs.add("training", training - first)
    spec.costs.add("validation", sum(row["valid_seconds"] for row in result.epochs))


def training_record(
    spec: RunSpec,
    process: ProcessContext,
    result: TrainResult,
    initial: str,
    memory: PeakMemory,
    setup: Setup,
    model: nn.Module,
) -> dict[str, Any]:
    """The ``training`` of a record."""
    config, loader, facts = spec.config, setup.loaders["train"], setup.as_record()
    peak, growth = memory.peak_mb(), ProgressiveSchedule.of(config)
    seconds = sum(row["train_seconds"] for row in result.epochs)
    return {
        "device": process.device.type,
        "device_name": device_name(process.device),
        "amp": result.amp,
        "epochs_run": len(result.epochs),
        "best_epoch": result.best_epoch,
        "best_macro_f1": result.best.macro_f1,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "peak_memory_mb": peak,
        "peak_memory_kind": memory.kind,
        "gpu_memory": memory.of_gpu(),
        # Features that another variant has computed are read, not trained on: no speed of this one.
        # Nor is that of images that grow.
        "images_per_s": None
        if (facts["features"] or {}).get("train_batches_read") or growth is not None
        else len(loader.dataset) * len(result.epochs) / seconds,
        "steps_per_epoch": len(loader),
        "attention_lr": config.head_lr if config.attention_lr == "head" else config.base_lr,
        "initial_weights": initial,
        "frozen_backbone": config.freeze_backbone,
        "growth": None if growth is None else growth.as_record(),
        **process.accumulation.facts(model, config.batch_size, frozen=config.freeze_backbone),
        "part_steps": {str(parts): steps for parts, steps in result.part_steps.items()},
        "beside": spec.sweep.concurrent_runs,
        "expected_seconds": spec.expected_s or None,
        "setup": facts,
        "epochs": result.epochs,
    }


def accumulation_warning(training: dict[str, Any], batch_size: int) -> list[str]:
    """What accumulation has changed in a training, as lines of its record."""
    divided = {int(parts): steps for parts, steps in training["part_steps"].items()}
    whole = divided.pop(1, 0)
    if not divided:
        return []
    line = (
        f"each batch of {batch_size} was trained in {max(divided)} parts (gradient accumulation) "
        "for want of memory"
    )
    if training["batch_norm_images"] is not None:
        images = training["batch_norm_images"]
        line += f": BatchNorm saw {counted(images, 'image')} at a time instead of {batch_size}"
    if whole or len(divided) > 1:
        line += f"; {sum(divided.values())} of {whole + sum(divided.values())} steps"
    return [line]


def write_guide_files(
    config: RunConfig, device: torch.device, folder: Path, record: dict[str, Any]
) -> None:
    """The files that the guide promises: metrics.json, history.json, training_plot.png."""
    training, best = record["training"], record["validation"]
    if training is None:
        raise BenchError("the training left no result")
    row = training["epochs"][training["best_epoch"] - 1]
    fps = _guide_fps(record["timing"], device.type, config.image_size)
    record["metrics"] = {
        "valid_acc": best["accuracy"],
        "valid_loss": best["loss"],
        "train_acc": row["train_acc"],
        "train_loss": row["train_loss"],
        "best_epoch": training["best_epoch"],
        "fps": fps,
    }
    write_json(folder / "metrics.json", record["metrics"])
    if config.save_history:
        write_json(folder / "history.json", training["epochs"])
    training_plot(training["epochs"], folder / "training_plot.png", record["variant"]["name"])


def time_afterwards(done: Sequence[tuple[Path, dict[str, Any]]], timed: Timed | None) -> list[Path]:
    """Put a timing session into the records of runs that have ended; the folders written anew."""
    if timed is None:
        return []
    written = []
    for folder, record in done:
        if record["session"] is not None:
            continue  # the sweep went on, and this run had been timed before
        time_into(record, record["variant"]["name"], timed)
        if record["metrics"] is not None:
            config = record["config"]
            device = record["training"]["device"]
            record["metrics"]["fps"] = _guide_fps(record["timing"], device, config["image_size"])
            write_json(folder / "metrics.json", record["metrics"])
        write_record(folder, record)
        written.append(folder)
    return written


def _guide_fps(timing: list[dict[str, Any]], device: str, image_size: int) -> float | None:
    """Images/s of the model alone at the timing batch and the run's size, with all threads."""
    cases = [
        case
        for case in timing
        if (case["device"], case["clock"], case["regime"]) == (device, "model", "throughput")
        and case["image_size"] == image_size
        and case["mode"] == "eager"
    ]
    return max(cases, key=lambda case: case["threads"])["images_per_s"] if cases else None
