from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.cache import decode
from bench.data.index import find_data, load_index
from bench.data.loaders import ImageDataset, SeededBatches, make_loader
from bench.data.transforms import eval_transform, train_transform
from bench.errors import BenchError

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def index(photos: Path):
    return load_index(find_data(photos, cwd=photos))


def decoded(index, tmp_path: Path, size: int = 32):
    return decode(index, range(len(index)), image_size=size, folder=tmp_path, workers=2)


def test_decode_pads_to_a_square_and_resizes(index, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    images = decode(
        index,
        [3, 5],
        image_size=48,
        folder=tmp_path,
        workers=2,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert images.pixels.shape == (2, 48, 48, 3)
    assert images.rows == {3: 0, 5: 1}
    assert seen == [(1, 2), (2, 2)]
    original = np.asarray(Image.open(index.path(3)))
    row = images.pixels[images.rows[3]]
    assert (row[:, :4] == 0).all()
    assert (row[:, 44:] == 0).all()
    assert np.array_equal(row[:, 4:44], original)


def test_an_unreadable_image_is_named_and_the_rest_decoded(photos: Path, tmp_path: Path) -> None:
    (photos / "blast" / "zz.jpg").write_bytes(b"no picture")
    index = load_index(find_data(photos, cwd=photos))
    images = decoded(index, tmp_path)
    ((path, reason),) = images.unreadable
    assert path == "blast/zz.jpg"
    assert reason
    assert len(images.rows) == len(index) - 1


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.jpg").write_bytes(b"no picture")
    index = load_index(find_data(tmp_path / "set", cwd=tmp_path))
    with pytest.raises(BenchError, match="none of the 2 images"):
        decoded(index, tmp_path)


def test_a_full_disk_is_said_before_decoding(index, tmp_path: Path, monkeypatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("bench.data.cache.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(BenchError, match="TMPDIR"):
        decoded(index, tmp_path)
    assert not list(tmp_path.glob("*.npy"))


# --- transforms ------------------------------------------------------------------------------


def test_eval_only_normalises_with_the_given_mean_and_std() -> None:
    image = torch.arange(3 * 4 * 4, dtype=torch.uint8).reshape(3, 4, 4)
    out = eval_transform((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))(image)
    mean = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    std = torch.tensor([0.5, 0.25, 2.0]).view(3, 1, 1)
    torch.testing.assert_close(out, (image.float() / 255 - mean) / std)


def draws(image: torch.Tensor, times: int = 300) -> torch.Tensor:
    torch.manual_seed(0)
    transform = train_transform(HALF, HALF)
    return torch.stack([transform(image) for _ in range(times)]) / 2 + 0.5


def test_flip_happens_half_the_time() -> None:
    image = torch.zeros(3, 33, 33, dtype=torch.uint8)
    image[:, :, 22:] = 200
    right = (draws(image)[:, :, 16, 28].mean(1) > 0.3).float().mean().item()
    assert 0.4 < right < 0.6


def test_rotation_stays_within_twelve_degrees_on_black() -> None:
    """A spot on the vertical axis moves sideways by r·sin(angle)."""
    image = torch.zeros(3, 101, 101, dtype=torch.uint8)
    image[:, 9:12, 49:52] = 255
    out = draws(image).mean(1)
    weights = out.sum(1)
    columns = (weights * torch.arange(101)).sum(1) / weights.sum(1)
    angles = torch.rad2deg(torch.asin((columns - 50).clamp(-40, 40) / 40))
    assert 11 < angles.abs().max() < 12.6
    assert angles.abs().mean() == pytest.approx(6, abs=0.8)
    corner = draws(torch.full((3, 101, 101), 255, dtype=torch.uint8))[:, :, 0, 0]
    assert (corner.amax(1) < 0.05).float().mean() > 0.5


def test_jitter_is_fifteen_percent() -> None:
    grey = torch.full((3, 21, 21), 100, dtype=torch.uint8)
    centre = draws(grey)[:, 0, 10, 10] * 255 / 100
    assert 0.81 < centre.min() < 0.88
    assert 1.12 < centre.max() < 1.19
    red = torch.zeros(3, 21, 21, dtype=torch.uint8)
    red[0] = 200
    pixel = draws(red)[:, :, 10, 10]
    assert pixel[:, 1].max() > 0.01  # less saturation lifts the other channels


def test_saturation_is_jittered_beside_contrast() -> None:
    """Red beside a grey of its luminance: both scale red minus green, brightness scales grey."""
    image = torch.full((3, 41, 41), 60, dtype=torch.uint8)
    image[0, :20], image[1:, :20] = 200, 0
    out = draws(image) * 255
    red, grey = out[:, :, 14, 20], out[:, :, 26, 20]
    chroma = (red[:, 0] - red[:, 1]) / 200 / (grey.mean(1) / 60)
    assert chroma.min() < 0.81
    assert chroma.max() > 1.19


# --- batches ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "batch", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (1, 4, [1])],
)
def test_a_last_batch_of_one_joins_the_one_before(length, batch, sizes) -> None:
    batches = SeededBatches(length, batch, seed=0, shuffle=True)
    drawn = list(batches)
    assert [len(items) for items in drawn] == sizes
    assert len(batches) == len(sizes)
    assert sorted(place for items in drawn for place, _ in items) == list(range(length))


def test_validation_keeps_order_and_size() -> None:
    batches = SeededBatches(9, 4, seed=0, shuffle=False)
    assert [[place for place, _ in items] for items in batches] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8],
    ]
    assert len(batches) == 3


def test_each_epoch_has_a_new_order_and_new_seeds() -> None:
    batches = SeededBatches(40, 8, seed=0, shuffle=True)
    first, second = list(batches), list(batches)
    again = list(SeededBatches(40, 8, seed=0, shuffle=True))
    other = list(SeededBatches(40, 8, seed=1, shuffle=True))
    assert first == again
    assert first != second
    assert first != other
    seeds = [seed for items in first for _, seed in items]
    assert len(set(seeds)) == 40


def loader(index, images, *, seed: int = 0, workers: int = 0):
    dataset = ImageDataset(
        images, range(len(index)), index.labels, len(index.classes), train_transform(HALF, HALF)
    )
    return make_loader(dataset, batch_size=8, seed=seed, train=True, num_workers=workers)


def test_batches_are_the_same_with_and_without_workers(index, tmp_path: Path) -> None:
    images = decoded(index, tmp_path)
    torch.manual_seed(1)
    alone = list(loader(index, images))
    torch.manual_seed(2)
    helped = list(loader(index, images, workers=1))
    other = list(loader(index, images, seed=1))
    for (one, labels), (two, again) in zip(alone, helped, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(labels, again)
    assert not torch.equal(alone[0][0], other[0][0])
    assert alone[0][0].dtype == torch.float32
    assert alone[0][0].shape == (8, 3, 32, 32)
    assert alone[0][1].dtype == torch.int64


def test_drawing_leaves_the_global_generator_alone(index, tmp_path: Path) -> None:
    images = decoded(index, tmp_path)
    data = loader(index, images).dataset
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    data[(0, 1234)]
    assert torch.equal(torch.rand(3), expected)


def test_a_label_belongs_to_its_image(index, tmp_path: Path) -> None:
    images = decoded(index, tmp_path)
    positions = [2, len(index) - 1]
    data = ImageDataset(images, positions, index.labels, 3, eval_transform(HALF, HALF))
    for place, position in enumerate(positions):
        image, label = data[(place, 0)]
        assert label == index.labels[position]
        pixels = (image / 2 + 0.5) * 255
        expected = torch.from_numpy(np.array(images.pixels[images.rows[position]]))
        torch.testing.assert_close(pixels.permute(1, 2, 0), expected.float(), atol=0.01, rtol=0)
