"""Evaluates runs on labelled images from elsewhere: do they transfer?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.data.index import ImageIndex
from bench.data.sources.layouts import listed
from bench.deploy.predict import Predicted, predict
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.stats.accuracy import difference_of_shares, wilson
from bench.stats.classes import macro_f1, of_classes
from bench.system.digits import points

# A class of the external set that is not evaluated.
LEFT_OUT = ""


def match_classes(
    theirs: Sequence[str], ours: Sequence[str], given: Sequence[str] = ()
) -> dict[str, str]:
    """Which of the run's classes each class of an external set is.

    Names that differ in case, blanks, underscores and hyphens only are the same.

    Args:
        theirs: of the external set.
        ours: of the run.
        given: ``THEIRS=OURS`` for others; ``THEIRS=`` leaves a class out.

    Returns:
        Theirs → ours, or :data:`LEFT_OUT`.

    Raises:
        BenchError: a class has no counterpart, or a mapping names what is not there.
    """
    pairs = [_split(text, theirs, ours) for text in given]
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BenchError(f"--map names {twice!r} twice: map each class once")
    plain = Counter(map(_plain, ours))
    by_plain = {_plain(name): name for name in ours if plain[_plain(name)] == 1}
    for name in theirs:
        if name not in found:
            same = name if name in ours else by_plain.get(_plain(name))
            if same is not None:
                found[name] = same
    missing = [name for name in theirs if name not in found]
    if missing:
        raise BenchError(
            f"the run knows no class {listed(missing)}, only {', '.join(map(repr, ours))}: give "
            f"--map {missing[0] + '=ONE OF THEM'!r} for each, or --map {missing[0] + '='!r} to "
            "leave it out"
        )
    if not any(found[name] for name in theirs):
        raise BenchError("every class is left out: map one to a class of the run")
    return {name: found[name] for name in theirs}


def _split(text: str, theirs: Sequence[str], ours: Sequence[str]) -> tuple[str, str]:
    """A mapping at the one of its signs that makes sense: names may hold such signs too."""
    for place in (at for at, character in enumerate(text) if character == "="):
        left, right = text[:place], text[place + 1 :]
        if left in theirs and (right in ours or right == LEFT_OUT):
            return left, right
    raise BenchError(
        f"--map {text!r} must be THEIRS=OURS, with one of {', '.join(map(repr, theirs))} and one "
        f"of {', '.join(map(repr, ours))} (or nothing, to leave it out)"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()


def evaluate_external(
    models: Sequence[SavedModel],
    index: ImageIndex,
    mapping: Mapping[str, str],
    *,
    device: torch.device,
    batch_size: int,
    views: str,
    threads: int,
    on_progress: Callable[[int], object] = lambda images: None,
) -> dict[str, Any]:
    """Predict every image of an external set whose class is mapped, and compare with its label.

    Args:
        models: as of :func:`bench.deploy.predict.predict`, like all that follows.
        index: the external set; all of its parts are used.
        mapping: of :func:`match_classes`.

    Returns:
        Accuracy with its Wilson interval, macro-F1, precision, recall and F1 of each class, every
        prediction, and for a single run without other views ``own``: its own test part (else its
        validation part) on the same classes, with the difference of the two accuracies and its
        interval.

    Raises:
        BenchError: no image could be read.
    """
    wanted = [
        position
        for position, label in enumerate(index.labels)
        if mapping[index.classes[label]] != LEFT_OUT
    ]
    predicted = predict(
        models,
        [index.path(position) for position in wanted],
        device=device,
        batch_size=batch_size,
        views=views,
        threads=threads,
        on_progress=on_progress,
    )
    if len(predicted.unreadable) == len(wanted):
        raise BenchError(f"none of the {len(wanted)} images in {index.root} can be decoded")
    number = {name: place for place, name in enumerate(models[0].classes)}
    labels = [number[mapping[index.classes[index.labels[position]]]] for position in wanted]
    results = _results([index.paths[position] for position in wanted], labels, predicted)
    own = None
    # The record's own part was predicted without other views.
    if len(models) == 1 and views == "none":
        occurring = set(results["labels"])
        own = _own(models[0].record, occurring, results["correct"], results["images"])
    return {
        "runs": [model.name for model in models],
        "views": views,
        "classes": list(models[0].classes),
        "mapping": dict(mapping),
        "data": _identity(index),
        **results,
        "own": own,
    }


def _identity(index: ImageIndex) -> dict[str, Any]:
    source = {"root": str(index.root), "layout": index.layout, **index.identity()}
    return {**source, "loader": LOADER, "images": len(index)}


def _results(paths: Sequence[str], labels: Sequence[int], predicted: Predicted) -> dict[str, Any]:
    """Return how the predictions of the readable images compare with their labels."""
    readable = [place for place in range(len(paths)) if place not in predicted.unreadable]
    truth = [labels[place] for place in readable]
    predictions = predicted.labels[readable].tolist()
    correct = int(np.sum(np.array(truth) == np.array(predictions)))
    return {
        **_accuracy(correct, len(readable)),
        "macro_f1": macro_f1(truth, predictions),
        "by_class": of_classes(truth, predictions, predicted.classes),
        "unreadable": {paths[place]: reason for place, reason in predicted.unreadable.items()},
        "ids": [paths[place] for place in readable],
        "labels": truth,
        "predictions": predictions,
        "confidences": predicted.probabilities[readable].max(1).tolist(),
    }


def _accuracy(correct: int, images: int) -> dict[str, Any]:
    return {
        "images": images,
        "correct": correct,
        "accuracy": correct / images,
        "interval": list(wilson(correct, images)),
    }


def _own(
    record: Mapping[str, Any], occurring: set[int], hits: int, images: int
) -> dict[str, Any] | None:
    """A run's accuracy on its own images of the same classes, and the difference to it."""
    part = "test" if record.get("test") else "validation"
    own = record.get(part)
    if not own:
        return None
    pairs = [
        (label, prediction)
        for label, prediction in zip(own["labels"], own["predictions"], strict=True)
        if label in occurring
    ]
    if not pairs:
        return None
    right = sum(label == prediction for label, prediction in pairs)
    return {
        "part": part,
        **_accuracy(right, len(pairs)),
        "difference": hits / images - right / len(pairs),
        "difference_interval": list(difference_of_shares((hits, images), (right, len(pairs)))),
    }


def describe(record: Mapping[str, Any]) -> list[str]:
    """What was found, in plain lines."""
    low, high = record["interval"]
    changed = [
        f"{theirs!r} is {ours!r}" if ours else f"{theirs!r} is left out"
        for theirs, ours in record["mapping"].items()
        if theirs != ours
    ]
    lines = [
        f"run       {', '.join(record['runs'])}",
        *([f"classes   {', '.join(changed)}"] if changed else []),
        f"images    {record['images']:,} of {record['data']['images']:,}",
        f"accuracy  {record['accuracy']:.3f} ({low:.3f}–{high:.3f}), "
        f"macro-F1 {record['macro_f1']:.3f}",
    ]
    own = record["own"]
    if own is not None:
        low, high = own["interval"]
        flatters = "" if own["part"] == "test" else " (it chose the epoch, which flatters)"
        lines.append(
            f"own {own['part']:<11}{own['accuracy']:.3f} ({low:.3f}–{high:.3f}) on "
            f"{own['images']:,} images of these classes{flatters}"
        )
        lines.append(f"transfer  {transfer(own)}")
    return lines


def transfer(own: Mapping[str, Any]) -> str:
    """Whether the run does as well elsewhere, in a sentence."""
    low, high = (100 * bound for bound in own["difference_interval"])
    text = f"{points(100 * own['difference'])} points ({points(low)} to {points(high)})"
    if low > 0:
        return f"{text}: better than on its own images"
    if high < 0:
        return f"{text}: worse than on its own images"
    return f"{text}: no difference could be shown"
