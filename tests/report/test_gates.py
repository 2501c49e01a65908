"""Tests of the sanity gates and of the Wilson interval."""

from __future__ import annotations

import math

import pytest

from bench.report.gates import invalid_reason, valid_accuracy, wilson


def test_wilson_interval_has_the_published_values():
    # Newcombe 1998, table 1: 81 of 263 and 15 of 148.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_interval_at_the_edges_stays_within_0_and_1():
    low, high = wilson(0, 20)
    assert low == 0
    assert high == pytest.approx(0.1611, abs=5e-5)
    low, high = wilson(29, 29)
    assert high == 1
    assert low == pytest.approx(0.8830, abs=5e-5)


def test_accuracy_comes_from_the_predictions(make_record):
    record = make_record(classes=["a", "b", "c"])
    record["validation"]["labels"] = [0, 0, 1, 1, 2, 2, 2]
    record["validation"]["predictions"] = [0, 0, 1, 1, 2, 2, 0]
    record["metrics"]["valid_acc"] = 0.1
    accuracy = valid_accuracy(record)
    assert accuracy.share == pytest.approx(6 / 7)
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(6, 7))
    assert accuracy.total == 7
    assert accuracy.undertrained is None


def test_accuracy_at_the_majority_rate_is_undertrained(make_record):
    record = make_record(classes=["a", "b"])
    record["validation"]["labels"] = [0, 0, 0, 1]
    record["validation"]["predictions"] = [0, 0, 1, 1]
    assert valid_accuracy(record).undertrained == "not above the majority rate of 75.0 %"
    record["validation"]["predictions"] = [0, 0, 0, 1]
    assert valid_accuracy(record).undertrained is None


def test_a_model_that_predicts_one_class_is_undertrained(make_record):
    record = make_record(classes=["a", "b"])
    record["validation"]["labels"] = [0, 0, 0, 1]
    record["validation"]["predictions"] = [0, 0, 0, 0]
    assert valid_accuracy(record).undertrained == "predicts a single class"


def test_accuracy_without_predictions_uses_metrics_and_class_counts(make_record):
    record = make_record(validation=None)
    record["metrics"]["valid_acc"] = 0.7
    record["data"]["counts"]["valid"] = {"a": 30, "b": 10}
    record["data"]["used"]["valid"] = 40
    accuracy = valid_accuracy(record)
    assert accuracy.total == 40
    assert accuracy.low == pytest.approx(wilson(28, 40)[0])
    assert accuracy.undertrained == "not above the majority rate of 75.0 %"


def test_accuracy_of_a_run_that_never_got_there_is_none(make_failed):
    assert valid_accuracy(make_failed("ResNet18", "RuntimeError", "x")) is None


def test_accuracy_with_unknown_number_of_images_has_no_interval(make_record):
    record = make_record(validation=None, data=None)
    accuracy = valid_accuracy(record)
    assert (accuracy.low, accuracy.high, accuracy.total) == (None, None, None)


def test_a_sound_run_is_valid(make_record):
    assert invalid_reason(make_record()) is None


def test_wrong_parameter_count_is_invalid(make_record):
    record = make_record("ResNet18")
    record["counts"]["parameters"] += 1
    assert invalid_reason(record) == "11,181,643 parameters, declared 11,181,642"
    record["counts"]["parameters_declared"] = None
    assert invalid_reason(record) is None


@pytest.mark.parametrize("speed", [0, -3.0, math.nan, math.inf, None])
def test_throughput_that_is_not_positive_is_invalid(make_record, speed):
    record = make_record()
    record["timing"][1]["images_per_s"] = speed
    written = "NaN or infinite" if speed is None else speed
    assert invalid_reason(record) == f"cpu inference throughput of {written} images/s"


def test_training_speed_and_fps_pass_the_same_gate(make_record):
    record = make_record()
    record["training"]["images_per_s"] = 0
    assert "training throughput" in invalid_reason(record)
    record = make_record()
    record["metrics"]["fps"] = -1
    assert "metrics.json throughput" in invalid_reason(record)


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_no_number_is_invalid(make_record, loss):
    record = make_record()
    record["training"]["epochs"][2]["train_loss"] = loss
    assert invalid_reason(record).startswith("train_loss of epoch 3 is ")
    record = make_record()
    record["metrics"]["valid_loss"] = loss
    assert invalid_reason(record).startswith("valid_loss of metrics.json is ")
    record = make_record()
    record["validation"]["loss"] = loss
    assert invalid_reason(record).startswith("validation loss is ")
