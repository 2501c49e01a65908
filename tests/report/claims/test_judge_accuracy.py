"""Tests of verdicts on accuracies, from runs with planted predictions."""

from __future__ import annotations

import pytest

from bench.config.presets import get_preset
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
)
from tests.report.fake_records import CA, PADDY, claim, decided, of_guide, trained


@pytest.mark.parametrize(
    ("right", "word"), [(3800, UNDECIDED), (3760, CONFIRMED), (3000, CONTRADICTED)]
)
def test_accuracy_is_decided_on_the_test_part(make_record, right, word):
    record = trained(make_record, CA, right)
    found = decided([record], claim("accuracy", (93, 95.05), conditions=PADDY))
    assert found.word == word
    assert "judged on the test part" in found.reason
    assert found.figure is not None
    assert found.figure.count.startswith("n 4000, test")


def test_accuracy_needs_the_guides_data_and_weights(make_record):
    one = claim("accuracy", (93, 96), conditions=PADDY)
    cases = [
        ("synthetic", trained(make_record, CA, 3760, synthetic=True)),
        ("3 classes", trained(make_record, CA, 3760, classes=["blast", "hispa", "tungro"])),
    ]
    random = trained(make_record, CA, 3760)
    random["training"]["initial_weights"] = "random"
    part = trained(make_record, CA, 3760)
    part["config"]["train_limit"] = 1000
    frozen = trained(make_record, CA, 3760)
    frozen["config"]["freeze_backbone"] = True
    cases += [("pretrained: yes stated, no here", random), ("1000 training images only", part)]
    for reason, record in [*cases, ("backbone frozen", frozen)]:
        found = decided([record], one)
        assert (found.word, reason in found.reason) == (NOT_COMPARABLE, True), reason
        assert found.figure is not None
    unstated = decided([trained(make_record, CA, 3760)], claim("accuracy", (93, 96)))
    assert "unstated: data, pretrained" in unstated.reason


def test_no_verdict_from_an_invalid_or_undertrained_run(make_record):
    one = claim("accuracy", (5, 20), conditions=PADDY)
    collapsed = trained(make_record, CA, 3760)
    collapsed["test"]["predictions"] = [0] * 4000
    invalid = trained(make_record, CA, 600)
    invalid["metrics"]["valid_loss"] = None
    for reason, record in (("undertrained", collapsed), ("invalid", invalid)):
        found = decided([record], one)
        assert (found.word, reason in found.reason) == (NOT_MEASURED, True)


def test_a_presets_accuracy_needs_the_preset_unchanged(make_record):
    name = "presets/kaggle/accuracy"
    record = trained(make_record, CA, 3800)
    assert "preset: kaggle stated, smoke here" in of_guide([record], name).reason
    record["sweep"]["preset"] = "kaggle"
    record["config"] |= get_preset("kaggle").options
    assert of_guide([record], name).word == CONFIRMED
    record["config"]["epochs"] = 3
    assert "kaggle with other --epochs here" in of_guide([record], name).reason
    record["config"] |= {"epochs": 20, "class_weights": "balanced"}
    assert "other --class-weights here" in of_guide([record], name).reason


def test_the_flags_of_a_preset_are_the_preset(make_record):
    record = trained(make_record, CA, 3800)
    record["sweep"]["preset"] = None
    record["config"] |= {**get_preset("kaggle").options, "reduction": 32}
    assert of_guide([record], "presets/kaggle/accuracy").word == CONFIRMED
    assert "basic stated, kaggle here" in of_guide([record], "presets/basic/accuracy").reason


@pytest.mark.parametrize(
    ("right", "word"), [(3600, CONFIRMED), (3790, CONTRADICTED), (3580, UNDECIDED)]
)
def test_a_gain_is_a_paired_difference(make_record, right, word):
    records = [trained(make_record, CA, 3800), trained(make_record, "MobileNetV3_Small", right)]
    gain = claim(
        "accuracy", 5, form="difference", against="MobileNetV3_Small", conditions=PADDY,
        tolerance=1.1 if right == 3600 else 1,
    )  # fmt: skip
    found = decided(records, gain)
    assert found.word == word
    assert found.figure is not None
    # In points, of 4,000 images.
    assert found.figure.number == pytest.approx((3800 - right) / 40)
    assert found.figure.low < found.figure.number < found.figure.high
    assert "McNemar" in found.reason
    records[1]["data"]["fingerprint"] = "another"
    assert "fingerprints differ" in decided(records, gain).reason


def test_several_seeds_are_judged_together(make_record):
    records = [trained(make_record, CA, 3760 + seed, seed=seed, minute=seed) for seed in range(3)]
    found = decided(records, claim("accuracy", (91, 97), conditions=PADDY))
    assert found.word == CONFIRMED
    assert found.figure is not None
    assert "3 seeds" in found.figure.count


def test_a_collapsed_or_invalid_seed_leaves_no_verdict(make_record):
    one = claim("accuracy", (91, 97), conditions=PADDY)
    records = [trained(make_record, CA, 3760, seed=seed, minute=seed) for seed in range(5)]
    assert decided(records, one).word == CONFIRMED
    records[1]["test"]["predictions"] = [0] * 4000
    found = decided(records, one)
    assert (found.word, found.figure) == (NOT_MEASURED, None)
    assert found.reason.startswith(f"{CA}: undertrained: 1 of 5 seeds: predicts a single class;")
    records[1]["metrics"]["valid_loss"] = None
    found = decided(records, one)
    assert found.word == NOT_MEASURED
    assert "invalid: 1 of 5 seeds: valid_loss" in found.reason
    gain = claim("accuracy", 0, form="difference", against="ResNet18", conditions=PADDY)
    other = trained(make_record, "ResNet18", 3700)
    assert "invalid: 1 of 5 seeds" in decided([*records, other], gain).reason


def test_an_undertrained_sweep_under_other_conditions_hides_nothing(make_record):
    good = trained(make_record, CA, 3760)
    bad = trained(make_record, CA, 3760, minute=50, synthetic=True)
    bad["sweep"] = {"id": "later"}
    bad["test"]["predictions"] = [0] * 4000
    one = claim("accuracy", (91, 97), conditions=PADDY)
    assert decided([good, bad], one).word == CONFIRMED


def test_an_accuracy_is_of_the_stated_reduction(make_record):
    records = [trained(make_record, CA, 3760), trained(make_record, "EfficientNetV2_S", 3600)]
    for reduction, words in ((32, "within"), (16, "reduction: 16 stated, 32 here")):
        stated = {**PADDY, "reduction": reduction, "device_name": "T4"}
        assert words in decided(records, claim("accuracy", (93, 95), conditions=stated)).reason
        gain = claim(
            "accuracy", 4, form="difference", against="EfficientNetV2_S", conditions=stated,
            tolerance=2,
        )  # fmt: skip
        assert words in decided(records, gain).reason


@pytest.mark.parametrize(
    ("sweeps", "family"),
    [
        (("old",), "among all variants that are ranked with them"),
        (("old", "new"), "among all variants of their sweep"),
        (("old", "other", "new"), "of these two alone, from different sweeps"),
    ],
)
def test_a_difference_names_the_family_that_it_was_judged_in(make_record, sweeps, family):
    records = [trained(make_record, CA, 3800), trained(make_record, "MobileNetV3_Small", 3600)]
    if "new" in sweeps:
        records.append(trained(make_record, CA, 3700, minute=30))
        records[-1]["config"]["freeze_backbone"] = True
    places = (0, -2 if "other" in sweeps else 0, -1)
    for record, place in zip(records, places, strict=False):
        record["sweep"] = {**record["sweep"], "id": sweeps[place]}
    gain = claim(
        "accuracy", 5, form="difference", against="MobileNetV3_Small", conditions=PADDY,
        tolerance=1.1,
    )  # fmt: skip
    found = decided(records, gain)
    assert found.word == CONFIRMED
    assert f"better {family} (exact McNemar" in found.reason
