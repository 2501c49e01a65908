"""Tests of verdicts on speeds, from sessions with planted speeds."""

from __future__ import annotations

import attrs
import pytest

from bench.report.analysis.selection import Selection
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
)
from bench.report.claims.verdicts import judged_claims
from tests.report.fake_records import CA, CPU, RESNET, V2S, claim, decided, of_guide, timed
from tests.report.sessions import MAIN, TRAIN


@pytest.mark.parametrize(
    ("value", "word"), [(0.25, CONFIRMED), (1.25, CONTRADICTED), (0.278, UNDECIDED)]
)
def test_a_ratio_is_decided_by_the_interval_over_rounds(make_record, value, word):
    ratio = claim("inference_speed", value, V2S, form="ratio", against=RESNET)
    found = decided(timed(make_record), ratio)
    assert found.word == word
    assert found.cell() == f"{word} on {CPU}, 2 threads"
    assert found.figure is not None
    assert found.figure.number == pytest.approx(0.25, rel=0.02)
    assert found.figure.low < found.figure.number < found.figure.high
    assert found.figure.count == "10 rounds"


@pytest.mark.parametrize("rounds", [1, 5])
def test_few_rounds_decide_nothing(make_record, rounds):
    records = timed(make_record, rounds=rounds, kinds=[*MAIN, TRAIN])
    speeds = [v for c, v in judged_claims(Selection(records)) if c.kind.words.endswith("speed")]
    assert UNDECIDED in {v.word for v in speeds}
    assert not {v.word for v in speeds} & {CONFIRMED, CONTRADICTED}
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert f"{rounds} round" in decided(records, ratio).reason


def test_a_t4_is_never_decided_elsewhere_but_its_ratio_is(make_record):
    records = timed(make_record)
    found = of_guide(records, "why-v2-s/fps-gpu/EfficientNetV2_S")
    assert found.word == NOT_COMPARABLE
    assert "T4 stated, AMD EPYC 7B13 here" in found.reason
    assert "unstated: batch, image size, dtype" in found.reason
    assert f"~1.25 ×, is contradicted on {CPU}, 2 threads: 0.25" in found.reason
    ratio = of_guide(records, "why-v2-s/fps-gpu-ratio/EfficientNetV2_S")
    assert ratio.cell() == f"contradicted on {CPU}, 2 threads"
    assert "the claim is of T4" in ratio.reason


def test_a_t4_claim_with_all_conditions_needs_a_t4(make_record):
    stated = {"device": "cuda", "device_name": "T4", "batch": 16, "image_size": 224,
              "dtype": "float32"}  # fmt: skip
    one = claim("inference_speed", 25, V2S, conditions=stated)
    assert decided(timed(make_record), one).word == NOT_COMPARABLE
    same = {"device": "cuda", "device_name": "Tesla T4"}
    assert decided(timed(make_record, same=same), one).word == CONFIRMED
    other = {"device": "cuda", "device_name": "NVIDIA T4G"}
    assert decided(timed(make_record, same=other), one).word == NOT_COMPARABLE
    assert decided(timed(make_record, same={**same, "batch_size": 16}), attrs.evolve(
        one, value=250)).word == CONTRADICTED  # fmt: skip


def test_the_guides_speeds_contradict_its_own_macs(make_record):
    for name in ("25", "30"):
        found = of_guide(timed(make_record), f"prose/inference-{name}")
        assert found.word == CONTRADICTED
        assert "1.58 × the MACs of ResNet18" in found.reason
        assert "published: 0.32 ×" in found.reason
        assert "the same document elsewhere" in found.reason
    assert "~1.3 ×" in of_guide(timed(make_record), "prose/inference-25").reason


def test_unstated_conditions_of_a_ratio_are_named_and_stated_ones_must_hold(make_record):
    records = timed(make_record)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert "states no device, batch, image size, dtype" in decided(records, ratio).reason
    found = decided(records, attrs.evolve(ratio, conditions={"batch": 64}))
    assert (found.word, "64 stated, 16 here" in found.reason) == (NOT_COMPARABLE, True)
    assert found.figure is not None


def test_what_a_session_noted_against_a_timing_stands_in_the_row(make_record):
    records = timed(make_record)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert "marked" not in decided(records, ratio).reason
    for entry in records[0]["timing"]:
        entry["marks"] = ["other programs used 14 % of the machine"]
    assert "marked: other programs used 14 %" in decided(records, ratio).reason


def test_cases_that_disagree_decide_nothing(make_record):
    slow = timed(make_record)
    fast = timed(make_record, {RESNET: 0.01, V2S: 0.01})
    for one, two in zip(slow, fast, strict=True):
        one["timing"] += [{**entry, "threads": 1} for entry in two["timing"]]
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    found = decided(slow, ratio)
    assert found.word == UNDECIDED
    assert "1 thread" in found.reason
    assert decided(slow, attrs.evolve(ratio, conditions={"threads": 2})).word == CONFIRMED


def test_models_of_two_sessions_are_not_related(make_record):
    one = timed(make_record, {RESNET: 0.01}, session="s1")
    two = timed(make_record, {V2S: 0.04}, session="s2", baseline=V2S)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    found = decided([*one, *two], ratio)
    assert (found.word, found.figure) == (NOT_MEASURED, None)
    assert "no timing session" in found.reason


def test_latency_is_a_time_and_speed_its_inverse(make_record):
    records = timed(make_record)
    ratio = claim("latency", 4, V2S, form="ratio", against=RESNET)
    assert decided(records, ratio).word == CONFIRMED
    assert decided(records, attrs.evolve(ratio, value=0.25)).word == CONTRADICTED
    stated = {"device_name": CPU, "image_size": 224, "dtype": "float32", "threads": 2}
    absolute = claim("latency", 40, V2S, conditions=stated)
    assert decided(records, attrs.evolve(absolute, tolerance="20 %")).word == CONFIRMED
    assert decided(records, attrs.evolve(absolute, value=4)).word == CONTRADICTED
    del stated["threads"]
    assert "unstated: threads" in decided(records, absolute).reason


def test_training_speed_needs_timed_steps(make_record):
    name = "prose/training/EfficientNetV2_S"
    found = of_guide(timed(make_record), name)
    assert found.word == UNDECIDED
    assert "one training each" in found.reason
    assert of_guide(timed(make_record, kinds=[*MAIN, TRAIN]), name).word == CONTRADICTED


def test_no_verdict_on_speed_from_an_invalid_or_failed_run(make_record, make_failed):
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    records = timed(make_record)
    records[1]["counts"]["parameters_declared"] = 1
    found = decided(records, ratio)
    assert (found.word, "invalid" in found.reason) == (NOT_MEASURED, True)
    failed = [timed(make_record)[0], make_failed(V2S, "RuntimeError", "out of luck")]
    assert "out of luck" in decided(failed, ratio).reason
    assert decided(failed[:1], ratio).reason.startswith(f"{V2S} is in none")


def test_a_speed_is_of_the_stated_reduction_format_and_preset(make_record):
    records = timed(make_record, {CA: 0.04, RESNET: 0.01})
    stated = {"batch": 16, "image_size": 224, "dtype": "float32", "device_name": CPU, "threads": 2}
    one = claim("inference_speed", 25, conditions={**stated, "reduction": 32, "epochs": 20})
    ratio = claim("inference_speed", 4, RESNET, form="ratio", against=CA)
    ratio = attrs.evolve(ratio, conditions={"batch": 16, "reduction": 32})
    for each in (one, ratio):
        assert decided(records, each).word == CONFIRMED
        for key, value, here in (
            ("reduction", 16, "32"),
            ("memory_format", "channels_last", "contiguous"),
            ("preset", "kaggle", "smoke"),
            ("classes", 13, "10"),
        ):
            other = attrs.evolve(each, conditions={**each.conditions, key: value})
            found = decided(records, other)
            words = f"{key.replace('_', ' ')}: {value} stated, {here} here"
            assert (found.word, words in found.reason) == (NOT_COMPARABLE, True), found.reason
    without = claim("inference_speed", 100, RESNET, conditions={**stated, "reduction": 16})
    assert "reduction: 16 stated, not recorded here" in decided(records[1:], without).reason


def test_the_ratio_of_two_trainings_has_the_stated_conditions(make_record):
    records = [make_record(name, timing=[], session=None) for name in (CA, RESNET)]
    ratio = claim("training_speed", 0.3, form="ratio", against=RESNET, conditions={"reduction": 32})
    assert decided(records, ratio).word == UNDECIDED
    found = decided(records, attrs.evolve(ratio, conditions={"reduction": 16, "batch": 512}))
    assert found.word == NOT_COMPARABLE
    assert "reduction: 16 stated, 32 here" in found.reason
    assert "batch: 512 stated" in found.reason
