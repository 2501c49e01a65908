"""Tests of the text of ``bench compare``."""

from __future__ import annotations

import time

import pytest

from bench.errors import BenchError
from bench.report.chapters.compare import compare_rows, compare_text
from tests.report.sessions import set_predictions, timed_together, timing_only

SPEEDS = {"ResNet18": 0.010, "ResNet18_Hybrid": 0.011, "MobileNetV3_Small": 0.003}


@pytest.fixture
def records(make_record):
    """Three variants, timed together; the second has the first as baseline."""
    found = timed_together(make_record, SPEEDS)
    for record in found:
        set_predictions(record, [True] * 100)
    found[1]["variant"]["baseline"] = "ResNet18"
    return found


def test_the_others_are_compared_with_the_first_named(records):
    text = compare_text(records, ["resnet18", "MOBILENETV3_SMALL", "ResNet18_Hybrid"])
    first, second = text.splitlines()[:2]
    assert first.startswith("MobileNetV3_Small against ResNet18: gains 2")
    assert second.startswith("ResNet18_Hybrid against ResNet18: costs ")
    assert "Against ResNet18: accuracy, size, work" in text
    assert "comparisons of the case (3)" in text
    assert text.endswith("\n")


def test_the_verdicts_are_those_of_the_whole_sweep_whoever_is_named(records):
    text = compare_text(records, ["ResNet18", "ResNet18_Hybrid"])
    assert "MobileNetV3_Small" not in text
    assert "comparisons of the case (3)" in text
    assert "Holm's correction for 3 comparisons" in text
    alone = compare_rows(records, ["ResNet18", "ResNet18_Hybrid"])
    among = compare_rows(records, ["ResNet18", "MobileNetV3_Small", "ResNet18_Hybrid"])
    for kind in ("accuracy", "speed"):
        assert alone[kind] == [row for row in among[kind] if row["variant"] == "ResNet18_Hybrid"]


def test_without_names_matched_baselines_are_compared(records):
    text = compare_text(records, [])
    assert text.startswith("ResNet18_Hybrid against ResNet18: costs ")
    assert "MobileNetV3_Small" not in text


def test_runs_that_were_only_timed_are_compared_in_speed(records):
    text = compare_text([timing_only(record) for record in records], [])
    assert "costs" in text
    assert "Accuracy not compared" in text


def test_ten_variants_and_45_pairs_take_no_waiting(make_record, sweep):
    names = [record["variant"]["name"] for record in sweep]
    many = timed_together(make_record, dict.fromkeys(names, 0.01))
    for record in many:
        set_predictions(record, [True] * 200)
    compare_text(many, names[:2])  # imports scipy and statsmodels
    start = time.process_time()
    text = compare_text(many, names)
    assert time.process_time() - start < 3
    assert "comparisons of the case (45)" in text


def test_an_unknown_variant_is_named_with_a_near_one(records):
    with pytest.raises(BenchError) as caught:
        compare_text(records, ["ResNet18", "ResNet18_Hybird"])
    assert str(caught.value) == (
        "no run of 'ResNet18_Hybird': did you mean ResNet18_Hybrid? "
        "There are runs of ResNet18, ResNet18_Hybrid, MobileNetV3_Small"
    )
    with pytest.raises(BenchError, match="no run of 'zzz': There are runs of"):
        compare_text(records, ["zzz", "ResNet18"])


@pytest.mark.parametrize(
    ("names", "kept", "message"),
    [
        (["ResNet18"], 3, "one run only: ResNet18 has nothing to compare with: name another"),
        (["ResNet18", "resnet18"], 3, "one run only: ResNet18 has nothing to compare with"),
        (["ResNet18"], 1, "nothing to compare with: run another variant first"),
        ([], 1, "one run only: ResNet18: run a variant and its baseline"),
        ([], 0, "no runs: run a variant and its baseline"),
        (["ResNet18"], 0, "no runs to compare: run some variants first"),
    ],
)
def test_fewer_than_two_runs_are_refused(records, names, kept, message):
    with pytest.raises(BenchError, match=message):
        compare_text(records[:kept], names)


def test_variants_without_their_baseline_are_listed(records):
    with pytest.raises(BenchError, match=r"name two to compare \(ResNet18, MobileNetV3_Small\)"):
        compare_text([records[0], records[2]], [])


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        ("data", "fingerprint", "77aa", "data fingerprints differ: ResNet18_Hybrid 77aa, ResNet18"),
        ("config", "image_size", 96, "image sizes differ: ResNet18_Hybrid 96, ResNet18 64"),
    ],
)
def test_runs_on_other_data_or_another_size_are_refused(records, where, key, value, message):
    records[1][where][key] = value
    with pytest.raises(BenchError, match=message) as caught:
        compare_text(records, ["ResNet18", "ResNet18_Hybrid"])
    assert "\n" not in str(caught.value)


def test_other_settings_are_labelled_and_not_mixed(records):
    records[1]["config"]["epochs"] = 99
    text = compare_text(records, ["ResNet18", "ResNet18_Hybrid"])
    assert "Accuracy not compared: settings differ: --epochs 99 and" in text
    assert "costs" in text


def test_a_run_with_neither_accuracy_nor_timing_is_refused(records):
    records[1] = {**timing_only(records[1]), "timing": []}
    with pytest.raises(BenchError, match="the run of ResNet18_Hybrid has neither accuracy nor"):
        compare_text(records, ["ResNet18", "ResNet18_Hybrid"])


@pytest.mark.parametrize("where", ["in the session", "in a record of its own"])
def test_the_noise_floor_does_not_hang_on_the_variants_named(make_record, where: str) -> None:
    speeds = {"ResNet18": 0.01, "EfficientNetV2_S": 0.04, "EfficientNetV2_S_CA": 0.06}
    found = timed_together(make_record, speeds)
    if where == "in the session":
        found = found[1:]
    else:
        for record in found:
            record["session"] = {**record["session"], "reference": []}
    text = compare_text(found, ["EfficientNetV2_S", "EfficientNetV2_S_CA"])
    assert "undecided" not in text
    assert "costs 33 % speed" in text
