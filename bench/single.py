"""One variant of a sweep, from its declaration to its record: train, count, time, write."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import torch

import variants
from bench import build
from bench.config import RunConfig
from bench.data.cache import DecodedImages
from bench.data.loaders import ImageDataset, make_loader
from bench.data.parts import Parts
from bench.data.transforms import eval_transform, train_transform
from bench.errors import BenchError
from bench.measure.complexity import counters_disagree
from bench.measure.environment import environment, usable_cores
from bench.measure.memory import PeakMemory, keep_freed_memory
from bench.measure.throughput import device_name
from bench.presets import Resolved
from bench.results import SCHEMA, SCHEMA_VERSION, new_run_folder, write_json
from bench.results.plot import training_plot
from bench.timing_process import REFERENCE_SIZE, time_variant
from bench.train.engine import TrainResult, fit
from bench.train.metrics import evaluate
from bench.train.progress import Progress


@attrs.frozen(kw_only=True)
class Sweep:
    """What all variants of a sweep share."""

    id: str
    command: str
    resolved: Resolved
    device: torch.device
    parts: Parts
    images: DecodedImages
    plugins: list[Path]
    stream: Any

    @property
    def config(self) -> RunConfig:
        """The options."""
        return self.resolved.config


def run_variant(sweep: Sweep, variant: variants.Variant) -> tuple[Path, dict[str, Any]]:
    """Train, count and time a variant; its folder and record. A failure is a record too."""
    folder = new_run_folder(sweep.config.results_dir, variant.name, datetime.now())
    record = _new_record(sweep, variant)
    try:
        _count(sweep, variant, record)
        _train(sweep, variant, folder, record)
        _time(sweep, variant, record)
        _write_guide_files(sweep, folder, record)
        record["status"] = "complete"
    except Exception as error:
        record["error"] = {
            "type": type(error).__name__,
            "message": " ".join(str(error).split()),
            "traceback": traceback.format_exc(),
        }
    record["finished"] = _now()
    write_json(folder / "run.json", record)
    return folder, record


def _new_record(sweep: Sweep, variant: variants.Variant) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": "failed",
        "error": None,
        "sweep": {
            "id": sweep.id,
            "command": sweep.command,
            "preset": sweep.resolved.preset,
        },
        "started": _now(),
        "finished": "",
        "variant": build.describe(variant, sweep.config),
        "config": sweep.config.as_record(),
        "config_sources": dict(sweep.resolved.sources),
        "data": sweep.parts.as_record(sweep.images),
        "environment": environment(sweep.device, keep_freed_memory()),
        "counts": None,
        "training": None,
        "metrics": None,
        "timing": [],
        "timing_error": None if sweep.config.timing else "timing was off (--no-timing)",
        "validation": None,
        "test": None,
        "warnings": list(sweep.parts.warnings),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- the stages ------------------------------------------------------------------------------


def _count(sweep: Sweep, variant: variants.Variant, record: dict[str, Any]) -> None:
    sizes = sorted({sweep.config.image_size, REFERENCE_SIZE})
    counts = build.count(variant, sweep.parts.num_classes, sweep.config, sizes)
    record["counts"] = counts
    declared = counts["parameters_declared"]
    if declared is not None and declared != counts["parameters"]:
        record["warnings"].append(
            f"{counts['parameters']:,} parameters, but {declared:,} are declared: the model is "
            "not the one that its name promises"
        )
    for macs in counts["macs"]:
        if counters_disagree(macs):
            record["warnings"].append(
                f"the two MAC counters disagree at {macs['image_size']} pixels: "
                f"{macs['gmacs_matrix']:.5f} (fvcore) and {macs['gmacs_flop_counter']:.5f} GMACs"
            )


def _train(sweep: Sweep, variant: variants.Variant, folder: Path, record: dict[str, Any]) -> None:
    config, parts, device = sweep.config, sweep.parts, sweep.device
    model, initial = build.build(variant, parts.num_classes, config)
    mean, std = build.normalisation(model)
    workers = min(config.num_workers, usable_cores())
    if workers < config.num_workers:
        record["warnings"].append(
            f"{workers} loader processes instead of {config.num_workers}: the cores that there are"
        )
    loaders = {}
    for part, positions in parts.used.as_dict().items():
        transform = (train_transform if part == "train" else eval_transform)(mean, std)
        dataset = ImageDataset(
            sweep.images, positions, parts.index.labels, parts.num_classes, transform
        )
        loaders[part] = make_loader(
            dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            train=part == "train",
            # The test part is read once: starting processes for it would cost more than they save.
            num_workers=0 if part == "test" else workers,
            pin_memory=config.pin_memory and device.type == "cuda",
        )
    memory = PeakMemory(device)
    torch.manual_seed(config.seed)
    result = fit(
        model.to(device),
        loaders["train"],
        loaders["valid"],
        config,
        device=device,
        progress=Progress(variant.name, config.epochs, sweep.stream),
        best_path=folder / "best_model.pt",
        about={
            "variant": variant.name,
            "variant_version": variant.version,
            "reduction": config.reduction,
            "classes": list(parts.index.classes),
            "image_size": config.image_size,
            "mean": list(mean),
            "std": list(std),
        },
    )
    record["training"] = _training_record(sweep, result, initial, memory, loaders["train"])
    names = parts.index.paths
    record["validation"] = result.best.as_record([names[p] for p in parts.used.valid])
    if parts.used.test:
        on_test = evaluate(model, loaders["test"], device, amp=result.amp)
        record["test"] = on_test.as_record([names[p] for p in parts.used.test])


def _training_record(
    sweep: Sweep, result: TrainResult, initial: str, memory: PeakMemory, loader: Any
) -> dict[str, Any]:
    config = sweep.config
    peak = memory.peak_mb()
    seconds = sum(row["train_seconds"] for row in result.epochs)
    return {
        "device": sweep.device.type,
        "device_name": device_name(sweep.device),
        "amp": result.amp,
        "epochs_run": len(result.epochs),
        "best_epoch": result.best_epoch,
        "best_macro_f1": result.best.macro_f1,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "peak_memory_mb": peak,
        "peak_memory_kind": memory.kind,
        "images_per_s": len(loader.dataset) * len(result.epochs) / seconds,
        "steps_per_epoch": len(loader),
        "attention_lr": config.head_lr if config.attention_lr == "head" else config.base_lr,
        "initial_weights": initial,
        "frozen_backbone": config.freeze_backbone,
        "epochs": result.epochs,
    }


def _time(sweep: Sweep, variant: variants.Variant, record: dict[str, Any]) -> None:
    if not sweep.config.timing:
        return
    devices = ["cpu"]
    if torch.cuda.is_available() and sweep.config.device != "cpu":
        devices.append("cuda")
    print(f"{variant.name}  timing on {' and '.join(devices)}", file=sweep.stream, flush=True)
    record.update(
        time_variant(
            variant.name,
            sweep.parts.num_classes,
            sweep.config,
            devices=devices,
            plugins=sweep.plugins,
        )
    )
    if record["timing_error"]:
        record["warnings"].append(f"timing: {record['timing_error']}")


def _write_guide_files(sweep: Sweep, folder: Path, record: dict[str, Any]) -> None:
    """The files that the guide promises: metrics.json, history.json, training_plot.png."""
    training, best = record["training"], record["validation"]
    if training is None:
        raise BenchError("the training left no result")
    row = training["epochs"][training["best_epoch"] - 1]
    fps = [
        case["images_per_s"]
        for case in record["timing"]
        if case["device"] == sweep.device.type and case["image_size"] == sweep.config.image_size
    ]
    record["metrics"] = {
        "valid_acc": best["accuracy"],
        "valid_loss": best["loss"],
        "train_acc": row["train_acc"],
        "train_loss": row["train_loss"],
        "best_epoch": training["best_epoch"],
        "fps": fps[0] if fps else None,
    }
    write_json(folder / "metrics.json", record["metrics"])
    if sweep.config.save_history:
        write_json(folder / "history.json", training["epochs"])
    training_plot(training["epochs"], folder / "training_plot.png", record["variant"]["name"])
