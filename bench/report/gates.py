"""What keeps a wrong number out of a table: invalid runs, undertrained models, Wilson intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

import attrs

Record = Mapping[str, Any]


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share, as fractions 0..1.

    Args:
        correct: images classified correctly, 0..total.
        total: images evaluated, at least 1.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


@attrs.frozen
class Accuracy:
    """Accuracy on one evaluated part.

    Attributes:
        share, low, high: fractions 0..1; the bounds are the 95 % Wilson interval, None where the
            number of images is unknown.
        total: images evaluated.
        undertrained: why the figure says nothing about the model, or None.
    """

    share: float
    low: float | None
    high: float | None
    total: int | None
    undertrained: str | None


def valid_accuracy(record: Record) -> Accuracy | None:
    """Validation accuracy of a run, from its per-image predictions where the record has them."""
    part = record.get("validation") or {}
    labels, predictions = part.get("labels") or [], part.get("predictions") or []
    if labels and len(labels) == len(predictions):
        correct = sum(a == b for a, b in zip(labels, predictions, strict=True))
        majority = max(Counter(labels).values()) / len(labels)
        only = len(set(predictions)) == 1
        return _judge(correct / len(labels), len(labels), majority, only)
    share = (record.get("metrics") or {}).get("valid_acc")
    if share is None or not _finite(share):
        return None
    counts = ((record.get("data") or {}).get("counts") or {}).get("valid") or {}
    used = ((record.get("data") or {}).get("used") or {}).get("valid") or sum(counts.values())
    majority = max(counts.values()) / sum(counts.values()) if sum(counts.values()) else 0.0
    return _judge(float(share), int(used) or None, majority, False)


def _judge(share: float, total: int | None, majority: float, only_class: bool) -> Accuracy:
    reason = None
    if only_class:
        reason = "predicts a single class"
    elif share <= majority:
        reason = f"not above the majority rate of {100 * majority:.1f} %"
    low, high = wilson(round(share * total), total) if total else (None, None)
    return Accuracy(share, low, high, total, reason)


def invalid_reason(record: Record) -> str | None:
    """Why no number of a complete run can be believed, or None.

    Gates: a throughput that is not positive, a parameter count other than the declared one, a loss
    that is NaN or infinite.
    """
    return next(_violations(record), None)


def _violations(record: Record) -> Iterator[str]:
    counts = record.get("counts") or {}
    count, declared = counts.get("parameters"), counts.get("parameters_declared")
    if declared is not None and count is not None and count != declared:
        yield f"{count:,} parameters, declared {declared:,}"
    for where, speed in _speeds(record):
        if not _finite(speed) or speed <= 0:
            yield f"{where} throughput of {_written(speed)} images/s"
    for where, loss in _losses(record):
        if not _finite(loss):
            yield f"{where} is {_written(loss)}"


def _speeds(record: Record) -> Iterator[tuple[str, Any]]:
    for entry in record.get("timing") or []:
        if "images_per_s" in entry:
            yield f"{entry.get('device')} inference", entry["images_per_s"]
    training = record.get("training") or {}
    if training.get("images_per_s") is not None:
        yield "training", training["images_per_s"]
    fps = (record.get("metrics") or {}).get("fps")
    if fps is not None:
        yield "metrics.json", fps


def _losses(record: Record) -> Iterator[tuple[str, Any]]:
    for epoch in (record.get("training") or {}).get("epochs") or []:
        for key in ("train_loss", "valid_loss"):
            if key in epoch:
                yield f"{key} of epoch {epoch.get('epoch')}", epoch[key]
    for key in ("train_loss", "valid_loss"):
        if key in (record.get("metrics") or {}):
            yield f"{key} of metrics.json", record["metrics"][key]
    validation = record.get("validation") or {}
    if "loss" in validation:
        yield "validation loss", validation["loss"]


def _written(value: Any) -> str:
    # JSON has no NaN: records hold null in its place.
    return "NaN or infinite" if value is None else str(value)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
