from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.train.evaluate import evaluate


class Echo(nn.Module):
    """Logits are the input; notes its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        assert torch.is_inference_mode_enabled()
        return x


def test_evaluation_of_every_image_in_order() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 0, 0])
    model = Echo().train()
    batches = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    result = evaluate(model, batches, torch.device("cpu"), prepare=tuple)
    assert model.modes == [False, False]
    assert result.predictions == [0, 1, 0]
    assert result.labels == [0, 0, 0]
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert result.confidences == pytest.approx(logits.softmax(1).amax(1).tolist())
    record = result.as_record(["a", "b", "c"])
    assert record["ids"] == ["a", "b", "c"]
    assert set(record) == {
        "ids",
        "labels",
        "predictions",
        "confidences",
        "loss",
        "accuracy",
        "macro_f1",
    }
