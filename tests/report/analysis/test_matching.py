"""Tests of which runs may be compared, and of accuracy on the same images."""

from __future__ import annotations

import pytest

from bench.report.analysis.matching import accuracy_pair, rankings, settings
from bench.report.analysis.pairs import compare_pairs
from bench.report.analysis.run_sets import run_set
from bench.report.analysis.selection import Selection
from bench.report.chapters.attention import tables_of
from tests.report.sessions import set_predictions, timing_only

ONE, TWO = "ResNet18_Hybrid", "ResNet18"
GOOD = [True] * 100
WORSE = [True] * 80 + [False] * 20


def pair(*records, one=ONE, two=TWO):
    return accuracy_pair(Selection(records), one, two)


def test_a_planted_gain_is_declared_on_the_test_part(make_record):
    found = pair(set_predictions(make_record(ONE), GOOD), set_predictions(make_record(TWO), WORSE))
    assert found.verdict == "better"
    assert found.found.difference == pytest.approx(0.2)
    assert (found.found.only_variant, found.found.only_other) == (20, 0)
    assert found.images() == "100 test images"


def test_equal_predictions_tie(make_record):
    found = pair(set_predictions(make_record(ONE), WORSE), set_predictions(make_record(TWO), WORSE))
    assert found.verdict == "tie"
    assert found.found.difference == 0


def test_without_a_test_part_the_validation_part_is_compared(make_record):
    found = pair(
        set_predictions(make_record(ONE), GOOD, part="validation"),
        set_predictions(make_record(TWO), WORSE, part="validation"),
    )
    assert found.images() == "100 validation images"


@pytest.mark.parametrize(
    ("where", "key", "value", "reason", "data"),
    [
        ("data", "fingerprint", "77aa", "data fingerprints differ: ResNet18_Hybrid 77aa", True),
        ("config", "image_size", 96, "image sizes differ: ResNet18_Hybrid 96, ResNet18 64", True),
        ("config", "epochs", 99, "settings differ: --epochs 99 and", False),
        ("config", "batch_size", 99, "settings differ: --batch-size 99 and", False),
        ("config", "pretrained", True, "settings differ: --pretrained True and False", False),
        ("data", "loader", 2, "settings differ: image loader 2 and 1", False),
        ("training", "amp", "fp16", "settings differ: mixed precision fp16 and off", False),
        ("training", "initial_weights", "x.in1k", "initial weights pretrained and random", False),
    ],
)
def test_runs_that_differ_are_refused_with_the_reason(make_record, where, key, value, reason, data):
    one, two = (set_predictions(make_record(name), GOOD) for name in (ONE, TWO))
    one[where][key] = value
    found = pair(one, two)
    assert found.found is None
    assert found.verdict == "not compared"
    assert reason in found.refused.reason
    assert found.refused.data is data


@pytest.mark.parametrize("key", ["data_dir", "results_dir", "reduction", "num_workers", "rounds"])
def test_what_changes_no_accuracy_may_differ(make_record, key):
    one, two = (set_predictions(make_record(name), GOOD) for name in (ONE, TWO))
    one["config"][key] = 3
    assert pair(one, two).verdict == "tie"


def test_different_parts_and_different_seeds_are_refused(make_record):
    two = set_predictions(make_record(TWO), GOOD)
    assert "parts differ" in pair(make_record(ONE), two).refused.reason
    one = set_predictions(make_record(ONE, seed=1), GOOD)
    reason = pair(one, two).refused.reason
    assert reason == "no run with the same seed and fold: seeds 1 and 0"


def test_undertrained_invalid_failed_and_untrained_runs_are_left_out(make_record, make_failed):
    two = set_predictions(make_record(TWO), GOOD)
    collapsed = set_predictions(make_record(ONE), GOOD)
    collapsed["test"]["predictions"] = [0] * 100
    assert "seed 0: undertrained: predicts a single class" in pair(collapsed, two).refused.reason
    broken = set_predictions(make_record(ONE), GOOD)
    broken["counts"]["parameters_declared"] = 1
    assert "seed 0: invalid: 11,388,154 parameters" in pair(broken, two).refused.reason
    failed = make_failed(ONE, "OSError", "disk full")
    assert pair(failed, two).refused.reason == f"{ONE}: run failed: OSError: disk full"
    untrained = timing_only(make_record(ONE))
    assert pair(untrained, two).refused.reason == f"{ONE} was not trained: it has no accuracy"


def test_seeds_are_paired_and_a_collapsed_seed_leaves_no_comparison(make_record):
    records = []
    for seed in range(4):
        for name, right in ((ONE, GOOD), (TWO, WORSE)):
            records.append(set_predictions(make_record(name, seed=seed), right, first=seed))
    found = pair(*records)
    assert found.seeds == (0, 1, 2, 3)
    assert found.found.scope == "variants"
    assert found.verdict == "better"
    assert found.images() == "103 test images, 4 seeds"
    records[0]["test"]["predictions"] = [0] * 100
    found = pair(*records)
    assert found.verdict == "not compared"
    assert found.refused.reason == f"{ONE}: undertrained: 1 of 4 seeds: predicts a single class"
    assert found.notes == (f"{ONE}, seed 0: undertrained: predicts a single class",)


def test_folds_of_one_division_are_pooled(make_record):
    records = []
    for fold in range(5):
        for name, right in ((ONE, GOOD[:20]), (TWO, [True] * 16 + [False] * 4)):
            record = set_predictions(make_record(name), right, first=20 * fold)
            record["data"]["fold"] = {"number": fold + 1, "of": 5}
            records.append(record)
    found = pair(*records)
    assert found.verdict == "better"
    assert found.images() == "100 test images, 5 folds"
    assert found.found.only_variant == 20
    assert found.found.scope == "trained models"


def test_the_latest_sweep_that_trained_both_is_used(make_record):
    sweeps = [{"id": name, "command": "", "preset": None} for name in ("old", "new")]
    both = [
        set_predictions(make_record(name, sweep=sweeps[0]), right)
        for name, right in ((ONE, GOOD), (TWO, WORSE))
    ]
    again = set_predictions(make_record(ONE, sweep=sweeps[1], minute=40), WORSE)
    again["config"]["epochs"] = 99
    assert pair(*both, again).verdict == "better"
    # Two models were judged there: the table's caption is about them, not about the latest runs.
    third = set_predictions(make_record("MobileNetV3_Small", sweep=sweeps[1], minute=41), WORSE)
    third["config"]["epochs"] = 99
    selection = Selection([*both, again, third])
    assert len(rankings(selection)[0][0].names) == 2
    told = tables_of(compare_pairs(selection, [(ONE, TWO)]), selection)[1].caption
    assert "Holm's correction for 1 comparison," in told
    both.append(set_predictions(make_record("MobileNetV3_Small", sweep=sweeps[0]), WORSE))
    selection = Selection([*both, again, third])
    told = tables_of(compare_pairs(selection, [(ONE, TWO)]), selection)[1].caption
    assert "Holm's correction for 3 comparisons," in told


def test_runs_of_two_sweeps_are_compared_where_their_settings_agree(make_record):
    sweeps = [{"id": name, "command": "", "preset": None} for name in ("old", "new")]
    one = set_predictions(make_record(ONE, sweep=sweeps[0]), GOOD)
    two = set_predictions(make_record(TWO, sweep=sweeps[1]), WORSE)
    assert pair(one, two).verdict == "better"


def test_predictions_without_names_cannot_be_paired(make_record):
    one, two = (set_predictions(make_record(name), GOOD) for name in (ONE, TWO))
    one["test"]["ids"] = []
    assert pair(one, two).refused.reason == "the two share no evaluated image"


def test_p_values_are_corrected_for_all_pairs_together(make_record):
    right = {ONE: [True] * 100, TWO: [True] * 93 + [False] * 7}
    records = [set_predictions(make_record(name), hits) for name, hits in right.items()]
    assert accuracy_pair(Selection(records), ONE, TWO).verdict == "better"
    others = [set_predictions(make_record(f"other {n}"), GOOD[:93] + [False] * 7) for n in range(3)]
    selection = Selection([*records, *others])
    found = accuracy_pair(selection, ONE, TWO)
    assert found.verdict == "tie"
    # 4 variants differ from the first alike: the smallest of ten p values is tested at 0.05 ÷ 10.
    assert found.found.p_value == pytest.approx(10 * 2 / 2**7)
    assert found.found.low < 0 < found.found.high
    assert len(rankings(selection)[0][0].pairs) == 10


def test_the_interval_is_at_the_level_of_holms_test(make_record):
    wrong = {"A": 0, "B": 20, "C": 21, "D": 29}
    records = [
        set_predictions(make_record(name), [n >= number for n in range(200)])
        for name, number in wrong.items()
    ]
    (ranking,), _ = rankings(Selection(records))
    for pair in ranking.pairs:
        found = pair.found
        assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05), pair
        assert (found.verdict != "tie") == (found.p_value < 0.05)
    # Of six pairs B-D is tested as the fourth, at 0.05 ÷ 3: its own 95 % interval is narrower.
    last = ranking.pair("B", "D").found
    assert last.verdict == "better"
    assert last.high - last.low > 0.07


def test_the_latest_run_of_a_seed_counts(make_record):
    old = set_predictions(make_record(ONE, minute=1), WORSE)
    new = set_predictions(make_record(ONE, minute=2), GOOD)
    found = run_set(Selection([new, old]), ONE)
    assert list(found.runs) == [(0, None)]
    assert found.first is new


def test_records_from_before_an_option_did_what_its_default_does(make_record):
    old, new = make_record("ResNet18"), make_record("MobileNetV3_Small")
    new["config"]["progressive"] = False
    old["config"].pop("progressive", None)
    assert settings(old) == settings(new)
    new["config"]["progressive"] = True
    assert settings(old) != settings(new)
