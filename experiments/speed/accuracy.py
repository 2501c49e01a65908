"""Does speed cost accuracy? Macro-F1 with our pipeline and with a plain one, over paired seeds.

Both train the same model from the same weights with the same recipe, split and loop; only what
feeds it differs: our cache and augmentation, or Pillow and torchvision picture by picture. Macro-F1
is that of the best epoch's weights on the test part. Seeds are added until the 95 % interval (t) of
the mean difference lies inside the margin, or there are enough of them.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.config.options import RunConfig
from bench.config.presets import ENVIRONMENT_PREFIX
from bench.data.parts import find_parts
from bench.errors import BenchError
from bench.train.checkpoint import CheckpointFiles
from bench.train.evaluate import evaluate
from bench.train.loop import Feed, TrainContext, train
from experiments.record import Record, Row, trace
from experiments.speed import figures, ours, plain_pipeline
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "accuracy"
VARIANT = "ResNet18"
IMAGES = {"train": 600, "valid": 200, "test": 600}
IMAGE_SIZE = 64
OPTIONS = {
    "epochs": 8, "patience": 8, "base_lr": 5e-4, "head_lr": 5e-4, "num_workers": 0, "tune": "off",
}  # fmt: skip
BATCH_SIZE = 32
FEWEST, MOST = 6, 24
MARGIN = 3.0
REAL = ENVIRONMENT_PREFIX + "RICE3"


def run(quick: bool) -> dict[str, Any]:
    """Train pairs; ``quick``: MobileNetV3-Small for one epoch at 32 pixels, two seeds."""
    name, size, fewest = ("MobileNetV3_Small", 32, 2) if quick else (VARIANT, IMAGE_SIZE, FEWEST)
    images = {"train": 64, "valid": 20, "test": 20} if quick else IMAGES
    options = {**OPTIONS, "epochs": 1} if quick else OPTIONS
    parameters: dict[str, Any] = {
        "variant": name,
        "image_size": size,
        "batch_size": BATCH_SIZE,
        **options,
        "images": images,
        "margin_points": MARGIN,
        "fewest_seeds": fewest,
        "most_seeds": fewest if quick else MOST,
    }
    record = head(NAME, quick, parameters, seed=0)
    job = {"variant": name, "image_size": size, "batch_size": BATCH_SIZE, "options": options}
    sets = {"synthetic": str(pictures(images))}
    real = os.environ.get(REAL)
    if real and not quick:
        sets["rice3"] = real
    elif not quick:
        raise BenchError(f"{REAL} must name the folder of real photographs (rice3)")
    ours.settle()
    outcome = {}
    for set_name, folder in sets.items():
        # Seeds are added for the judged set only.
        most = parameters["most_seeds"] if set_name == "synthetic" else fewest
        outcome[set_name] = _pairs({**job, "data_dir": folder}, fewest, most, set_name)
    return {**record, "outcome": outcome}


def _pairs(job: Mapping[str, Any], fewest: int, most: int, name: str) -> dict[str, Any]:
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    kept: dict[Any, Any] = {}
    # The split stays: what differs between seeds is weights, order and augmentation.
    parts = find_parts(ours.config_of(job))
    for seed in range(most):
        seeded = {**job, "options": {**job["options"], "seed": seed}}
        for way in ("ours", "plain"):
            found[way].append(_macro_f1(seeded, parts, way, kept))
        trace(f"{name}, seed {seed}: ours {found['ours'][-1]:.3f}, plain {found['plain'][-1]:.3f}")
        if seed + 1 >= fewest and inside(*interval(points(found))):
            break
    return {**found, "images": {part: len(p) for part, p in parts.used.as_dict().items()}}


def _macro_f1(job: Mapping[str, Any], parts: Any, way: str, kept: dict[Any, Any]) -> float:
    options = ours.config_of(job)
    model, normalisation = ours.model_of(job, parts.num_classes)
    loaders: Mapping[str, Any]
    if way == "ours":
        setup = ours.prepared(job, model, normalisation, parts)
        loaders, prepare = setup.loaders, setup.prepare
    else:
        mean, std = normalisation
        loaders = plain_pipeline.loaders(
            parts,
            size=options.image_size,
            batch_size=options.batch_size,
            seed=options.seed,
            mean=mean,
            std=std,
            kept=kept,
        )
        prepare = _as_it_is
    torch.manual_seed(options.seed)
    return trained(model, loaders, options, prepare)


def _as_it_is(batch: Any) -> Any:
    return batch


def trained(
    model: torch.nn.Module, loaders: Mapping[str, Any], options: RunConfig, prepare: Any
) -> float:
    """Train with the recipe; macro-F1 of the best epoch's weights on the test part.

    Args:
        model: (B, 3, S, S) → (B, classes) logits.
        loaders: ``train``, ``valid`` and ``test``.
        options: the recipe.
        prepare: a batch of the loaders → images and labels.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            Feed(loaders, prepare),
            options,
            TrainContext(device=ours.DEVICE, progress=Silent()),  # type: ignore[arg-type]
            CheckpointFiles(best=Path(folder) / "best_model.pt", about={}),
        )
    return evaluate(model, loaders["test"], ours.DEVICE, prepare=prepare).macro_f1


class Silent:
    """Progress that nobody sees."""

    def batches(self, loader: Any, epoch: int, seen: int = 0) -> Any:
        """The loader's batches."""
        return loader

    def epoch_done(self, row: Mapping[str, float], best_epoch: int) -> None:
        """Nothing."""


# --- the table -------------------------------------------------------------------------------


def points(found: Mapping[str, Sequence[float]]) -> list[float]:
    """Differences of macro-F1, ours − plain, in points."""
    pairs = zip(found["ours"], found["plain"], strict=True)
    return [100 * (one - other) for one, other in pairs]


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval (t) of the mean of at least two differences."""
    from scipy import stats

    n, mean = len(differences), statistics.mean(differences)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return mean - half, mean + half


def inside(low: float, high: float) -> bool:
    """Whether an interval lies inside the margin."""
    return low > -MARGIN and high < MARGIN


def rows(record: Record) -> list[Row]:
    """The synthetic set judged, real photographs for information."""
    parameters, found = record["parameters"], []
    for name, outcome in record["outcome"].items():
        differences = points(outcome)
        low, high = interval(differences)
        judged = name == "synthetic"
        levels = [statistics.mean(outcome[way]) for way in ("ours", "plain")]
        found.append(
            Row(
                f"Macro-F1, ours − plain pipeline, points, {name} images",
                f"95 % interval inside ±{MARGIN:g}" if judged else "informs",
                f"{statistics.mean(differences):+.2f} ({low:+.2f} to {high:+.2f}, "
                f"{len(differences)} seeds; macro-F1 {levels[0]:.3f} and {levels[1]:.3f})",
                inside(low, high) if judged else None,
                f"{parameters['variant']} from random weights, {parameters['epochs']} epochs at "
                f"{parameters['image_size']} pixels, {outcome['images']['train']} images to train "
                f"on, {outcome['images']['test']} to test"
                + ("; seeds were added until the interval lay inside" if judged else ""),
            )
        )
    return found


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every pair."""
    cells = [
        [name, str(seed), f"{one:.4f}", f"{other:.4f}"]
        for name, outcome in record["outcome"].items()
        for seed, (one, other) in enumerate(zip(outcome["ours"], outcome["plain"], strict=True))
    ]
    return [("Macro-F1 on the test part, every pair.", ["images", "seed", "ours", "plain"], cells)]


def draw(record: Record, folder: Path) -> list[tuple[str, Path]]:
    """Differences by seed, as (what is seen, file)."""
    path = figures.differences(record, folder / "accuracy.png")
    return [("Difference of macro-F1 by seed", path)]
