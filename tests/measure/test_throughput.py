from __future__ import annotations

import statistics

import pytest
import torch
from torch import nn

from bench.measure import throughput
from bench.measure.throughput import time_inference

CPU = torch.device("cpu")


class Counted(nn.Module):
    """Counts calls, and moves a clock of its own by ``seconds`` at each."""

    def __init__(self, seconds: float, clock: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.clock, self.calls = seconds, clock, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.calls += 1
        self.shape = images.shape
        self.clock[0] += self.seconds
        return images


def timed(seconds: float, monkeypatch: pytest.MonkeyPatch, **options):
    clock = [0.0]
    monkeypatch.setattr(throughput, "timer", lambda: clock[0])
    model = Counted(seconds, clock)
    return model, time_inference(model.train(), device=CPU, image_size=8, **options)


def test_the_guides_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    model, record = timed(0.01, monkeypatch, budget_s=30)
    assert model.calls == 120
    assert model.shape == (16, 3, 8, 8)
    assert (record["warmup_steps"], record["timed_steps"], record["batch_size"]) == (20, 100, 16)
    assert record["step_seconds"] == pytest.approx([0.01] * 100)
    assert record["images_per_s"] == pytest.approx(1600)
    assert record["budget_ended"] is False


def test_a_budget_ends_it_early_and_the_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = timed(0.1, monkeypatch, budget_s=2.0)
    assert record["warmup_steps"] == 5
    assert 14 <= record["timed_steps"] <= 16
    assert record["budget_ended"] is True
    assert record["time_budget_s"] == 2.0


def test_a_tiny_budget_still_warms_up_and_times_three(monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = timed(5.0, monkeypatch, budget_s=0.5)
    assert (record["warmup_steps"], record["timed_steps"]) == (3, 3)


def test_a_real_record() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    record = time_inference(model, device=CPU, image_size=32, batch_size=4, budget_s=0.5)
    assert record["images_per_s"] == pytest.approx(4 / statistics.median(record["step_seconds"]))
    assert record["images_per_s"] > 0
    assert len(record["step_seconds"]) == record["timed_steps"] >= 3
    assert record["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu"
    assert record["device_name"]
    assert 50 < record["peak_memory_mb"] < 50_000
    assert record["inside_clock"] == "model only"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_memory_is_the_devices() -> None:
    model = nn.Conv2d(3, 8, 3)
    record = time_inference(model, device=torch.device("cuda"), image_size=64, budget_s=1)
    assert record["peak_memory_kind"] == "CUDA allocated"
    assert record["device_name"] == torch.cuda.get_device_name()
