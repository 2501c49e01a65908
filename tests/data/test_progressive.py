"""Stages of progressive learning: sizes, strengths, and that the last one is the recipe itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config.options import RunConfig
from bench.data.cache import open_images
from bench.data.index import find_data, load_index
from bench.data.loaders import ImageDataset, Schedule, make_loader
from bench.data.progressive import ProgressiveSchedule, shrink, weaken
from bench.data.transforms import draw_epoch

HALF = (0.5, 0.5, 0.5)


def growth(epochs: int, image_size: int = 224) -> ProgressiveSchedule:
    found = ProgressiveSchedule.of(
        RunConfig(epochs=epochs, image_size=image_size, progressive=True)
    )
    assert found is not None
    return found


def test_without_the_option_there_are_no_stages() -> None:
    assert ProgressiveSchedule.of(RunConfig()) is None


def test_the_stages_are_those_of_the_paper() -> None:
    """EfficientNetV2-S, table 6: images from 128 to 300, regularisation from a third on."""
    found = growth(epochs=12, image_size=300)
    assert [stage.first for stage in found.stages] == [1, 4, 7, 10]
    assert [stage.image_size for stage in found.stages] == [128, 192, 256, 300]
    assert [stage.strength for stage in found.stages] == pytest.approx([1 / 3, 5 / 9, 7 / 9, 1])
    assert [found.stage(epoch).first for epoch in (1, 3, 4, 9, 10, 12)] == [1, 1, 4, 7, 10, 10]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 15, 30])
@pytest.mark.parametrize("size", [32, 33, 64, 100, 224, 256])
def test_every_training_ends_with_the_recipe(epochs: int, size: int) -> None:
    found = growth(epochs, size)
    last = found.stage(epochs)
    assert (last.image_size, last.strength) == (size, 1)
    firsts = [stage.first for stage in found.stages]
    assert firsts == sorted(set(firsts))
    assert firsts[0] == 1
    assert firsts[-1] <= epochs
    sizes = [stage.image_size for stage in found.stages]
    assert sizes == sorted(sizes)
    assert all(32 <= one <= size for one in sizes)
    assert 0 < found.area <= 1


def test_the_area_is_the_mean_over_the_epochs() -> None:
    found = growth(epochs=5, image_size=64)
    sizes = [found.stage(epoch).image_size for epoch in range(1, 6)]
    assert found.area == pytest.approx(sum((size / 64) ** 2 for size in sizes) / 5)
    assert found.area < 1


def test_it_stops_early_in_the_last_stage_only() -> None:
    found = growth(epochs=12)
    assert [epoch for epoch in range(1, 14) if found.may_stop(epoch, 2)] == [12, 13]
    assert not any(found.may_stop(epoch, 7) for epoch in range(1, 13))


def test_weaker_draws_turn_and_change_colours_less() -> None:
    draws = draw_epoch(100, 0, 1)
    half = weaken(draws, 0.5)
    assert np.array_equal(half[:, 0], draws[:, 0])
    assert np.allclose(half[:, 1], draws[:, 1] / 2)
    assert np.allclose(half[:, 2:5] - 1, (draws[:, 2:5] - 1) / 2, atol=1e-6)
    assert np.array_equal(half[:, 5:], draws[:, 5:])
    assert np.array_equal(weaken(draws, 1.0), draws)


def test_a_shrunk_pixel_is_the_mean_of_those_it_covers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = pixels.reshape(4, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(shrink(pixels, 4).astype(float) - expected).max() <= 0.5


@pytest.fixture
def dataset(photos: Path, tmp_path: Path) -> ImageDataset:
    index = load_index(find_data(photos, cwd=photos))
    images = open_images(
        index, range(len(index)), image_size=64, cache=tmp_path, limit=1e9, workers=2
    )
    return ImageDataset(images, range(len(index)), index.labels, 3, HALF, HALF)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_have_the_size_of_their_epoch(dataset: ImageDataset, workers: int) -> None:
    loader = make_loader(
        dataset, batch_size=8, seed=0, train=True, num_workers=workers,
        device=torch.device("cpu"), threads=1, growth=growth(4, 64),
    )  # fmt: skip
    sizes = [{batch.images.shape[2:] for batch in loader} for _ in range(4)]
    assert sizes == [{(32, 32)}, {(32, 32)}, {(64, 64)}, {(64, 64)}]


def test_the_last_stage_is_the_plain_epoch(dataset: ImageDataset) -> None:
    about = {"length": 40, "batch_size": 8, "seed": 0, "train": True}
    plain = Schedule(**about).items(4)
    grown = Schedule(**about, growth=growth(4, 64)).items(4)
    for (places, draws, size, _), (same, drawn, whole, _) in zip(grown, plain, strict=True):
        assert np.array_equal(places, same)
        assert np.array_equal(draws, drawn)
        one, other = dataset.batch(places, draws, size), dataset.batch(same, drawn, whole)
        assert torch.equal(one.images, other.images)


def test_a_gpu_gets_small_images_too(dataset: ImageDataset) -> None:
    batch = dataset.batch(np.arange(3), None, 32, on_gpu=True)
    assert batch.images.shape == (3, 32, 32, 3)
    assert torch.equal(batch.images[0], torch.from_numpy(shrink(dataset.images.read(0), 32)))


def test_validation_does_not_grow() -> None:
    schedule = Schedule(length=9, batch_size=4, seed=0, train=False, growth=growth(4))
    assert all(size is None for _, _, size, _ in schedule.items(1))


def test_an_epoch_of_a_new_stage_takes_longer_than_the_one_before() -> None:
    found = growth(epochs=4, image_size=64)
    assert [found.ratio(epoch) for epoch in (1, 2, 3, 4)] == [1, 1, 4, 1]
