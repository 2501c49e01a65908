"""Accuracy, macro-F1 and per-image predictions of a model on a part of the data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from bench.stats.classes import macro_f1
from bench.train.distributed import ProcessGroup
from bench.train.optim import Forward, autocast

# What a loader gives → images (B, 3, S, S) and labels (B,) on the device, ready for the model.
Prepare = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]


@attrs.frozen
class Evaluation:
    """Of every image in order: label, prediction, confidence (softmax of the prediction)."""

    loss: float
    accuracy: float
    macro_f1: float
    labels: list[int]
    predictions: list[int]
    confidences: list[float]

    def as_record(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the record's form, with the images' names beside their predictions."""
        return {"ids": list(ids), **attrs.asdict(self)}


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    device: torch.device,
    *,
    prepare: Prepare,
    forward: Forward | None = None,
    amp: str = "off",
    team: ProcessGroup | None = None,
) -> Evaluation:
    """Evaluate in eval mode; the loss is the mean cross-entropy over images, unweighted.

    Args:
        model: (B, 3, S, S) → (B, classes) logits.
        batches: of images and labels.
        device: where the model is.
        prepare: a batch → images (B, 3, S, S) and labels (B,) on the device.
        forward: images → logits; none: the model.
        amp: ``off``, ``fp16`` or ``bf16``.
        team: processes that each have some rows of every batch; all get the whole result.
    """
    model.eval()
    group = team or ProcessGroup()
    outputs = []
    for batch in batches:
        images, labels = prepare(batch)
        logits = torch.empty(0, device=device)
        if len(labels):
            with autocast(device, amp):
                logits = (forward or model)(images).float()
        outputs.append((logits, labels))
    everyone = group.everywhere([(logits.cpu(), labels.cpu()) for logits, labels in outputs])
    # A batch's rows were divided in order: so they come together again.
    rows = itertools.chain(*zip(*everyone, strict=True))
    return group.tell(_evaluation(rows) if group.leads else None)


def _evaluation(outputs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Evaluation:
    logits, truth = map(torch.cat, zip(*outputs, strict=True))
    confidences, predictions = logits.softmax(1).max(1)
    return Evaluation(
        loss=nn.functional.cross_entropy(logits, truth).item(),
        accuracy=(predictions == truth).double().mean().item(),
        macro_f1=macro_f1(truth.tolist(), predictions.tolist()),
        labels=truth.tolist(),
        predictions=predictions.tolist(),
        confidences=confidences.tolist(),
    )
