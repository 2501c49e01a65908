"""Tests of the sanity gates and of the Wilson interval."""

from __future__ import annotations

import math

import pytest

from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import (
    count_text,
    hits,
    invalid_reason,
    judged_accuracy,
    judged_part,
    part_accuracy,
    pooled_accuracy,
    valid_accuracy,
    wilson,
)
from bench.report.claims.compare import measured


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
def test_a_loss_that_is_no_number_is_invalid(make_record, make_tested, loss):
    record = make_record()
    record["training"]["epochs"][2]["train_loss"] = loss
    assert invalid_reason(record).startswith("train_loss of epoch 3 is ")
    record = make_record()
    record["metrics"]["valid_loss"] = loss
    assert invalid_reason(record).startswith("valid_loss of metrics.json is ")
    record = make_record()
    record["validation"]["loss"] = loss
    assert invalid_reason(record).startswith("validation loss is ")
    record = make_tested(make_record(), 20, 23)
    record["test"]["loss"] = loss
    assert invalid_reason(record).startswith("test loss is ")


@pytest.mark.parametrize("seconds", [0, -0.2, math.nan, math.inf, None])
@pytest.mark.parametrize("key", ["block_seconds", "step_seconds"])
def test_a_raw_sample_that_is_no_time_is_invalid(make_record, make_rounds, key, seconds):
    record = make_rounds(make_record(), 4)
    entry = next(e for e in record["timing"] if e["regime"] == "latency")
    entry["rounds"][2][key][1] = seconds
    written = "NaN or infinite" if seconds is None else seconds
    expected = f"round 2 of cpu inference took {written} seconds for a step"
    assert invalid_reason(record) == expected


def test_a_control_that_is_wrong_is_invalid(make_record, make_rounds):
    record = make_rounds(make_record(), 4)
    record["session"]["control"]["timing"][0]["images_per_s"] = -5.0
    assert invalid_reason(record) == "control's cpu inference throughput of -5.0 images/s"
    record = make_rounds(make_record(), 4)
    record["session"]["control"]["timing"][1]["rounds"][3]["block_seconds"][0] = 0.0
    expected = "round 3 of control's cpu inference took 0.0 seconds for a step"
    assert invalid_reason(record) == expected
    record["session"]["control"] = None
    assert invalid_reason(record) is None


def test_a_training_step_is_named_as_such(make_record):
    record = make_record()
    record["timing"][0] |= {"clock": "train", "images_per_s": 0}
    assert invalid_reason(record) == "cpu training-step throughput of 0 images/s"


def test_what_is_invalid_stands_in_no_table_as_a_number(make_record, make_rounds):
    record = make_rounds(make_record("ResNet18"), 4)
    record["timing"][1]["rounds"][0]["block_seconds"][0] = -1.0
    selection = Selection([record])
    for name in ("cpu_images_per_s", "accuracy", "parameters_run", "train_images_per_s"):
        value = measured(selection, name, "ResNet18")
        assert value.mark == "invalid"
        assert value.number is None
    assert selection.shown() == []


# --- the judged part -------------------------------------------------------------------------


def test_a_collapse_on_the_test_part_counts_whatever_the_validation_says(make_record, make_tested):
    record = make_tested(make_record(), 20, 23)
    assert judged_accuracy(record).undertrained is None
    record["test"]["predictions"] = [3] * 23
    assert judged_accuracy(record).undertrained == "predicts a single class"
    assert valid_accuracy(record).undertrained is None
    value = measured(Selection([record]), "accuracy", "EfficientNetV2_S_CA")
    assert value.mark == "undertrained"
    assert value.number is None


def test_the_majority_rate_is_that_of_the_judged_part(make_record, make_tested):
    record = make_tested(make_record(classes=["a", "b"]), 3, 4)
    record["test"] |= {"labels": [0, 0, 0, 1], "predictions": [0, 0, 1, 1]}
    assert judged_accuracy(record).undertrained == "not above the majority rate of 75.0 %"
    record["test"]["labels"] = [0, 0, 1, 1]
    assert judged_accuracy(record).undertrained is None


def test_the_test_part_is_judged_where_there_is_one(make_record, make_tested):
    record = make_record()
    assert judged_part(record) == "validation"
    assert judged_accuracy(record) == valid_accuracy(record)
    make_tested(record, 20, 23)
    assert judged_part(record) == "test"
    assert judged_accuracy(record).total == 23
    record["test"]["labels"] = []
    assert judged_part(record) == "validation"


def test_images_can_be_left_out_of_an_accuracy(make_record, make_tested):
    record = make_tested(make_record(), 20, 23)
    found = part_accuracy(record, "test", without=["t0.jpg", "t22.jpg", "another.jpg"])
    assert (found.total, found.share) == (21, pytest.approx(19 / 21))
    assert part_accuracy(record, "test", without=record["test"]["ids"]) is None
    record["test"]["ids"] = []
    assert part_accuracy(record, "test", without=["t0.jpg"]).total == 23
    record["test"]["predictions"].pop()
    assert part_accuracy(record, "test") is None


def test_folds_are_pooled_image_by_image(make_record, make_tested):
    parts = [(make_tested(make_record(), hit, 20), "test") for hit in (20, 10)]
    found = pooled_accuracy(parts)
    assert (found.share, found.total) == (0.75, 40)
    assert (found.low, found.high) == pytest.approx(wilson(30, 40))


def test_hits_are_told_by_the_images_name(make_record, make_tested):
    record = make_tested(make_record(), 1, 2)
    assert hits(record, "test") == {"t0.jpg": True, "t1.jpg": False}
    assert hits(record, "nothing") == {}


@pytest.mark.parametrize(
    ("units", "text"),
    [(1, "n 8 (1 group, effective 1)"), (3, "n 8 (3 groups, effective 1)"), (8, "n 8")],
)
def test_groups_are_counted_in_words(units: int, text: str) -> None:
    assert count_text(8, units, 1.2) == text
