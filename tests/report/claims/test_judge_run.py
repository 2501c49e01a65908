"""Tests of verdicts on counts, training, metrics.json and defaults."""

from __future__ import annotations

import attrs
import pytest

from bench.config.presets import get_preset
from bench.report.analysis.selection import Selection
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
)
from bench.report.claims.verdicts import judged_claims
from tests.report.fake_records import CA, CPU, RESNET, claim, decided, of_guide, trained


@pytest.mark.parametrize(
    ("identifier", "word"),
    [
        ("why-v2-s/params/ResNet18", CONFIRMED),
        ("why-v2-s/params/EfficientNetV2_S", CONFIRMED),
        ("why-v2-s/macs/EfficientNetV2_S", CONFIRMED),
        ("why-v2-s/macs/MobileNetV3_Small", CONTRADICTED),
        ("variants/params/EfficientNetV2_S_ECA", CONTRADICTED),
        ("v2-s-ca-vs-resnet18-hybrid/params/ResNet18_Hybrid", CONTRADICTED),
        ("details/channels", CONFIRMED),
    ],
)
def test_counts_are_decided_without_an_interval(sweep, identifier, word):
    assert of_guide(sweep, identifier).word == word


def test_a_claim_that_states_no_head_is_held_against_both(sweep):
    found = of_guide(sweep, "v2-s-ca-vs-resnet18-hybrid/params/ResNet18_Hybrid")
    assert "11.90 M with 1000 classes, 11.39 M with 10 classes" in found.reason
    with_ten = claim("parameters", 11.39, "ResNet18_Hybrid")
    assert decided(sweep, with_ten).word == CONFIRMED
    assert decided(sweep, attrs.evolve(with_ten, conditions={"classes": 1000})).word == CONTRADICTED
    assert decided(sweep, attrs.evolve(with_ten, conditions={"classes": 13})).word == NOT_COMPARABLE


def test_counts_of_a_failed_run_stand_and_wrong_ones_do_not(make_failed):
    record = make_failed(RESNET, "RuntimeError", "x")
    assert decided([record], claim("parameters", 11.69, RESNET)).word == CONFIRMED
    record["counts"]["parameters_declared"] = 1
    found = decided([record], claim("parameters", 11.69, RESNET))
    assert (found.word, "invalid" in found.reason) == (NOT_MEASURED, True)


def test_another_reduction_is_another_model(make_record):
    record = make_record(CA)
    for reduction, word in ((16, NOT_COMPARABLE), (32, CONFIRMED)):
        record["config"]["reduction"] = reduction
        assert decided([record], claim("parameters", 21.61)).word == word


def test_a_stated_reduction_is_held_against_the_one_built(make_record):
    record = make_record(CA)
    sixteen = claim("parameters", 21.61, conditions={"reduction": 16})
    found = decided([record], sixteen)
    assert found.word == NOT_COMPARABLE
    assert "reduction: 16 stated, 32 here" in found.reason
    own = attrs.evolve(sixteen, conditions={"reduction": 32, "device": "cuda", "batch": 64})
    assert decided([record], own).word == CONFIRMED
    without = claim("parameters", 11.69, RESNET, conditions={"reduction": 16})
    found = decided([make_record(RESNET)], without)
    assert "reduction: 16 stated, not recorded here" in found.reason


def test_a_reduction_given_to_a_model_without_one_changes_nothing(make_record):
    record = make_record(RESNET)
    record["config"]["reduction"] = 16
    assert decided([record], claim("parameters", 11.69, RESNET)).word == CONFIRMED


def test_counts_of_timings_alone_name_the_head_they_have(make_record):
    record = make_record(RESNET, data=None)
    reason = decided([record], claim("parameters", 11.18, RESNET)).reason
    assert "11.18 M with the run's classes" in reason
    record["counts"]["num_classes"] = 10
    reason = decided([record], claim("parameters", 11.18, RESNET)).reason
    assert "11.18 M with 10 classes" in reason
    channels = decided([record], claim("feature_channels", 512, RESNET))
    assert channels.word == CONFIRMED


def test_the_size_is_that_of_float32(make_record):
    one = claim("size", 81.39, conditions={"dtype": "float32"})
    assert decided([make_record(CA)], one).word == CONFIRMED
    half = attrs.evolve(one, conditions={"dtype": "float16"})
    assert "float16 stated, float32 here" in decided([make_record(CA)], half).reason


def test_a_memory_is_of_the_stated_precision_and_format(make_record, on_gpu):
    record = on_gpu(trained(make_record, CA, 3800), "Tesla T4")
    record["training"]["amp"] = "fp16"
    stated = {"batch": 16, "image_size": 64, "dtype": "float16 autocast"}
    record["config"] |= {"batch_size": 16, "image_size": 64}
    one = claim("gpu_memory", 13.5, conditions=stated)
    assert decided([record], one).word == CONFIRMED
    for amp, dtype in (("off", "float32"), ("bf16", "bfloat16 autocast")):
        record["training"]["amp"] = amp
        assert f"float16 autocast stated, {dtype} here" in decided([record], one).reason
    record["training"]["amp"] = "fp16"
    # That of the training, whatever the timing session and its options were.
    assert {entry["memory_format"] for entry in record["timing"]} == {"contiguous"}
    own = attrs.evolve(one, conditions={**stated, "memory_format": "channels_last"})
    assert decided([record], own).word == CONFIRMED
    for key, value, here in (
        ("memory_format", "contiguous", "channels_last"), ("reduction", 16, "32"),
    ):  # fmt: skip
        found = decided([record], attrs.evolve(one, conditions={**stated, key: value}))
        words = f"{key.replace('_', ' ')}: {value} stated, {here} here"
        assert (found.word, words in found.reason) == (NOT_COMPARABLE, True)


def test_a_memory_is_what_the_driver_shows_and_the_verdict_names_which(make_record, on_gpu):
    record = on_gpu(trained(make_record, CA, 3800), "Tesla T4")
    one = claim("gpu_memory", 13.5, tolerance=0.1, conditions={"batch": 16, "image_size": 64})
    found = decided([record], one)
    assert (found.word, found.figure.number) == (CONFIRMED, 13.5)
    assert "judged by memory in use by this process" in found.reason
    assert "13.1 reserved by PyTorch, 12.5 allocated by PyTorch" in found.reason
    record["training"]["gpu_memory"]["in_use_of"] = "the whole GPU"
    assert "judged by memory in use by the whole GPU" in decided([record], one).reason
    record["training"]["gpu_memory"]["in_use_mb"] = None
    found = decided([record], one)
    assert (found.word, found.figure.number) == (CONTRADICTED, 13.1)
    assert "judged by memory reserved by PyTorch" in found.reason


def test_what_tensors_took_alone_decides_no_claim_about_memory(make_record, on_gpu):
    record = on_gpu(trained(make_record, CA, 3800), "Tesla T4")
    del record["training"]["gpu_memory"]  # as older records
    for value in (12.5, 30.0):
        one = claim("gpu_memory", value, conditions={"batch": 16, "image_size": 64})
        found = decided([record], one)
        assert (found.word, found.figure.number) == (NOT_COMPARABLE, 12.5)
        assert "only what tensors took is recorded" in found.reason


def test_a_minute_has_sixty_seconds(make_record):
    records = [trained(make_record, CA, 3800, minute=n) for n in range(6)]
    for record in records:
        record["sweep"]["preset"] = "smoke"
        record["training"]["seconds"] = 90.0
    stated = {"preset": "smoke", "device_name": CPU}
    found = decided(records, claim("training_time", 1.5, tolerance=0.01, conditions=stated))
    assert found.word == CONFIRMED
    assert found.figure.number == pytest.approx(1.5)
    assert (found.figure.low, found.figure.high) == pytest.approx((1.5, 1.5))
    assert "1.5 minutes" in found.figure.value()


def test_fps_is_held_against_what_it_was_timed_under(make_record):
    record = trained(make_record, CA, 3800)
    fps = record["metrics"]["fps"]
    stated = {"device_name": CPU, "batch": 16, "image_size": 64, "dtype": "float32", "threads": 2}
    record["config"]["batch_size"] = 48
    for given, words in (
        ({}, "one run has no interval"),
        ({"memory_format": "contiguous"}, "one run has no interval"),
        ({"memory_format": "channels_last"}, "memory format: channels_last stated, contiguous"),
        ({"batch": 48}, "batch: 48 stated, 16 here"),
        ({"threads": 1}, "threads: 1 stated, 2 here"),
    ):
        one = claim("fps", fps, conditions={**stated, **given})
        assert words in decided([record], one).reason


def test_the_example_metrics_are_of_unstated_conditions(make_record):
    found = of_guide([trained(make_record, CA, 3800)], f"example-metrics/valid_acc/{CA}")
    assert (found.word, "unstated: preset" in found.reason) == (NOT_COMPARABLE, True)


def test_minutes_and_memory_need_the_preset_on_the_stated_gpu(make_record, on_gpu):
    record = trained(make_record, CA, 3800)
    record["sweep"]["preset"] = "kaggle"
    record["config"] |= get_preset("kaggle").options
    assert "no CUDA" in of_guide([record], "presets/kaggle/gpu_memory").reason
    other = on_gpu(record, "NVIDIA L4")
    found = of_guide([other], "presets/kaggle/gpu_memory")
    assert (found.word, "T4 or P100 stated" in found.reason) == (NOT_COMPARABLE, True)
    other["training"]["device_name"] = "Tesla T4"
    assert of_guide([other], "presets/kaggle/gpu_memory").word == CONFIRMED
    minutes = of_guide([other], "presets/kaggle/training_time")
    assert (minutes.word, "1 training" in minutes.reason) == (UNDECIDED, True)
    other["training"]["gpu_memory"]["in_use_mb"] = 9000.0
    assert of_guide([other], "presets/kaggle/gpu_memory").word == CONTRADICTED


def test_defaults_are_those_of_the_program(sweep):
    found = {c.id: v for c, v in judged_claims(Selection(sweep)) if c.metric == "option_default"}
    assert len(found) >= 10
    # Workers are measured here, at most the guide's number.
    workers = found.pop("parameters-image/num_workers/option_default")
    assert workers.word == NOT_COMPARABLE
    assert "no fixed default here: " in workers.reason
    assert "chosen by a short benchmark, at most 4 and no more than the cores" in workers.reason
    assert {v.word for v in found.values()} == {CONFIRMED}
    assert "CA, reduction 32" in found["parameters-model/reduction/option_default"].reason
    wrong = claim("option_default", "16", option="epochs")
    assert decided(sweep, wrong).word == CONTRADICTED
