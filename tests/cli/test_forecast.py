"""Predictions of what a sweep takes elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.cli.forecast import makespan, past_error, training_bytes
from bench.cli.main import main
from bench.models.complexity import saved_bytes

FAST = "--epochs 2 --batch-size 8 --image-size 32 --no-timing --tune off --threads 1"


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 8, 3, padding=1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(images)))


def test_saved_activations_are_counted_once() -> None:
    with torch.device("meta"):
        model = Layers()
    # The images, for the first convolution; the result of relu, for itself and the second one.
    assert saved_bytes(model, 10) == 4 * 100 * (3 + 4)
    assert saved_bytes(model, 20) == 4 * saved_bytes(model, 10)


def test_memory_is_four_values_for_each_weight_and_the_batchs_activations() -> None:
    assert training_bytes(weights=1000, batch_size=8, saved=500) == 4 * 4 * 1000 + 8 * 500


def test_longest_runs_go_first_to_a_free_device() -> None:
    assert makespan([3, 1, 2], 1) == 6
    assert makespan([3, 1, 2], 2) == 3
    assert makespan([2, 2, 3, 3], 2) == 5
    assert makespan([4], 8) == 4


def record(expected, seconds, **changes):
    training = {
        "expected_seconds": expected, "seconds": seconds, "epochs_run": 4, "device_name": "this",
        "beside": 0,
    }  # fmt: skip
    training |= changes.pop("training", {})
    return {
        "status": "complete", "resumed": [], "training": training, "config": {"epochs": 4},
        **changes,
    }  # fmt: skip


def test_past_runs_say_how_far_predictions_are_off() -> None:
    records = [
        record(10, 12),
        record(10, 9),
        record(20, 11, training={"epochs_run": 2}),  # it ended early
        record(10, 99, training={"device_name": "another"}),
        record(10, 99, training={"beside": 1}),
        record(10, 99, resumed=[{}]),
        record(10, 99, status="failed"),
        record(None, 99),
        {"status": "failed", "training": None},
    ]
    assert past_error(records, "this") == pytest.approx((1.1, 0.9, 1.2, 3))
    assert past_error(records[3:], "this") is None


def test_a_forecast_from_the_command_line(
    photos: Path, tiny_plugin: Path, tmp_path, capsys
) -> None:
    line = (
        f"run --variants Tiny_CA,Tiny --plugin {tiny_plugin} --data-dir {photos} {FAST} "
        f"--results-dir {tmp_path}/results"
    )
    assert main(f"{line} --dry-run --images 1000000 --gpus 8 --price 0.5".split()) == 0
    out = capsys.readouterr().out
    assert "images    775,000 train, 125,000 valid, 100,000 test" in out
    assert "devices   8 like this one" in out
    assert "no past run on this device" in out
    rows = {row[0]: row[1:] for row in (text.split() for text in out.splitlines()[2:4])}
    for alone, together, memory, disk, cost in (map(float, row) for row in rows.values()):
        assert alone / 8 < together + 0.05 < alone
        assert cost == pytest.approx(0.5 * alone / 60, abs=0.02)
        assert memory < 0.1
        assert disk == pytest.approx(0.0135, abs=0.01)  # predictions of 225,000 images
    assert "3.07 GB of decoded images" in out  # 32 × 32 × 3 bytes of a million
    assert not (tmp_path / "results").exists()
    # A run that has been is what the next prediction is judged by.
    assert main(line.split()) == 0
    capsys.readouterr()
    assert main(f"{line} --dry-run --gpus 2".split()) == 0
    out = capsys.readouterr().out
    assert re.search(r"error     2 past runs on this device took [\d.]+ × what was predicted", out)
    assert "cost" not in out


@pytest.mark.parametrize("given", ["--images 10", "--gpus 2", "--price 1"])
def test_a_prediction_needs_a_dry_run(photos: Path, given: str, capsys) -> None:
    assert main(f"run --data-dir {photos} {given}".split()) == 2
    assert f"{given.split()[0]} is for a prediction: give --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("--images 0", "--images: must be a whole number of at least 1, not '0'"),
        ("--gpus many", "--gpus: must be a whole number of at least 1, not 'many'"),
        ("--price nan", "--price: must be a number of at least 0, not 'nan'"),
        ("--price x", "--price: must be a number of at least 0, not 'x'"),
    ],
)
def test_what_is_no_number(given: str, why: str, capsys) -> None:
    assert main(f"run --dry-run {given}".split()) == 2
    assert why in capsys.readouterr().err
