"""Both backends give torchvision's pictures: OpenCV for the CPU, torch for a GPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from bench.data import augment, device
from bench.data.transforms import (
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    draw_epoch,
    eval_transform,
    level_table,
)
from tests.data import reference
from tests.data.pictures import leaf

SIZE = 96
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Square, with the black bars of a padded photograph."""
    pixels = leaf(SIZE, SIZE)
    pixels[:, :12] = pixels[:, -12:] = 0
    return pixels


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    return reference.to_tensor(pixels)[None].float()


def to_pixels(batch: torch.Tensor) -> np.ndarray:
    return batch[0].permute(1, 2, 0).numpy()


def turn_by_torch(pixels: np.ndarray, flip: bool, angle: float) -> np.ndarray:
    return to_pixels(
        device.turn(as_batch(pixels), torch.tensor([float(flip)]), torch.tensor([angle]))
    )


def jitter_by_opencv(pixels: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    done, levels = augment.jitter(pixels, factors, order)
    return done if levels is None else levels[done]


def jitter_by_torch(pixels: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    draws = torch.tensor([[0.0, 0.0, *factors.tolist(), *order.tolist()]])
    return to_pixels(device.jitter(as_batch(pixels), draws))


TURNS: dict[str, Callable] = {"opencv": augment.turn, "torch": turn_by_torch}
JITTERS: dict[str, Callable] = {"opencv": jitter_by_opencv, "torch": jitter_by_torch}


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(float) - other.astype(float))


# --- step by step ----------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [-12.0, -3.3, 0.0, 0.7, 12.0])
@pytest.mark.parametrize("backend", TURNS)
def test_turning(picture: np.ndarray, backend: str, angle: float, flip: bool) -> None:
    """To the level, but for a few that lie between two."""
    expected = reference.turned(picture, flip, angle)
    got = TURNS[backend](picture, flip, angle)
    # At the edge torchvision darkens the fraction of black twice: a line of pixels differs.
    inside = reference.turned(np.full_like(picture, 255), flip, angle) == 255
    apart = difference(got, expected)
    assert inside.mean() > 0.7
    assert apart[inside].max() <= 1
    assert apart[inside].mean() < 0.001
    assert apart.mean() < 0.3


@pytest.mark.parametrize("backend", TURNS)
def test_without_an_angle_it_is_the_picture_or_its_mirror(picture, backend: str) -> None:
    turn = TURNS[backend]
    assert np.array_equal(turn(picture, False, 0.0), picture)
    assert np.array_equal(turn(picture, True, 0.0), picture[:, ::-1])


@pytest.mark.parametrize("backend", TURNS)
def test_counter_clockwise(backend: str) -> None:
    """What lies right of the top comes to the top."""
    spot = np.zeros((101, 101, 3), np.uint8)
    spot[9:13, 55:59] = 255  # 40 above the centre, 7 to the right: 10 degrees
    got = TURNS[backend](spot, False, 10.0)[..., 0].astype(float)
    assert (got.sum(0) @ np.arange(101)) / got.sum() == pytest.approx(50, abs=0.5)


@pytest.mark.parametrize("factor", [0.85, 0.93, 1.0, 1.07, 1.15])
@pytest.mark.parametrize("step", [BRIGHTNESS, CONTRAST, SATURATION])
@pytest.mark.parametrize("backend", JITTERS)
def test_each_step_of_the_jitter(picture, backend: str, step: int, factor: float) -> None:
    """Brightness to the level; the others within one of 255, nearly all the same."""
    factors = np.ones(3, np.float32)
    factors[step] = factor
    order = np.array([step, (step + 1) % 3, (step + 2) % 3], np.float32)
    expected = reference.jittered(picture, factors, order)
    apart = difference(JITTERS[backend](picture, factors, order), expected)
    assert apart.max() <= (0 if step == BRIGHTNESS else 1)
    assert apart.mean() < 0.1


@pytest.mark.parametrize("backend", JITTERS)
def test_levels_are_clipped_at_both_ends(backend: str) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4] = 255
    factors = np.array([1.15, 1.15, 1.15], np.float32)
    for order in np.array([[0.0, 1, 2], [2, 1, 0], [1, 0, 2]]):
        expected = reference.jittered(picture, factors, order)
        assert difference(JITTERS[backend](picture, factors, order), expected).max() <= 1


# --- all of it -------------------------------------------------------------------------------


def finished(pixels: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
    out = np.full(pixels.shape, np.nan, np.float32)
    augment.finish_image(pixels, level_table(MEAN, STD), out, draws)
    return out


def finished_by_torch(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    some = torch.from_numpy(draws)[None]
    images = device.jitter(device.turn(as_batch(pixels), some[:, 0], some[:, 1]), some)
    return to_pixels(device.normalise(images, MEAN, STD))


def test_evaluation_is_torchvisions_bit_for_bit(picture: np.ndarray) -> None:
    expected = eval_transform(MEAN, STD)(reference.to_tensor(picture)).permute(1, 2, 0).numpy()
    assert np.array_equal(finished(picture, None), expected)
    by_torch = to_pixels(device.normalise(as_batch(picture), MEAN, STD))
    assert np.array_equal(by_torch, expected)


def test_the_input_is_left_alone(picture: np.ndarray) -> None:
    before = picture.copy()
    picture.flags.writeable = False
    finished(picture, draw_epoch(1, 0, 1)[0])
    picture.flags.writeable = True
    assert np.array_equal(picture, before)


def test_the_backends_and_torchvision_agree(picture: np.ndarray) -> None:
    """In every order, within three levels of 255 in the mean; most of it at the turned edge."""
    levels = 255 * np.array(STD)
    for draws in draw_epoch(60, 5, 1):
        expected = reference.augmented(picture, draws)
        expected = eval_transform(MEAN, STD)(reference.to_tensor(expected)).permute(1, 2, 0)
        one, other = finished(picture, draws), finished_by_torch(picture, draws)
        assert (difference(one, expected.numpy()) * levels).mean() < 1.5
        assert (difference(other, expected.numpy()) * levels).mean() < 1.0
        assert (difference(one, other) * levels).mean() < 1.0


@pytest.mark.slow
def test_the_pictures_are_distributed_as_torchvisions() -> None:
    """Mean and spread over 2,000 draws, of the whole picture and of its pixels.

    Its frame is black: what torchvision does at a turned edge is tested above.
    """
    torch.manual_seed(1)
    picture = np.pad(leaf(40, 40), ((4, 4), (4, 4), (0, 0)))
    theirs = reference.train_transform(MEAN, STD)
    image = reference.to_tensor(picture)
    expected = np.stack([theirs(image).permute(1, 2, 0).numpy() for _ in range(2000)])
    own = np.stack([finished(picture, draws) for draws in draw_epoch(2000, 1, 1)])
    for channel in range(3):
        one, other = own[..., channel].mean((1, 2)), expected[..., channel].mean((1, 2))
        assert stats.ks_2samp(one, other).pvalue > 0.001
        # Half a level of 255.
        assert one.mean() == pytest.approx(other.mean(), abs=0.5 / 255 / STD[channel])
    apart = own.mean(0) - expected.mean(0)
    noise = np.sqrt((own.var(0) + expected.var(0)) / 2000) + 1e-6
    # 6,912 values, of which a few are 4 standard errors apart by chance.
    assert (np.abs(apart) / noise > 4).mean() < 0.005
