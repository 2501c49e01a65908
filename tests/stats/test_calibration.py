"""Calibration errors that can be computed by hand, and a test that keeps its level."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bench.stats.calibration import DRAWS, calibration
from bench.stats.classes import macro_f1, of_classes


def test_the_error_is_the_mean_distance_over_the_bins() -> None:
    # Two bins: 4 images at 0.9 of which 2 are right, 1 image at 0.5 that is right.
    found = calibration([0.9, 0.9, 0.9, 0.9, 0.5], [True, True, False, False, True])
    assert found.ece == pytest.approx((4 * 0.4 + 1 * 0.5) / 5)
    assert [(one.images, one.correct) for one in found.bins] == [(1, 1), (4, 2)]
    assert [one.confidence for one in found.bins] == pytest.approx([0.5, 0.9])
    assert (found.images, found.accuracy) == (5, 0.6)
    assert found.confidence == pytest.approx(0.82)


def test_edges_belong_to_the_bin_below() -> None:
    found = calibration([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0], [True] * 4)
    assert [one.images for one in found.bins] == [2, 1, 1]


def test_a_model_that_is_sure_and_right_has_no_error() -> None:
    found = calibration([1.0] * 20, [True] * 20)
    assert (found.ece, found.by_chance, found.p_value) == (0.0, 0.0, 1.0)


def test_a_model_that_is_sure_and_wrong_is_found_out() -> None:
    found = calibration([0.99] * 30, [True] * 15 + [False] * 15)
    assert found.p_value == pytest.approx(1 / (1 + DRAWS))
    assert found.ece > found.by_chance_high > found.by_chance


def test_chance_alone_makes_few_images_look_miscalibrated() -> None:
    """With one image at 0.5 the error is 0.5, and could be nothing else."""
    found = calibration([0.5], [True])
    assert (found.ece, found.by_chance, found.p_value) == (0.5, 0.5, 1.0)


@pytest.mark.parametrize(("confidence", "high"), [(0.93, 0.93), (0.97, 0.03)])
def test_the_bound_of_chance_is_that_of_95_percent(confidence: float, high: float) -> None:
    """One image is missed by a calibrated model in 7 % and in 3 % of all draws."""
    found = calibration([confidence], [True], draws=20_000)
    assert found.by_chance_high == pytest.approx(high)
    assert found.by_chance == pytest.approx(2 * confidence * (1 - confidence), rel=0.1)


def test_the_test_keeps_its_level_and_finds_what_is_there() -> None:
    rng = np.random.default_rng(1)
    false_alarms = found = 0
    for number in range(200):
        shares = rng.uniform(0.3, 1.0, 100)
        drawn = rng.random(100)
        false_alarms += calibration(shares, drawn < shares, seed=number).p_value < 0.05
        found += calibration(shares, drawn < shares - 0.2, seed=number).p_value < 0.05
    # 5 % of 200 is 10; 20 is beyond the 99.8 % quantile.
    assert false_alarms <= 20
    assert found > 150


def test_the_same_numbers_each_time_and_quickly() -> None:
    rng = np.random.default_rng(0)
    shares, hits = rng.uniform(0, 1, 20_000), rng.random(20_000) < 0.5
    begin = time.process_time()
    one = calibration(shares, hits)
    assert time.process_time() - begin < 10
    assert one == calibration(shares, hits)


def test_no_image() -> None:
    with pytest.raises(ValueError, match="no image"):
        calibration([], [])


def test_precision_and_recall_of_each_class() -> None:
    found = of_classes([0, 0, 0, 1], [0, 0, 1, 2], ["a", "b", "c", "d"])
    assert [one["class"] for one in found] == ["a", "b", "c"]
    assert [one["precision"] for one in found] == [1.0, 0.0, 0.0]
    assert [one["recall"] for one in found] == [pytest.approx(2 / 3), 0.0, None]
    assert [one["f1"] for one in found] == [pytest.approx(0.8), 0.0, 0.0]
    assert [one["images"] for one in found] == [3, 1, 0]
    assert [one["predicted"] for one in found] == [2, 1, 1]
    assert of_classes([0, 1], [0, 0], ["a", "b"])[1]["precision"] is None


def test_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 5, 300).tolist(), rng.integers(0, 5, 300).tolist()
    found = [one["f1"] for one in of_classes(labels, guesses, list("abcde"))]
    assert found == pytest.approx(f1_score(labels, guesses, average=None).tolist())
    for classes in (2, 3, 7, 40):
        labels, guesses = rng.integers(0, classes, (2, 60)).tolist()
        expected = f1_score(labels, guesses, average="macro", zero_division=0)
        assert macro_f1(labels, guesses) == expected


def test_macro_f1_by_hand() -> None:
    # class 0: P 2/3, R 2/3, F1 2/3; class 1: P 1/2, R 1/2, F1 1/2; class 2 never predicted: 0
    labels = [0, 0, 0, 1, 1, 2]
    predictions = [0, 0, 1, 1, 0, 0]
    f0 = 2 * 2 / (4 + 3)
    f1 = 2 * 1 / (2 + 2)
    assert macro_f1(labels, predictions) == pytest.approx((f0 + f1 + 0) / 3)
