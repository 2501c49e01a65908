"""Does speed cost accuracy? Macro-F1 with our pipeline and with a plain one, over paired seeds.

Both train the same model from the same weights with the same recipe, split and loop; only what
feeds it differs: our cache and augmentation, or Pillow and torchvision picture by picture. Macro-F1
is that of the best epoch's weights on the test part. Seeds are added until the 95 % interval (t) of
the mean difference lies inside the margin, or there are enough of them.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from bench.config.presets import ENVIRONMENT_PREFIX
from bench.data.parts import find_parts
from bench.errors import BenchError
from bench.train.evaluate import evaluate
from bench.train.loop import Feed
from experiments import figures
from experiments.contenders import ours, plain_pipeline
from experiments.pictures import pictures
from experiments.rows import Row
from experiments.suite import Json, Record, Tables, trace

SEED = 0
FIGURES = {"accuracy.png": ("Difference of macro-F1 by seed", figures.differences)}
OPTIONS = {
    "epochs": 8, "patience": 8, "base_lr": 5e-4, "head_lr": 5e-4, "num_workers": 0, "tune": "off",
}  # fmt: skip
MARGIN = 3.0
PARAMETERS = {
    "variant": "ResNet18",
    "image_size": 64,
    "batch_size": 32,
    **OPTIONS,
    "images": {"train": 600, "valid": 200, "test": 600},
    "margin_points": MARGIN,
    "fewest_seeds": 6,
    "most_seeds": 24,
}
QUICK = {
    "variant": "MobileNetV3_Small",
    "image_size": 32,
    "epochs": 1,
    "images": {"train": 64, "valid": 20, "test": 20},
    "fewest_seeds": 2,
    "most_seeds": 2,
}
REAL = ENVIRONMENT_PREFIX + "RICE3"
WAYS = ("ours", "plain")


def measure(chosen: Record) -> Json:
    """Train pairs; a quick run on drawn pictures only."""
    folders = {"synthetic": str(pictures(chosen["images"]))}
    if not chosen["quick"]:
        folders["rice3"] = os.environ.get(REAL, "")
        if not folders["rice3"]:
            raise BenchError(f"{REAL} must name the folder of real photographs (rice3)")
    ours.settle()
    return {"outcome": {name: _pairs(chosen, name, folder) for name, folder in folders.items()}}


def _pairs(chosen: Record, name: str, folder: str) -> Json:
    job = {key: chosen[key] for key in ("variant", "image_size", "batch_size")}
    job |= {"data_dir": folder}
    options = {key: chosen[key] for key in OPTIONS}
    fewest = chosen["fewest_seeds"]
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    squared: dict[Any, Any] = {}
    # The split stays: what differs between seeds is weights, order and augmentation.
    parts = find_parts(ours.config_of(job | {"options": options}))
    # Seeds are added for the judged set only.
    for seed in range(chosen["most_seeds"] if name == "synthetic" else fewest):
        seeded = job | {"options": {**options, "seed": seed}}
        for way in WAYS:
            scores[way].append(_macro_f1(seeded, parts, way, squared))
        trace(
            f"{name}, seed {seed}: ours {scores['ours'][-1]:.3f}, plain {scores['plain'][-1]:.3f}"
        )
        if seed + 1 >= fewest and inside(*interval(points(scores))):
            break
    return {**scores, "images": {part: len(p) for part, p in parts.used.as_dict().items()}}


def _macro_f1(job: ours.Job, parts: Any, way: str, squared: dict[Any, Any]) -> float:
    """Train with the recipe; macro-F1 of the best epoch's weights on the test part."""
    options = ours.config_of(job)
    model, normalisation = ours.model_of(job, parts.num_classes)
    loaders: Mapping[str, Any]
    if way == "ours":
        setup = ours.prepared(job, model, normalisation, parts)
        loaders, prepare = setup.loaders, setup.prepare
    else:
        loaders = plain_pipeline.loaders(parts, options, normalisation, squared)
        prepare = ours.as_it_is
    torch.manual_seed(options.seed)
    model.to(memory_format=torch.channels_last)
    # Nobody sees the progress.
    progress = SimpleNamespace(
        batches=lambda loader, epoch, seen=0: loader, epoch_done=lambda row, best_epoch: None
    )
    ours.fit_model(model, Feed(loaders, prepare), options, progress)
    return evaluate(model, loaders["test"], ours.DEVICE, prepare=prepare).macro_f1


# --- the table -------------------------------------------------------------------------------


def points(scores: Mapping[str, Sequence[float]]) -> list[float]:
    """Differences of macro-F1, ours − plain, in points."""
    return [100 * (one - other) for one, other in _by_seed(scores)]


def _by_seed(scores: Mapping[str, Sequence[float]]) -> Iterator[tuple[float, float]]:
    return zip(scores["ours"], scores["plain"], strict=True)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval (t) of the mean of at least two differences."""
    from scipy import stats

    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    return float(low), float(high)


def inside(low: float, high: float) -> bool:
    """Whether an interval lies inside the margin."""
    return low > -MARGIN and high < MARGIN


def rows(record: Record) -> list[Row]:
    """The synthetic set judged, real photographs for information."""
    parameters, result = record["parameters"], []
    for name, scores in record["outcome"].items():
        differences = points(scores)
        low, high = interval(differences)
        judged = name == "synthetic"
        levels = [statistics.mean(scores[way]) for way in WAYS]
        result.append(
            Row(
                f"Macro-F1, ours − plain pipeline, points, {name} images",
                f"95 % interval inside ±{MARGIN:g}" if judged else "informs",
                f"{statistics.mean(differences):+.2f} ({low:+.2f} to {high:+.2f}, "
                f"{len(differences)} seeds; macro-F1 {levels[0]:.3f} and {levels[1]:.3f})",
                inside(low, high) if judged else None,
                f"{parameters['variant']} from random weights, {parameters['epochs']} epochs at "
                f"{parameters['image_size']} pixels, {scores['images']['train']} images to train "
                f"on, {scores['images']['test']} to test"
                + ("; seeds were added until the interval lay inside" if judged else ""),
            )
        )
    return result


def details(record: Record) -> Tables:
    """Every pair."""
    cells = [
        [name, str(seed), *(f"{score:.4f}" for score in pair)]
        for name, scores in record["outcome"].items()
        for seed, pair in enumerate(_by_seed(scores))
    ]
    return [("Macro-F1 on the test part, every pair.", ["images", "seed", *WAYS], cells)]
