"""Does progressive learning pay? Time to the plain training's best accuracy, in pairs of seeds.

Plain and progressive trainings of a variant take turns, seed by seed, in alternating order. Time is
training and validation up to the end of the first epoch whose validation accuracy is at least the
best that the plain training of the same seed ever had.
"""

from __future__ import annotations

import tempfile
from itertools import accumulate
from pathlib import Path

import attrs

from bench.stats.ratios import MeanRatio, mean_ratio
from bench.system.digits import apart, counted
from experiments.commands import train, training_flags
from experiments.rows import Row
from experiments.suite import Json, Record, Tables, trace

SEED = 0
KINDS = ("plain", "progressive")
PARAMETERS = {
    "variants": ["MobileNetV3_Small", "ResNet18"],
    "seeds": 3,
    "images": 1000,
    "image_size": 128,
    "batch_size": 32,
    "epochs": 16,
    "base_lr": 1e-3,
    "head_lr": 1e-3,
}
QUICK = {
    "variants": ["MobileNetV3_Small"],
    "seeds": 1,
    "images": 60,
    "image_size": 64,
    "epochs": 2,
}
MOST = 0.75
COLUMNS = ("train_seconds", "valid_seconds", "valid_acc")


def measure(chosen: Record) -> Json:
    """Train pairs."""
    outcome: dict[str, list[Json]] = {name: [] for name in chosen["variants"]}
    rates = {name: chosen[name] for name in ("base_lr", "head_lr")}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(chosen["seeds"]):
            for name, pairs in outcome.items():
                pair: Json = {"seed": seed}
                for kind in KINDS[:: -1 if seed % 2 else 1]:
                    more = {"variants": name, "seed": seed, **rates}
                    more |= {"progressive": True} if kind == "progressive" else {}
                    arguments = training_flags(chosen, **more)
                    (record,) = train(arguments, cache=Path(cache)).records
                    rows_of = record["training"]["epochs"]
                    pair[kind] = {
                        "epochs": [{key: row[key] for key in COLUMNS} for row in rows_of],
                        "growth": record["training"]["growth"],
                        "test_accuracy": record["test"]["accuracy"],
                    }
                pairs.append(pair)
                plain, grown = map(_seconds, _trainings(pair))
                trace(f"{name}, seed {seed}: {plain} s plain, {grown} s progressive")
    return {"outcome": outcome}


# --- the table -------------------------------------------------------------------------------


@attrs.frozen
class Training:
    """One training of a pair.

    Attributes:
        best: the best validation accuracy of any epoch, 0..1.
        to_target: seconds of training and validation until an epoch had the best accuracy of the
            plain training; None: never.
        seconds: of all epochs.
    """

    best: float
    to_target: float | None
    seconds: float


def _trainings(pair: Record) -> tuple[Training, Training]:
    """The plain and the progressive training of a pair."""
    plain, progressive = (pair[kind]["epochs"] for kind in KINDS)
    target = max(row["valid_acc"] for row in plain)

    def training(epochs: Record) -> Training:
        ends = list(accumulate(row["train_seconds"] + row["valid_seconds"] for row in epochs))
        accuracies = [row["valid_acc"] for row in epochs]
        reached = (end for end, each in zip(ends, accuracies, strict=True) if each >= target)
        return Training(max(accuracies), next(reached, None), ends[-1])

    return training(plain), training(progressive)


def _seconds(training: Training) -> str:
    return "never" if training.to_target is None else f"{training.to_target:.1f}"


def rows(record: Record) -> list[Row]:
    """The bar, and what the whole training takes, of each variant."""
    parameters, result = record["parameters"], []
    made = (
        f"{parameters['images']} synthetic images, {parameters['image_size']} pixels, batch "
        f"{parameters['batch_size']}, {parameters['epochs']} epochs from random weights"
    )
    for name, pairs in record["outcome"].items():
        trainings = [_trainings(pair) for pair in pairs]
        ratios = [
            grown.to_target / plain.to_target
            for plain, grown in trainings
            if grown.to_target is not None
        ]
        mean, total = mean_ratio(ratios), len(pairs)
        whole = mean_ratio([grown.seconds / plain.seconds for plain, grown in trainings])
        gains = [100 * (grown.best - plain.best) for plain, grown in trainings]
        reached = f"reached in {len(ratios)} of {total}"
        result += [
            Row(
                f"{name}: seconds to the plain training's best accuracy, progressive ÷ plain",
                f"at most {MOST:g}, reached by all",
                reached if mean is None else f"{_ratio(mean)}, {reached}",
                len(ratios) == total and mean.ratio <= MOST,
                made,
            ),
            Row(
                f"{name}: seconds of all epochs, progressive ÷ plain",
                "informs",
                _ratio(whole),
                None,
                made,
            ),
            Row(
                f"{name}: best validation accuracy, progressive − plain, points",
                "informs",
                f"{sum(gains) / total:+.1f} ({min(gains):+.1f} to {max(gains):+.1f})",
                None,
                made,
            ),
        ]
    return result


def _ratio(mean: MeanRatio) -> str:
    """``0.61 [0.55–0.68]``; no bound of an interval without 1 is written as 1."""
    if mean.low is None:
        return f"{mean.ratio:.2f} (no interval: {counted(mean.pairs, 'pair')})"
    numbers = (apart(number, 2, 1.0) for number in (mean.ratio, mean.low, mean.high))
    return "{} [{}–{}]".format(*numbers)


def details(record: Record) -> Tables:
    """Every pair."""
    cells = []
    for name, pairs in record["outcome"].items():
        for pair in pairs:
            trainings = _trainings(pair)
            cells.append(
                [
                    name,
                    str(pair["seed"]),
                    *(f"{100 * each.best:.1f}" for each in trainings),
                    *map(_seconds, trainings),
                    *(f"{each.seconds:.1f}" for each in trainings),
                ]
            )
    header = [
        "variant", "seed", "best accuracy, plain (%)", "best, progressive (%)",
        "to the plain best, plain (s)", "to it, progressive (s)", "all epochs, plain (s)",
        "all epochs, progressive (s)",
    ]  # fmt: skip
    return [("Every pair; accuracy is that of the validation part.", header, cells)]
