"""Tests of pairs, of their tables and of the sentences about them."""

from __future__ import annotations

import csv

import attrs
import pytest

from bench.report.analysis.pairs import compare_pairs, matched, sentence
from bench.report.analysis.selection import Selection
from bench.report.analysis.timings import ratio_text
from bench.report.chapters.attention import ACCURACY, accuracy_row, pair_tables
from bench.report.render.markdown import write_csv
from bench.stats.timing import Ratio
from tests.report.sessions import MAIN, TRAIN, set_predictions, timed_together, timing_only

ONE, TWO = "ResNet18_Hybrid", "ResNet18"
PAIR = [(ONE, TWO)]
GOOD = [True] * 100


@pytest.fixture
def timed(make_record):
    """A function: records of both variants with planted seconds and hits."""

    def build(slow=0.011, right=(GOOD, GOOD), **more):
        records = timed_together(make_record, {TWO: 0.010, ONE: slow}, **more)
        for record, hits in zip(records, reversed(right), strict=True):
            set_predictions(record, hits)
        records[1]["variant"]["baseline"] = TWO
        return records

    return build


def words(records) -> str:
    (pair,) = compare_pairs(Selection(records), PAIR)
    return sentence(pair)


def test_the_matched_baseline_is_used_where_both_ran(timed, make_record):
    records = timed()
    assert matched(Selection(records)) == PAIR
    assert matched(Selection(records[1:])) == []
    lonely = make_record("EfficientNetV2_S_CA")
    lonely["variant"]["baseline"] = "EfficientNetV2_S"
    assert matched(Selection([*records, lonely])) == PAIR


def test_a_cost_in_speed_without_a_gain_is_said_plainly(timed):
    text = words(timed(right=([True] * 23, [True] * 23)))
    assert text.startswith(f"{ONE} against {TWO}: costs ")
    assert "% speed (CPU, 2 threads, batch 1, 224 pixels) and " in text
    assert (
        "gains nothing measurable on this data (23 test images, of these trained models: "
    ) in text
    assert "a difference below " in text
    assert "points would likely not have been seen" in text


def test_the_cost_is_the_change_of_the_speed(timed):
    text = words(timed(slow=0.020, spread=0.0001))
    assert (
        "costs 50 % speed (CPU, 2 threads, batch 1, 224 pixels) and 50 % (CPU, 2 threads, "
        "batch 16, 224 pixels) and gains"
    ) in text


def test_a_gain_in_accuracy_is_given_with_its_interval(timed):
    text = words(timed(right=(GOOD, [True] * 80 + [False] * 20)))
    assert "gains 20 points of accuracy (interval +" in text
    text = words(timed(right=([True] * 80 + [False] * 20, GOOD)))
    assert "loses 20 points of accuracy (interval -" in text


def test_a_tie_in_speed_says_what_would_have_been_seen(timed):
    text = words(timed(slow=0.010))
    assert (
        "shows no measurable difference in speed (CPU, 2 threads, batch 1, 224 pixels; CPU, "
        "2 threads, batch 16, 224 pixels: "
    ) in text
    assert "a difference below 3 % would likely not have been seen" in text
    assert "costs" not in text


def test_what_would_have_been_seen_is_corrected_for_the_comparisons(timed, make_record):
    def visible(others):
        seconds = {TWO: 0.010, ONE: 0.010, **dict.fromkeys(others, 0.010)}
        records = timed_together(make_record, seconds, spread=0.05)
        (pair,) = compare_pairs(Selection(records), PAIR)
        return pair.speeds[1]

    two, many = visible([]), visible([f"Other{number}" for number in range(8)])
    assert (two.comparisons, many.comparisons) == (1, 45)
    assert many.ratio.minimum_detectable_difference > 1.3 * two.ratio.minimum_detectable_difference
    # The interval is at the level of the test too.
    assert many.ratio.low < two.ratio.low < 1 < two.ratio.high < many.ratio.high


def test_a_faster_variant_gains_speed(timed):
    assert f"{ONE} against {TWO}: gains " in words(timed(slow=0.005))


def test_few_rounds_are_undecided_and_nothing_is_claimed(timed):
    text = words(timed(rounds=3))
    assert "costs" not in text
    assert (
        "Speed undecided: CPU, 2 threads, batch 1, 224 pixels (3 rounds, an interval needs 6); "
        "CPU, 2 threads, batch 16, 224 pixels (3 rounds, an interval needs 6)."
    ) in text


def test_without_a_common_session_only_accuracy_is_compared(timed):
    records = timed()
    records[0]["session"] = {**records[0]["session"], "id": "another"}
    text = words(records)
    assert "Speed not compared: the two were not timed in one session." in text
    assert "gains nothing measurable" in text


def test_without_accuracy_only_speed_is_compared(timed):
    text = words([timing_only(record) for record in timed()])
    assert text.startswith(f"{ONE} against {TWO}: costs ")
    assert text.endswith(f"Accuracy not compared: {ONE} was not trained: it has no accuracy.")


def test_undertrained_runs_keep_their_speed_and_lose_their_accuracy(timed):
    records = timed()
    records[1]["test"]["predictions"] = [0] * 100
    text = words(records)
    assert "costs" in text
    assert "Accuracy not compared: ResNet18_Hybrid, seed 0: undertrained: predicts a" in text


def test_an_invalid_run_is_not_compared_at_all(timed):
    records = timed()
    records[1]["counts"]["parameters_declared"] = 1
    assert words(records).startswith(
        f"{ONE} is not compared with {TWO}: {ONE}: invalid: 11,388,154 parameters"
    )


def test_with_nothing_to_compare_the_sentence_says_why(timed):
    records = [timing_only(record) for record in timed()]
    for record in records:
        record["timing"] = []
    assert words(records) == (
        f"{ONE} against {TWO}: speed not compared: the two were not timed in one session. "
        f"Accuracy not compared: {ONE} was not trained: it has no accuracy."
    )


# --- tables ----------------------------------------------------------------------------------


def test_the_tables_have_a_row_for_each_pair_and_each_case(timed):
    tables = pair_tables(Selection(timed(kinds=[*MAIN, TRAIN])))
    assert [table.id for table in tables] == ["pairs", "pairs-accuracy", "pairs-speed"]
    assert [len(table.rows) for table in tables] == [1, 1, 3]
    row = dict(zip(tables[1].headers, tables[1].rows[0], strict=True))
    assert row["Δ params"] == "+206,512 (+1.85 %)"
    assert row["Δ GMACs at 224"] == "+0.0104 (+0.57 %)"
    assert row["Verdict"] == "~ tie"
    assert row["Images"] == "100 test images"
    cases = [row[2] for row in tables[2].rows]
    assert cases[2] == "CPU, training step, batch 16, 224 pixels, 2 threads, float32"
    assert {row[5] for row in tables[2].rows} == {"slower"}
    assert "Holm's correction for 1 comparison" in tables[1].caption


def test_the_csv_of_pairs_is_unrounded(timed, tmp_path):
    tables = pair_tables(Selection(timed(right=(GOOD, [True] * 93 + [False] * 7))))
    with write_csv(tables[1], tmp_path).open(encoding="utf8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["difference"]) == pytest.approx(0.07)
    assert float(row["p_value"]) == 2 * 0.5**7
    assert float(row["low"]) > 0
    assert row["scope"] == "trained models"
    assert row["verdict"] == "better"
    assert float(row["parameters_difference"]) == 206512
    with write_csv(tables[2], tmp_path).open(encoding="utf8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["clock"] == "model"
    assert float(rows[0]["low"]) < float(rows[0]["ratio"]) < float(rows[0]["high"])


def test_a_refused_pair_is_a_row_with_its_reason(timed):
    records = timed()
    records[1]["data"]["fingerprint"] = "77aa"
    row = pair_tables(Selection(records))[1].rows[0]
    assert row[2].startswith("n/a (data fingerprints differ: ResNet18_Hybrid 77aa, ResNet18 3f9a")
    assert row[4] == "not compared"


def test_an_invalid_pair_is_a_row_with_its_reason_and_no_figure(timed):
    records = timed()
    records[0]["counts"]["parameters_declared"] = 1
    tables = pair_tables(Selection(records))
    row = tables[1].rows[0]
    assert row[2].startswith("n/a (ResNet18: invalid: ")
    assert set(row[3:]) == {"n/a", "not compared"}
    assert tables[2].rows == []


def test_a_report_without_pairs_has_empty_tables_and_no_csv(make_record):
    tables = pair_tables(Selection([make_record("ResNet18")]))
    assert [table.rows for table in tables] == [[], [], []]
    assert not any(table.csv for table in tables)


def test_heads_of_different_classes_are_not_subtracted(timed):
    records = timed()
    records[1]["data"]["classes"] = ["a", "b"]
    (pair,) = compare_pairs(Selection(records), PAIR)
    assert pair.parameters is None
    assert pair.gmacs is not None


def test_timings_alone_have_the_heads_they_were_counted_with(timed):
    records = [timing_only({**record, "data": None}) for record in timed()]
    for record, classes in zip(records, (10, 13), strict=True):
        record["counts"]["num_classes"] = classes
    (pair,) = compare_pairs(Selection(records), PAIR)
    assert pair.parameters is None
    records[1]["counts"]["num_classes"] = 10
    (pair,) = compare_pairs(Selection(records), PAIR)
    assert pair.parameters is not None


def test_no_rounded_cell_contradicts_a_verdict(timed):
    (pair,) = compare_pairs(Selection(timed(right=(GOOD, [True] * 80 + [False] * 20))), PAIR)
    found = attrs.evolve(pair.accuracy.found, difference=0.03, low=0.0004, high=0.05)
    found = attrs.evolve(found, p_value=0.0496, minimum_detectable=0.0003)
    close = attrs.evolve(pair, accuracy=attrs.evolve(pair.accuracy, found=found))
    row = dict(zip(ACCURACY, accuracy_row(close), strict=True))
    assert row["Verdict"] == "better"
    assert row["Δ accuracy (points), interval"] == "+3.0 [+0.04 to +5.0]"
    assert row["p, adjusted"] == "0.0496"
    assert row["Minimum detectable (points)"] == "0.03"
    assert "(interval +0.04 to +5.0, 100 test images" in sentence(close)
    ratio = Ratio(1.02, 1.0004, 1.04, 0.01, 10, 0.02)
    assert ratio_text(ratio) == "1.020 [1.0004–1.040]"


def test_the_table_says_that_images_are_counted_for_each_seed(timed):
    caption = pair_tables(Selection(timed()))[1].caption
    assert "Right only in one of the two: counted over all seeds" in caption
