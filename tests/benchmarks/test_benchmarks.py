"""Times of what users wait for; run by ``make benchmark``, left out of the tests.

Every run is kept under ``.benchmarks/``; ``pytest-benchmark compare`` there shows them together.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import variants
from bench.config.options import RunConfig
from bench.data.augment import finish_image
from bench.data.images import load_square
from bench.data.transforms import draw_epoch, level_table
from bench.models.complexity import count_macs
from bench.records import load_records, write_record
from bench.report.render.document import render
from bench.train.loop import train_step
from bench.train.optim import Optimization
from tests.report.conftest import VARIANTS, build_record, with_rounds, with_test
from variants.model import build_model

HALF = (0.5, 0.5, 0.5)
SIZE = 224


@pytest.mark.parametrize(
    "spec",
    [
        variants.CoordinateAttention(),
        variants.EfficientChannelAttention(),
        variants.BoTLinear(),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_attention_block(benchmark, spec) -> None:
    block = spec.build(1280).eval()
    features = torch.randn(16, 1280, 7, 7)
    with torch.inference_mode():
        assert benchmark(block, features).shape == features.shape


def test_training_step(benchmark) -> None:
    model = build_model(variants.get("MobileNetV3_Small"), num_classes=10).train()
    optim = Optimization.build(model, RunConfig(), torch.device("cpu"))
    images, labels = torch.randn(16, 3, 64, 64), torch.zeros(16, dtype=torch.int64)
    loss, logits = benchmark(train_step, optim, images, labels)
    assert loss.isfinite()
    assert logits.shape == (16, 10)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG of 480×640, the size of the Paddy Doctor photographs, with detail as in a leaf."""
    rows, columns = np.mgrid[0:640, 0:480]
    waves = np.sin(rows / 7) + np.sin(columns / 5) + np.sin((rows + columns) / 60)
    noise = np.random.default_rng(0).normal(0, 12, (640, 480, 3))
    pixels = np.clip(120 + 30 * waves[..., None] + noise, 0, 255).astype(np.uint8)
    path = tmp_path / "leaf.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    return path


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("cached", [True, False], ids=["cache", "jpeg"])
def test_preparing_an_image(benchmark, photo, cached: bool, train: bool) -> None:
    """One core, from the pixels that the cache keeps or from the file."""
    pixels, table = load_square(photo, SIZE), level_table(HALF, HALF)
    draws = itertools.cycle(draw_epoch(64, 0, 1))
    out = np.empty((SIZE, SIZE, 3), np.float32)

    def prepare() -> None:
        source = pixels if cached else load_square(photo, SIZE)
        finish_image(source, table, out, next(draws) if train else None)

    benchmark(prepare)
    assert out.std() > 0.1


def test_counting(benchmark) -> None:
    model = build_model(variants.get("ResNet18"), num_classes=10)
    assert benchmark(count_macs, model, SIZE)["gmacs"] > 1


def test_loading_a_thousand_records(benchmark, tmp_path: Path) -> None:
    record = with_test(build_record(per_class=100), 900, 1000)
    for number in range(1000):
        folder = tmp_path / f"EfficientNetV2_S_CA_24_11_2026_{number:04}"
        folder.mkdir()
        write_record(folder, record)
    found = benchmark.pedantic(load_records, (tmp_path,), rounds=3, warmup_rounds=0)
    assert len(found[0]) == 1000
    assert found[1] == []


def test_rendering_a_report_of_ten_runs(benchmark, tmp_path: Path) -> None:
    records = [
        with_rounds(with_test(build_record(name, minute=minute), 90, 100), 10)
        for minute, name in enumerate(VARIANTS)
    ]

    def draw() -> Path:
        return render(records, tmp_path / "report", title="Ten runs")

    path = benchmark.pedantic(draw, rounds=3, warmup_rounds=1)
    assert path.stat().st_size > 10_000
