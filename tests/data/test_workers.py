from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.cache import DecodedImages, open_images
from bench.data.dataset import ImageDataset
from bench.data.index import find_data, load_index
from bench.data.workers import choose_workers, measure_pipeline

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("pipeline", "step", "device", "cores", "workers", "why"),
    [
        (1500, 114, CPU, 2, 0, "threads of the training process add 4% to a step"),
        (350, 114, CPU, 2, 1, "preparing is 16% of a step"),
        (100, 1000, CPU, 6, 4, "preparing is 167% of a step"),
        (100, 1000, CPU, 8, 4, "5 processes would keep up, at most 4 are started (give --num-"),
        (10, 10_000, CPU, 4, 3, "4 processes would keep up, at most 3 are started (4 cores)"),
        (350, 2500, CUDA, 16, 4, "9 processes would keep up, at most 4 are started (give --num-"),
        (100, 1000, CPU, 1, 0, "there is one core"),
        (20_000, 2500, CUDA, 2, 0, "threads of the training process add 6% to a step"),
        (1000, 2500, CUDA, 8, 3, "as many as feed the GPU with 20% to spare"),
        (350, 2500, CUDA, 2, 2, "9 processes would keep up, at most 2 are started (2 cores)"),
        (350, 2500, CUDA, 1, 0, "there is one core"),
    ],
)
def test_what_a_measurement_says(pipeline, step, device, cores, workers, why) -> None:
    found, reason = choose_workers(pipeline, step, device, cores)
    assert found == workers
    assert reason.startswith(f"a core prepares {pipeline} images/s, training takes {step}: ")
    assert why in reason
    assert "\n" not in reason


@pytest.fixture
def dataset(photos: Path) -> ImageDataset:
    index = load_index(find_data(photos, cwd=photos))
    images = open_images(index, range(40), image_size=32, cache=None, limit=1e9, workers=2)
    return ImageDataset(images, range(40), index.labels, 3, HALF, HALF)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_the_pipeline_is_timed_image_by_image(dataset, monkeypatch, device) -> None:
    read: list[int] = []

    def slow(self, row: int) -> np.ndarray:
        read.append(row)
        time.sleep(0.004)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(DecodedImages, "read", slow)
    rate = measure_pipeline(dataset, 20, device=device)
    assert 100 < rate < 250
    assert len(read) == 28
    assert len(set(read)) == 20
    assert max(read) == 39


def test_a_small_part_is_timed_as_far_as_it_goes(dataset) -> None:
    assert measure_pipeline(dataset, device=CPU) > 100
