"""Intervals of one variant: its accuracy and its macro-F1, alone or as a mean over seeds.

The functions under test are those of a report: wilson with effective_number for one training,
interval_of_mean for several, macro_f1_jackknife with interval_of_score for macro-F1.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from bench.stats.accuracy import wilson
from bench.stats.classes import macro_f1_jackknife
from bench.stats.multireader import (
    effective_number,
    interval_of_mean,
    interval_of_score,
    jackknife,
)
from experiments.calibration import simulated_sweeps
from experiments.calibration.simulated_sweeps import Array, Design, simulate
from experiments.rows import Row, percent, rate_row
from experiments.suite import Json, Record, Tables, trace

SEED = 20244
IMAGES, CLASSES, IMBALANCE, NEIGHBOUR = 576, 10, 5.0, 0.5
ACCURACIES, SEEDS, GROUPED = (0.85, 0.97), (1, 3), (False, True)
LEAST = 0.93
PARAMETERS = {
    "variants": 1000,
    "images": IMAGES,
    "classes": CLASSES,
    "imbalance": IMBALANCE,
    "neighbour": NEIGHBOUR,
    "run_sd": simulated_sweeps.RUN_SD,
    "groups": simulated_sweeps.GROUPS,
}
QUICK = {"variants": 8}
MODEL = (
    f"{IMAGES} images of {CLASSES} classes whose shares fall in equal steps, {IMBALANCE:g} to 1; "
    f"a wrong prediction is the next class in {NEIGHBOUR:.0%} of the cases, else any other. All "
    "images of a group are of one class, so that the rarest class has some three groups. What one "
    "training's interval must hold is the accuracy of that trained model on all images; that of "
    "several, the mean over all trainings."
).replace("%", " %")


def measure(chosen: Record) -> Json:
    """Simulate every setting."""
    settings = product(ACCURACIES, SEEDS, GROUPED)
    return {"outcome": [_coverage(*setting, chosen["variants"]) for setting in settings]}


def _coverage(accuracy: float, seeds: int, grouped: bool, variants: int) -> Json:
    """How often the two intervals hold the truth."""
    trace(f"variant_intervals: {accuracy}, {seeds} seeds, grouped {grouped}")
    rng = np.random.default_rng([SEED, round(100 * accuracy), seeds, grouped])
    luck = 0.0 if seeds == 1 else 1.0
    design = Design(seeds, IMAGES, (accuracy,), grouped=grouped, luck=luck)
    intervals = []
    for _ in range(variants):
        correct = simulate(design, rng)[0]
        f1 = _f1_interval(correct, design, rng)
        intervals.append((accuracy_interval(correct, design.units), f1))
    truths = (accuracy, true_macro_f1(accuracy))
    low, high = np.moveaxis(np.array(intervals), -1, 0)
    held = ((low <= truths) & (truths <= high)).sum(axis=0)
    widths = (high - low).mean(axis=0)
    return {
        "accuracy": accuracy,
        "macro_f1": truths[1],
        "seeds": seeds,
        "grouped": grouped,
        "variants": variants,
        "accuracy_held": int(held[0]),
        "macro_f1_held": int(held[1]),
        "accuracy_width": float(widths[0]),
        "macro_f1_width": float(widths[1]),
    }


def accuracy_interval(correct: Array, units: Array | None) -> tuple[float, float]:
    """What a report prints for (seeds, images)."""
    if len(correct) > 1:
        scores, deltas, counts = jackknife(correct[None], units)
        return interval_of_mean(scores[0], deltas[0], counts, correct.size)
    hits = correct[0] > 0
    number = float(len(hits))
    if units is not None:
        number = effective_number(hits.tolist(), units.tolist())
    return wilson(float(hits.mean()) * number, number)


# --- classes ---------------------------------------------------------------------------------


def shares() -> Array:
    """Of each class, the most frequent first."""
    steps = np.linspace(IMBALANCE, 1.0, CLASSES)
    return np.asarray(steps / steps.sum())


def true_macro_f1(accuracy: float) -> float:
    """Of endlessly many images, each classified correctly with this probability."""
    each = shares()
    spread = (1 - NEIGHBOUR) / (CLASSES - 1)
    astray = (1 - accuracy) * (NEIGHBOUR * np.roll(each, 1) + spread * (1 - each))
    return float(np.mean(2 * accuracy * each / (each + accuracy * each + astray)))


def _f1_interval(correct: Array, design: Design, rng: np.random.Generator) -> tuple[float, float]:
    units = np.arange(IMAGES) if design.units is None else design.units
    number = int(units.max()) + 1
    labels = rng.choice(CLASSES, number, p=shares())[units]
    far = 1 + rng.integers(0, CLASSES - 1, correct.shape)
    step = np.where(rng.random(correct.shape) < NEIGHBOUR, 1, far)
    guesses = np.where(correct > 0, labels, (labels + step) % CLASSES)
    jackknifes = [macro_f1_jackknife(labels.tolist(), g.tolist(), units, number) for g in guesses]
    return interval_of_score(*map(np.array, zip(*jackknifes, strict=True)))


# --- the table -------------------------------------------------------------------------------


def rows(record: Record) -> list[Row]:
    """Coverage of the accuracy's interval, then of macro-F1's."""
    return [_row(case, score) for score in ("accuracy", "macro_f1") for case in record["outcome"]]


def _row(case: Record, score: str) -> Row:
    seeds = "one training" if case["seeds"] == 1 else f"mean of {case['seeds']} seeds"
    units = f"{simulated_sweeps.GROUPS} groups as units" if case["grouped"] else "images as units"
    name = {"accuracy": "accuracy", "macro_f1": "macro-F1"}[score]
    # A class of some three groups tells too little of its spread for a jackknife.
    judged = score == "accuracy" or not case["grouped"]
    width = f"mean width {100 * case[f'{score}_width']:.1f} points"
    return rate_row(
        f"Interval of {name} holds the truth, {case[score]:.3f}: {seeds}, {units}",
        case[f"{score}_held"],
        case["variants"],
        f"{case['variants']:,} simulated variants; {width}",
        least=LEAST if judged else None,
    )


def details(record: Record) -> Tables:
    """The classes of the model."""
    caption = f"Correct or not as in the simulated sweeps of accuracy_verdicts. {MODEL}"
    cells = [[str(number), percent(share, 1)] for number, share in enumerate(shares())]
    return [(caption, ["class", "share of the images"], cells)]
