"""Precision, recall and F1 of each class, and macro-F1 with what each image adds to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.stats.accuracy import Array


def of_classes(
    labels: Sequence[int], predictions: Sequence[int], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """A dict for each class that occurs among labels or predictions, in order.

    ``class``, ``images`` of it, images ``predicted`` as it, ``precision``, ``recall`` and ``f1``
    (0..1). Precision is None where nothing was predicted as the class, recall where no image is of
    it.

    Args:
        labels, predictions: numbers of classes, one for each image.
        classes: names.
    """
    images, predicted = Counter(labels), Counter(predictions)
    pairs = zip(labels, predictions, strict=True)
    right = Counter(label for label, prediction in pairs if label == prediction)
    return [
        {
            "class": name,
            "images": images[place],
            "predicted": predicted[place],
            "precision": right[place] / predicted[place] if predicted[place] else None,
            "recall": right[place] / images[place] if images[place] else None,
            "f1": 2 * right[place] / (images[place] + predicted[place]),
        }
        for place, name in enumerate(classes)
        if images[place] or predicted[place]
    ]


def macro_f1(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Unweighted mean of F1 over the classes that occur among labels or predictions, 0..1."""
    return _mean_f1(*_counts(np.asarray(labels), np.asarray(predictions)))


def macro_f1_jackknife(
    labels: Sequence[int], predictions: Sequence[int], units: Array, number: int
) -> tuple[float, Array, int]:
    """Macro-F1, and the influence of every unit on it (delete-one jackknife).

    The unweighted mean of F1 over the classes that occur among labels or predictions.

    Args:
        labels, predictions: numbers of classes, one for each image.
        units: number of each image's group.
        number: units there are; those without an image have no influence.

    Returns:
        Macro-F1, influences (number,), units that have an image.
    """
    truth, guess = np.asarray(labels), np.asarray(predictions)
    order = np.argsort(units, kind="stable")
    present, starts = np.unique(np.asarray(units)[order], return_index=True)
    right, count = _counts(truth, guess)
    without = np.empty(len(present))
    for place, rows in enumerate(np.split(order, starts[1:])):
        lost, fewer = right.copy(), count.copy()
        np.subtract.at(lost, truth[rows][truth[rows] == guess[rows]], 1)
        np.subtract.at(fewer, truth[rows], 1)
        np.subtract.at(fewer, guess[rows], 1)
        without[place] = _mean_f1(lost, fewer)
    deltas, found = np.zeros(number), len(present)
    deltas[present] = (without - without.mean()) * np.sqrt((found - 1) / found)
    return _mean_f1(right, count), deltas, found


def _counts(truth: Array, guess: Array) -> tuple[Array, Array]:
    """Each class's hits, and its labels and predictions together."""
    classes = max(truth.max(), guess.max()) + 1
    right, count = np.zeros(classes), np.zeros(classes)
    np.add.at(right, truth[truth == guess], 1)
    np.add.at(count, truth, 1)
    np.add.at(count, guess, 1)
    return right, count


def _mean_f1(right: Array, count: Array) -> float:
    kept = count > 0
    return float(np.mean(2 * right[kept] / count[kept])) if kept.any() else 0.0
