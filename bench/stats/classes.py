"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


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
