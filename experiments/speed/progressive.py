"""Does progressive learning pay? Time to the plain training's best accuracy, in pairs of seeds.

Plain and progressive trainings of a variant take turns, seed by seed, in alternating order. Time is
training and validation up to the end of the first epoch whose validation accuracy is at least the
best that the plain training of the same seed ever had.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report.chapters.progressive import Pair, best_accuracy, ratio_cell, seconds_in_all
from bench.stats.ratios import mean_ratio
from experiments.record import Record, Row, trace
from experiments.speed.commands import run_bench
from experiments.speed.common import head
from experiments.speed.pictures import pictures

NAME = "progressive"
VARIANTS = ("MobileNetV3_Small", "ResNet18")
SEEDS = 3
IMAGES = 1000
IMAGE_SIZE = 128
BATCH_SIZE = 32
EPOCHS = 16
RATE = "1e-3"
MOST = 0.75
COLUMNS = ("train_seconds", "valid_seconds", "valid_acc")


def run(quick: bool) -> dict[str, Any]:
    """Train pairs; ``quick``: MobileNetV3-Small for two epochs at 64 pixels, one seed."""
    names, seeds, images = (VARIANTS[:1], 1, 60) if quick else (VARIANTS, SEEDS, IMAGES)
    size, epochs = (64, 2) if quick else (IMAGE_SIZE, EPOCHS)
    parameters: dict[str, Any] = {
        "variants": list(names),
        "seeds": seeds,
        "images": images,
        "image_size": size,
        "batch_size": BATCH_SIZE,
        "epochs": epochs,
        "base_lr": float(RATE),
        "head_lr": float(RATE),
    }
    record = head(NAME, quick, parameters, seed=0)
    options = [
        "--data-dir", str(pictures(images)), "--image-size", str(size), "--epochs", str(epochs),
        "--batch-size", str(BATCH_SIZE), "--patience", str(epochs), "--base-lr", RATE,
        "--head-lr", RATE,
    ]  # fmt: skip
    outcome: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(seeds):
            for name in names:
                kinds = (False, True) if seed % 2 == 0 else (True, False)
                found = {}
                for progressive in kinds:
                    more = ["--variants", name, "--seed", str(seed)]
                    more += ["--progressive"] if progressive else []
                    (found[progressive],) = run_bench([*options, *more], cache=Path(cache)).records
                outcome[name].append({"seed": seed, **_kept(found)})
                pair = _pair(outcome[name][-1])
                trace(f"{name}, seed {seed}: {_seconds(pair)}")
    return {**record, "outcome": outcome}


def _kept(found: Mapping[bool, Record]) -> dict[str, Any]:
    return {
        ("progressive" if progressive else "plain"): {
            "epochs": [{key: row[key] for key in COLUMNS} for row in one["training"]["epochs"]],
            "growth": one["training"]["growth"],
            "test_accuracy": one["test"]["accuracy"],
        }
        for progressive, one in found.items()
    }


def _pair(one: Record) -> Pair:
    return Pair({"training": one["plain"]}, {"training": one["progressive"]})


def _seconds(pair: Pair) -> str:
    plain, grown = pair.to_target
    return f"{plain:.0f} s plain, {'never' if grown is None else f'{grown:.0f} s'} progressive"


def rows(record: Record) -> list[Row]:
    """The bar, and what the whole training takes, of each variant."""
    parameters = record["parameters"]
    made = (
        f"{parameters['images']} synthetic images, {parameters['image_size']} pixels, batch "
        f"{parameters['batch_size']}, {parameters['epochs']} epochs from random weights"
    )
    out = []
    for name, found in record["outcome"].items():
        pairs = [_pair(one) for one in found]
        out += [_to_target(name, pairs, made), *_whole(name, pairs, made)]
    return out


def _to_target(name: str, pairs: Sequence[Pair], made: str) -> Row:
    times = [pair.to_target for pair in pairs]
    mean = mean_ratio([grown / plain for plain, grown in times if grown is not None])
    reached = sum(grown is not None for _, grown in times)
    found = f"reached in {reached} of {len(pairs)}"
    if mean is not None:
        found = f"{ratio_cell(mean)}, {found}"
    return Row(
        bar=f"{name}: seconds to the plain training's best accuracy, progressive ÷ plain",
        required=f"at most {MOST:g}, reached by all",
        found=found,
        met=reached == len(pairs) and mean is not None and mean.ratio <= MOST,
        made=made,
    )


def _whole(name: str, pairs: Sequence[Pair], made: str) -> list[Row]:
    ratio = mean_ratio(
        [seconds_in_all(pair.progressive) / seconds_in_all(pair.plain) for pair in pairs]
    )
    assert ratio is not None
    differences = [100 * (best_accuracy(pair.progressive) - pair.target) for pair in pairs]
    mean = sum(differences) / len(differences)
    return [
        Row(f"{name}: seconds of all epochs, progressive ÷ plain", "informs", ratio_cell(ratio),
            None, made),
        Row(f"{name}: best validation accuracy, progressive − plain, points", "informs",
            f"{mean:+.1f} ({min(differences):+.1f} to {max(differences):+.1f})", None, made),
    ]  # fmt: skip


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """Every pair."""
    cells = []
    for name, found in record["outcome"].items():
        for one in found:
            pair = _pair(one)
            plain, grown = pair.to_target
            cells.append(
                [
                    name,
                    str(one["seed"]),
                    f"{100 * pair.target:.1f}",
                    f"{100 * best_accuracy(pair.progressive):.1f}",
                    f"{plain:.1f}",
                    "never" if grown is None else f"{grown:.1f}",
                    f"{seconds_in_all(pair.plain):.1f}",
                    f"{seconds_in_all(pair.progressive):.1f}",
                ]
            )
    header = [
        "variant", "seed", "best accuracy, plain (%)", "best, progressive (%)",
        "to the plain best, plain (s)", "to it, progressive (s)", "all epochs, plain (s)",
        "all epochs, progressive (s)",
    ]  # fmt: skip
    return [("Every pair; accuracy is that of the validation part.", header, cells)]
