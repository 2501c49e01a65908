"""Realistic fake run records for the report's tests."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.config.options import RunConfig, options
from bench.config.presets import get_preset
from bench.stats.timing import locate
from tests.report.undrawn import no_figures

PADDY = [
    "bacterial_leaf_blight",
    "bacterial_leaf_streak",
    "bacterial_panicle_blight",
    "blast",
    "brown_spot",
    "dead_heart",
    "downy_mildew",
    "hispa",
    "normal",
    "tungro",
]

# name: (parameters with 10 classes, with 1000, GMACs at 224, CPU images/s, use case, attention)
VARIANTS: dict[str, tuple[int, int, float, float, str, list[str]]] = {
    "EfficientNetV2_S_CA": (20346578, 21614768, 2.875, 21.0, "Production", ["CA, reduction 32"]),
    "EfficientNetV2_S_ECA": (20190303, 21458493, 2.8731, 21.9, "Real-time", ["ECA, k = 5"]),
    "EfficientNetV2_S_BoTLinear": (21318298, 22586488, 2.93, 20.4, "Competition", ["BoTLinear"]),
    "EfficientNetV2_S_Hybrid": (21474578, 22742768, 2.94, 19.8, "Max accuracy", ["CA", "BoT"]),
    "EfficientNet_Lite0_CA": (3693818, 4962008, 0.398, 71.0, "Mobile/Edge", ["CA, reduction 16"]),
    "ResNet18_Hybrid": (11388154, 11896024, 1.829, 66.0, "Baseline", ["CA", "BoTLinear"]),
    "MobileNetV3_Small": (1528106, 2542856, 0.0584, 230.0, "Mobile/Edge", []),
    "EfficientNetV2_S": (20190298, 21458488, 2.873, 22.2, "Baseline", []),
    "EfficientNet_Lite0": (3383818, 4652008, 0.3975, 74.0, "Baseline", []),
    "ResNet18": (11181642, 11689512, 1.8186, 68.0, "Baseline", []),
}


def _predictions(chance: random.Random, labels: list[int], classes: int, accuracy: float) -> list:
    return [label if chance.random() < accuracy else chance.randrange(classes) for label in labels]


def _round(number: int, seconds: float, latency: bool) -> dict[str, Any]:
    steps = max(1, math.ceil(0.2 / seconds))
    return {
        "round": number,
        "place": number % 3,
        "block_seconds": [seconds * 0.999, seconds, seconds * 1.001],
        "steps_per_block": steps,
        "step_seconds": [seconds] * (3 * steps) if latency else [],
        "warmup_steps": 3,
        "minor_faults_per_step": 12.0,
        "others_load": 0.01,
        "peak_memory_mb": 812.5,
    }


def _timing(
    speed: float,
    size: int,
    device: str,
    name: str,
    *,
    regime: str = "throughput",
    rounds: int = 1,
    spread: float = 0.01,
    seed: object = 0,
) -> dict[str, Any]:
    """A case of a session: ``rounds`` samples around ``speed`` images/s, within ± ``spread``."""
    chance = random.Random(f"{speed} {size} {device} {regime} {seed}")
    batch = 1 if regime == "latency" else 16
    samples = [batch / speed] * rounds
    if rounds > 1:
        samples = [value * (1 + chance.uniform(-spread, spread)) for value in samples]
    done = [_round(number, value, regime == "latency") for number, value in enumerate(samples)]
    found = locate(samples)
    return {
        "device": device,
        "device_name": name,
        "clock": "model",
        "regime": regime,
        "image_size": size,
        "batch_size": batch,
        "threads": 2,
        "dtype": "float32",
        "memory_format": "contiguous",
        "mode": "eager",
        "inside_clock": "model only",
        "rounds": done,
        "seconds_per_step": found.median,
        "images_per_s": speed if rounds == 1 else batch / found.median,
        "images_per_s_low": batch / found.high if found.high else None,
        "images_per_s_high": batch / found.low if found.low else None,
        "latency_ms": 1000 * found.median if regime == "latency" else None,
        "latency_p95_ms": 1020 * found.median if regime == "latency" else None,
        "warmup_steps": 3,
        "timed_steps": sum(3 * one["steps_per_block"] for one in done),
        "peak_memory_mb": 812.5,
        "peak_memory_kind": "process resident",
        "minor_faults_per_step": 12.0,
        "allocator": {"setting": "environment", "MALLOC_MMAP_MAX_": "0"},
        "omp_wait_policy": None,
        "tf32": {"matmul": False, "convolution": True},
        "cudnn_benchmark": False,
        "measured_at": "2026-11-24T16:40:00+00:00",
        "marks": [],
    }


def _cases(speed: float, device: str, name: str, **more: Any) -> list[dict[str, Any]]:
    """Throughput at 64 and 224 pixels, then latency at both."""
    return [
        _timing(faster * speed * factor, size, device, name, regime=regime, **more)
        for regime, factor in (("throughput", 1.0), ("latency", 0.5))
        for size, faster in ((64, 11), (224, 1))
    ]


BASELINE = "EfficientNetV2_S_CA"


def build_session(rounds: int = 1, spread: float = 0.01) -> dict[str, Any]:
    """The session of the sweep that :func:`build_record` makes records of."""
    names = list(VARIANTS)
    more = {"rounds": rounds, "spread": spread, "seed": "A/A"}
    return {
        "id": "20261124-164000-s1",
        "seed": 0,
        "rounds": rounds,
        "rounds_planned": rounds,
        "variants": names,
        "baseline": BASELINE,
        "control": {
            "name": f"{BASELINE} (A/A)",
            "timing": _cases(VARIANTS[BASELINE][3], "cpu", "AMD EPYC 7B13", **more),
        },
        "order": [
            [*names[number % 10 :], *names[: number % 10], f"{BASELINE} (A/A)"]
            for number in range(rounds)
        ],
        "time_budget_s": None,
        "estimated_s": 12.0 * rounds,
        "seconds": 11.0 * rounds,
        "lowered_batch": [],
        "load_before": 0.01,
        "load_after": 0.02,
        "notes": [],
    }


def with_rounds(record: dict[str, Any], rounds: int, spread: float = 0.01) -> dict[str, Any]:
    """The record with a session of that many rounds; each case keeps its speed."""
    name = record["variant"]["name"]
    record["timing"] = [
        {
            **_timing(
                entry["images_per_s"], entry["image_size"], entry["device"], entry["device_name"],
                regime=entry["regime"], rounds=rounds, spread=spread, seed=name,
            ),
            **{key: entry[key] for key in ("clock", "threads", "dtype", "memory_format")},
        }
        for entry in record["timing"]
    ]  # fmt: skip
    record["session"] = build_session(rounds, spread)
    return record


def _training(chance: random.Random, epochs: int, accuracy: float, speed: float) -> dict[str, Any]:
    curve = []
    for epoch in range(1, epochs + 1):
        reached = accuracy * (1 - 0.6**epoch) + chance.uniform(-0.02, 0.02)
        curve.append(
            {
                "epoch": epoch,
                "train_loss": 2.3 * (1 - reached) + 0.05,
                "train_acc": min(1.0, reached + 0.05),
                "valid_loss": 2.4 * (1 - reached) + 0.1,
                "valid_acc": reached,
                "valid_macro_f1": reached - 0.02,
                "base_lr": 1e-3,
                "head_lr": 1e-3,
                "train_seconds": 5.0,
                "valid_seconds": 1.0,
                "images_per_s": speed / 3,
            }
        )
    best = max(curve, key=lambda entry: entry["valid_macro_f1"])
    return {
        "device": "cpu",
        "device_name": "AMD EPYC 7B13",
        "amp": "off",
        "epochs_run": epochs,
        "best_epoch": best["epoch"],
        "stopped_early": False,
        "seconds": 31.2,
        "peak_memory_mb": 1210.4,
        "peak_memory_kind": "process resident",
        "gpu_memory": None,
        "setup": {"memory_format": "channels_last"},
        "images_per_s": speed / 3,
        "steps_per_epoch": 12,
        "attention_lr": 1e-3,
        "initial_weights": "random",
        "best_macro_f1": best["valid_macro_f1"],
        "epochs": curve,
    }


def build_record(
    name: str = "EfficientNetV2_S_CA",
    *,
    classes: list[str] | None = None,
    accuracy: float = 0.9,
    epochs: int = 5,
    seed: int = 0,
    synthetic: bool = False,
    minute: int = 15,
    per_class: int = 12,
    **overrides: Any,
) -> dict[str, Any]:
    """A complete record of a CPU run of ``smoke``; ``overrides`` replace top-level keys."""
    classes = PADDY if classes is None else classes
    parameters, thousand, gmacs, speed, use_case, attention = VARIANTS.get(
        name, (1000000, 2000000, 0.5, 100.0, "Plugin", [])
    )
    chance = random.Random(f"{name} {seed}")
    labels = [index for index in range(len(classes)) for _ in range(per_class)]
    predictions = _predictions(chance, labels, len(classes), accuracy)
    share = sum(a == b for a, b in zip(labels, predictions, strict=True)) / len(labels)
    training = _training(chance, epochs, accuracy, speed)
    smoke = get_preset("smoke").options
    config = RunConfig(**{**smoke, "epochs": epochs, "seed": seed})
    counts = {part: dict.fromkeys(classes, per_class) for part in ("train", "valid", "test")}
    record = {
        "schema": "paddy-bench/run",
        "schema_version": 2,
        "status": "complete",
        "error": None,
        "sweep": {
            "id": "20261124-161503-a1b2",
            "command": "python -m bench run --variants all --preset smoke",
            "preset": "smoke",
        },
        "started": f"2026-11-24T16:{minute:02d}:03+00:00",
        "finished": f"2026-11-24T16:{minute:02d}:44+00:00",
        "variant": {
            "name": name,
            "version": 1,
            "backbone": "tf_efficientnetv2_s",
            "weights_tag": "tf_efficientnetv2_s.in21k_ft_in1k",
            "attention": attention,
            "baseline": None,
            "group": "main",
            "use_case": use_case,
            "paper": "arXiv:2103.02907",
            "module": "variants.efficientnetv2_s",
        },
        "config": config.as_record(),
        "config_sources": {field.name: "preset" for field in options()},
        "data": {
            "root": "data",
            "layout": "synthetic" if synthetic else "class-folders",
            "synthetic": synthetic,
            "fingerprint": "3f9a1c0de4b7",
            "classes": list(classes),
            "counts": counts,
            "used": {part: sum(counts[part].values()) for part in counts},
            "unreadable": [],
            "fold": None,
            "copies": None,
        },
        "environment": {
            "python": "3.11.9",
            "torch": "2.14.1",
            "timm": "1.0.31",
            "torchvision": "0.29.1",
            "fvcore": "0.1.5",
            "cuda": None,
            "cudnn": None,
            "device_name": "AMD EPYC 7B13",
            "cpu_model": "AMD EPYC 7B13",
            "cores": 2,
            "threads": 2,
            "platform": "Linux x86_64",
            "machine": "1a2b3c4d",
            "governor": None,
            "load_before": 0.01,
            "load_after": 0.02,
            "memory_gb": 25.3,
            "memory_available_gb": 24.8,
            "affinity": [0, 1],
            "thread_settings": {"OMP_NUM_THREADS": None},
            "gpu": None,
            "command": "python -m bench run --variants all --preset smoke",
            "allocator": {},
            "git_commit": "0123456789abcdef",
            "git_dirty": False,
            "paddy_bench": "0.1.0",
            "tf32": {"matmul": False, "convolution": True},
        },
        "counts": {
            "parameters": parameters,
            "parameters_declared": parameters,
            "parameters_1000_classes": thousand,
            "attention_parameters": 156280,
            "size_mb": parameters * 4 / 1e6,
            "macs": [
                {"image_size": size, "gmacs": gmacs * (size / 224) ** 2,
                 "gmacs_flop_counter": gmacs * 0.99 * (size / 224) ** 2,
                 "uncounted_fvcore": {}, "uncounted_flop_counter": {}}
                for size in (64, 224)
            ],
        },
        "training": training,
        "metrics": {
            "valid_acc": share,
            "valid_loss": 0.31,
            "train_acc": 0.97,
            "train_loss": 0.12,
            "best_epoch": training["best_epoch"],
            "fps": speed * 11,
        },
        "timing": _cases(speed, "cpu", "AMD EPYC 7B13"),
        "timing_error": None,
        "session": build_session(),
        "validation": {
            "ids": [f"{index}.jpg" for index in range(len(labels))],
            "labels": labels,
            "predictions": predictions,
            "confidences": [0.8] * len(labels),
            "loss": 0.31,
            "accuracy": share,
            "macro_f1": share - 0.01,
        },
        "test": None,
        "warnings": [],
    }  # fmt: skip
    record.update(overrides)
    return record


def with_test(record: dict[str, Any], hits: int, images: int) -> dict[str, Any]:
    """The record with a test part of ``images`` images, of which ``hits`` were right."""
    labels = [index % len(record["data"]["classes"]) for index in range(images)]
    guesses = [
        label if index < hits else (label + 1) % len(record["data"]["classes"])
        for index, label in enumerate(labels)
    ]
    record["test"] = {
        "ids": [f"t{index}.jpg" for index in range(images)],
        "labels": labels,
        "predictions": guesses,
        "confidences": [0.8] * images,
        "loss": 0.4,
        "accuracy": hits / images,
        "macro_f1": hits / images - 0.01,
    }
    return record


def build_failed(name: str, kind: str, message: str, **overrides: Any) -> dict[str, Any]:
    """A record of a run that failed before training, its counts already there."""
    record = build_record(name, **overrides)
    empty = {"training": None, "metrics": None, "validation": None, "timing": [], "session": None}
    error = {"type": kind, "message": message, "traceback": "Traceback …"}
    return {**record, **empty, "status": "failed", "error": error}


@pytest.fixture
def undrawn() -> Iterator[None]:
    """:func:`no_figures`, for tests of texts, tables and the page."""
    with no_figures():
        yield


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """:func:`build_record`, for tests."""
    return build_record


@pytest.fixture
def make_rounds() -> Callable[..., dict[str, Any]]:
    """:func:`with_rounds`, for tests."""
    return with_rounds


@pytest.fixture
def make_tested() -> Callable[..., dict[str, Any]]:
    """:func:`with_test`, for tests."""
    return with_test


@pytest.fixture
def make_failed() -> Callable[..., dict[str, Any]]:
    """:func:`build_failed`, for tests."""
    return build_failed


@pytest.fixture
def sweep() -> list[dict[str, Any]]:
    """A complete run of each of the ten variants."""
    return [build_record(name, minute=index) for index, name in enumerate(VARIANTS)]


@pytest.fixture
def on_gpu() -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """A function that turns a record into one of a CUDA run on the device of that name."""

    def convert(record: dict[str, Any], device: str) -> dict[str, Any]:
        record["training"] |= {
            "device": "cuda", "device_name": device, "peak_memory_mb": 12500.0,
            "peak_memory_kind": "CUDA allocated", "seconds": 1320.0,
            "gpu_memory": {
                "allocated_mb": 12500.0, "reserved_mb": 13100.0, "in_use_mb": 13500.0,
                "in_use_of": "this process",
            },
        }  # fmt: skip
        record["environment"] |= {"cuda": "13.0", "device_name": device}
        speed = record["timing"][1]["images_per_s"] * 100
        record["timing"].append(_timing(speed, 224, "cuda", device))
        return record

    return convert
