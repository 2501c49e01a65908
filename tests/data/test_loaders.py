from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.cache import DecodedImages, open_images
from bench.data.dataset import Batch
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.loaders import (
    ImageDataset,
    Loader,
    Schedule,
    bounds,
    make_loader,
)
from bench.data.transforms import draw_epoch, eval_transform
from tests.data import reference

CPU = torch.device("cpu")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def index(photos: Path) -> ImageIndex:
    return load_index(find_data(photos, cwd=photos))


@pytest.fixture
def images(index: ImageIndex, tmp_path: Path) -> DecodedImages:
    return open_images(
        index, range(len(index)), image_size=32, cache=tmp_path, limit=1e9, workers=2
    )


@pytest.fixture
def dataset(index: ImageIndex, images: DecodedImages) -> ImageDataset:
    return ImageDataset(images, range(len(index)), index.labels, 3, HALF, HALF)


def loader(dataset: ImageDataset, **options) -> Loader:
    about = {"batch_size": 8, "seed": 0, "train": True, "num_workers": 0, "threads": 1}
    return make_loader(dataset, **{"device": CPU, **about, **options})


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


# --- what an epoch holds ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "batch", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (1, 4, [1]), (2, 1, [1, 1])],
)
def test_a_last_batch_of_one_joins_the_one_before(length, batch, sizes) -> None:
    schedule = Schedule(length=length, batch_size=batch, seed=0, train=True)
    items = schedule.items(1)
    if batch > 1:
        assert [len(item.indices) for item in items] == sizes
        assert len(schedule) == len(sizes)
    assert sorted(place for item in items for place in item.indices) == list(range(length))


def test_validation_keeps_order_and_size() -> None:
    schedule = Schedule(length=9, batch_size=4, seed=0, train=False)
    assert [item.indices.tolist() for item in schedule.items(1)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8],
    ]
    assert all(item.draws is None for item in schedule.items(1))
    assert len(schedule) == 3


def test_each_epoch_has_a_new_order_and_new_draws() -> None:
    schedule = Schedule(length=40, batch_size=8, seed=0, train=True)
    other = Schedule(length=40, batch_size=8, seed=1, train=True)

    def flat(items) -> list:
        return [np.concatenate([part[number] for part in items]).tolist() for number in (0, 1)]

    first = flat(schedule.items(1))
    assert first == flat(schedule.items(1))
    for items in (schedule.items(2), other.items(1)):
        assert first[0] != flat(items)[0]
        assert first[1] != flat(items)[1]


def test_what_is_drawn_for_an_image_hangs_on_seed_and_epoch_alone() -> None:
    expected = draw_epoch(20, 4, 2)
    for batch_size in (3, 20):
        items = Schedule(length=20, batch_size=batch_size, seed=4, train=True).items(2)
        for item in items:
            assert np.array_equal(item.draws, expected[item.indices])


@pytest.mark.parametrize("train", [True, False])
def test_processes_divide_each_batch_in_order(train: bool) -> None:
    whole = Schedule(length=21, batch_size=8, seed=4, train=train)
    parts = [
        Schedule(length=21, batch_size=8, seed=4, train=train, member=(number, 3)).items(2)
        for number in range(3)
    ]
    for item, *own in zip(whole.items(2), *parts, strict=True):
        assert np.array_equal(np.concatenate([part.indices for part in own]), item.indices)
        assert [part.whole for part in own] == [len(item.indices)] * 3
        if train:
            assert np.array_equal(np.concatenate([part.draws for part in own]), item.draws)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 16])
def test_rows_are_divided_as_torch_divides_them(count: int) -> None:
    for size in (1, 2, 3, 5):
        expected = torch.arange(count).tensor_split(size)
        for number, rows in enumerate(expected):
            assert list(range(*bounds(count, number, size))) == rows.tolist()


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_for_a_cpu_is_finished(dataset: ImageDataset) -> None:
    batches = list(loader(dataset, batch_size=39))
    (batch,) = batches
    assert isinstance(batch, Batch)
    images, labels, draws, whole = batch
    assert whole == 40
    assert images.shape == (40, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert draws is None


def test_training_images_are_augmented_with_the_epochs_draws(
    dataset: ImageDataset, images: DecodedImages
) -> None:
    (places, draws, *_), *_ = Schedule(length=40, batch_size=8, seed=0, train=True).items(1)
    batch = next(iter(loader(dataset)))
    for got, place, own in zip(batch.images, places, draws, strict=True):
        expected = reference.to_tensor(reference.augmented(images.read(place), own))
        apart = (got - eval_transform(HALF, HALF)(expected)).abs() / 2 * 255
        assert apart.mean() < 4  # noise at 32 pixels: the turned edge and 1/32 of a pixel count


def test_validation_images_are_normalised_only(dataset, images, index) -> None:
    batches = list(loader(dataset, train=False))
    got = torch.cat([batch.images for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    assert labels.tolist() == list(index.labels)
    for row in range(40):
        expected = eval_transform(HALF, HALF)(reference.to_tensor(images.read(row)))
        assert torch.equal(got[row], expected)


def test_a_label_belongs_to_its_image(index, images) -> None:
    """Also where some images were not decoded, and whatever their order."""
    last = len(index) - 1
    some = open_images(index, [2, 5, last], image_size=32, cache=None, limit=1e9, workers=1)
    positions = [last, 2]
    data = ImageDataset(some, positions, index.labels, 3, HALF, HALF)
    (batch,) = loader(data, train=False)
    assert data.labels == batch.labels.tolist() == [index.labels[p] for p in positions]
    assert data.num_classes == 3
    assert len(data) == 2
    for image, position in zip(batch.images, positions, strict=True):
        pixels = (image / 2 + 0.5) * 255
        expected = reference.to_tensor(images.read(position)).float()
        torch.testing.assert_close(pixels, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("options", [{"threads": 3}, {"num_workers": 1}, {"num_workers": 2}])
def test_batches_are_the_same_however_they_are_prepared(dataset, options) -> None:
    torch.manual_seed(1)
    alone = loader(dataset, batch_size=7)
    torch.manual_seed(2)
    helped = loader(dataset, batch_size=7, **options)
    other = loader(dataset, batch_size=7, seed=1)
    assert len(alone) == len(helped) == 6
    for _ in range(2):
        first = list(alone)
        assert same(first, list(helped))
        assert not same(first, list(other))
    for batch in helped:
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_is_an_epoch_and_can_be_chosen(dataset, workers: int) -> None:
    one, other = loader(dataset), loader(dataset, num_workers=workers)
    first, second = list(one), list(one)
    assert not same(first, second)
    other.set_epoch(2)
    assert same(list(other), second)
    other.set_epoch(1)
    assert same(list(other), first)
    assert same(list(other), second)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generators_are_left_alone(dataset, workers: int) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    list(loader(dataset, num_workers=workers))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_a_batch_for_a_gpu_keeps_pixels_and_draws(dataset, images) -> None:
    """As a worker process reads it; page-locked memory needs a GPU."""
    (places, draws, *_), *_ = Schedule(length=40, batch_size=8, seed=0, train=True).items(1)
    batch = dataset.batch(places, draws, on_gpu=True)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (8, 32, 32, 3)
    assert np.array_equal(batch.draws.numpy(), draws)
    for got, place in zip(batch.images.numpy(), places, strict=True):
        assert np.array_equal(got, images.read(place))
    assert dataset.batch(places, None, on_gpu=True).draws is None


@pytest.mark.parametrize(("workers", "train"), [(0, True), (0, False), (1, True)])
def test_a_loader_for_a_gpu_asks_for_page_locked_memory(
    dataset, monkeypatch, workers: int, train: bool
) -> None:
    asked: list[bool] = []
    inner = torch.empty

    def empty(*args, pin_memory: bool = False, **options) -> torch.Tensor:
        asked.append(pin_memory)
        return inner(*args, **options)

    cuda = torch.device("cuda")
    if workers:
        got = loader(dataset, device=cuda, num_workers=1)
        assert got._processes.pin_memory
        return
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    batch = next(iter(loader(dataset, device=cuda, train=train)))
    assert asked == [True]
    assert batch.images.dtype == torch.uint8
    assert (batch.draws is not None) == train


def test_a_dataset_is_handed_to_a_process_without_its_pixels(dataset) -> None:
    data = pickle.dumps(dataset)
    assert len(data) < 20_000
    places = np.arange(4)
    assert torch.equal(pickle.loads(data).batch(places).images, dataset.batch(places).images)


def test_a_failure_in_a_thread_is_not_passed_over(dataset, monkeypatch) -> None:
    monkeypatch.setattr(DecodedImages, "read", lambda self, row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(loader(dataset, threads=2))
