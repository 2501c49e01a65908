"""Tests of several runs of a variant: which belong together, and what they say."""

from __future__ import annotations

import pytest

from bench.report.analysis.seeds import accuracy_of, runs_of
from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import wilson

NAME = "EfficientNetV2_S_CA"


def seeds(make_record, make_tested, hits, images=100, **more):
    return [make_tested(make_record(seed=s, **more), hit, images) for s, hit in enumerate(hits)]


def folded(records):
    for number, record in enumerate(records, start=1):
        record["config"]["seed"] = 0
        record["data"]["fold"] = {"number": number, "of": len(records)}
        record["test"]["ids"] = [f"{number}-{name}" for name in record["test"]["ids"]]
    return records


def test_runs_of_one_sweep_with_equal_settings_belong_together(make_record, make_failed):
    kept = [make_record(seed=2), make_record(seed=0), make_record(seed=1)]
    sweep = make_record(seed=3, minute=1)
    sweep["sweep"] = {"id": "earlier"}
    settings = make_record(seed=4, minute=1)
    settings["config"]["epochs"] = 99
    data = make_record(seed=5, minute=1)
    data["data"]["fingerprint"] = "beef"
    failed = make_failed(NAME, "E", "x", seed=6)
    timed = make_record(seed=7, training=None, validation=None, metrics=None)
    others = [sweep, settings, data, failed, timed, make_record("ResNet18", seed=8)]
    found = runs_of(Selection([*others, *kept]), NAME)
    assert [run["config"]["seed"] for run in found] == [0, 1, 2]
    assert runs_of(Selection([failed]), NAME) == []
    assert runs_of(Selection([timed]), NAME) == [timed]
    assert runs_of(Selection([]), NAME) == []


def test_of_two_runs_with_one_seed_the_later_counts(make_record):
    old, new = make_record(minute=10), make_record(minute=40, accuracy=0.5)
    assert runs_of(Selection([new, old]), NAME) == [new]
    assert runs_of(Selection([old, new]), NAME) == [new]


def test_one_seed_keeps_wilsons_interval(make_record, make_tested):
    found = accuracy_of(Selection(seeds(make_record, make_tested, [90])), NAME)
    assert (found.low, found.high) == pytest.approx(wilson(90, 100))
    assert (found.images, found.part, found.folds, found.invalid) == (100, "test", "", 0)


def test_the_interval_of_three_seeds_adds_the_images_variance(make_record, make_tested):
    found = accuracy_of(Selection(seeds(make_record, make_tested, [68, 70, 72])), NAME)
    assert found.shares.mean == pytest.approx(0.7)
    assert (found.shares.least, found.shares.most) == (0.68, 0.72)
    # The same 68 images are right in all, two more in the second, four in the third: the
    # covariances of two seeds are (share of both right − product of shares) ÷ 99.
    covariances = [(0.68 - 0.68 * 0.7) / 99, (0.68 - 0.68 * 0.72) / 99, (0.7 - 0.7 * 0.72) / 99]
    square = 0.02**2
    error = square + 3 * sum(covariances) / 3
    freedom = error**2 / (square**2 / 2)
    low, high = wilson(0.7 * 0.21 / (error / 3), 0.21 / (error / 3), freedom=freedom)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_seeds_that_agree_leave_an_interval_of_some_width(make_record, make_tested):
    found = accuracy_of(Selection(seeds(make_record, make_tested, [23, 23, 23], 23)), NAME)
    assert found.shares.mean == 1
    assert found.low < 0.9
    assert found.high == 1
    two = accuracy_of(Selection(seeds(make_record, make_tested, [90, 92])), NAME)
    assert two.low < 0.85
    assert two.high > 0.95


def test_folds_of_a_seed_are_one_accuracy(make_record, make_tested):
    records = folded(seeds(make_record, make_tested, [18, 20, 19], 20))
    found = accuracy_of(Selection(records), NAME)
    assert found.shares.values == pytest.approx([57 / 60])
    assert (found.low, found.high) == pytest.approx(wilson(57, 60))
    assert (found.images, found.folds) == (60, "3 folds pooled")
    found = accuracy_of(Selection(records[:2]), NAME)
    assert found.folds == "2 of 3 folds pooled"


def test_a_collapsed_fold_marks_them_all(make_record, make_tested):
    records = folded(seeds(make_record, make_tested, [20, 20, 20], 20))
    records[1]["test"]["predictions"] = [4] * 20
    found = accuracy_of(Selection(records), NAME)
    assert found.undertrained == "1 of 3 folds: predicts a single class"


def test_an_invalid_run_is_left_out_and_counted(make_record, make_tested):
    records = seeds(make_record, make_tested, [90, 91])
    records[0]["test"]["loss"] = None
    found = accuracy_of(Selection(records), NAME)
    assert (found.shares.values, found.invalid) == ((0.91,), 1)
    records[1]["test"]["loss"] = None
    assert accuracy_of(Selection(records), NAME) is None
