"""Tests of the accuracy ranks."""

from __future__ import annotations

import pytest

from bench.report.analysis.ranking import accuracy_text, ranking_table, rankings
from bench.report.analysis.run_sets import run_set
from bench.report.analysis.seeds import macro_f1_of
from bench.report.analysis.selection import Selection
from tests.report.sessions import set_predictions, timing_only

GOOD = [True] * 100
SLIGHTLY = [True] * 98 + [False] * 2
WORSE = [True] * 70 + [False] * 30


@pytest.fixture
def ranked(make_record):
    """A function: records of variants with planted hits."""

    def build(**right):
        return [set_predictions(make_record(name), hits) for name, hits in right.items()]

    return build


def rows(records) -> dict[str, dict[str, str]]:
    table = ranking_table(Selection(records))
    found = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    return {row["Variant"]: row for row in found}


def test_ties_share_a_rank_and_a_declared_difference_does_not(ranked):
    found = rows(ranked(C=WORSE, A=GOOD, B=SLIGHTLY))
    assert {name: row["Rank"] for name, row in found.items()} == {"A": "1", "B": "1", "C": "3"}
    assert list(found) == ["A", "B", "C"]
    assert [row["Cannot be told from"] for row in found.values()] == ["B", "A", "none"]
    assert found["C"]["Accuracy (%), 95 % interval"] == "70.0 [60.4–78.1], n 100"
    assert found["C"]["Part"] == "test"


def test_what_ties_with_all_others_is_said_in_two_words(ranked):
    found = rows(ranked(A=GOOD, B=SLIGHTLY, C=GOOD, D=GOOD))
    assert {row["Cannot be told from"] for row in found.values()} == {"all others"}


def test_who_takes_no_rank_stands_last_with_the_reason(ranked, make_failed, make_record):
    records = ranked(A=GOOD, B=GOOD, C=GOOD, D=GOOD)
    records[0]["test"]["predictions"] = [0] * 100
    records[1]["counts"]["parameters_declared"] = 1
    failed, untrained = make_failed("E", "OSError", "disk full"), timing_only(make_record("F"))
    found = rows([*records, failed, untrained])
    assert list(found) == ["C", "D", "A", "B", "E", "F"]
    assert {found[name]["Rank"] for name in "ABEF"} == {"n/a"}
    text = "Accuracy (%), 95 % interval"
    assert found["A"][text] == "n/a (seed 0: undertrained: predicts a single class)"
    assert found["B"][text].startswith("n/a (invalid: 1,000,000 parameters")
    assert found["E"][text] == "n/a (run failed: OSError: disk full)"
    assert found["F"][text] == "n/a (F was not trained: it has no accuracy)"


def test_variants_on_other_data_are_ranked_apart(ranked):
    records = ranked(A=GOOD, B=WORSE, C=GOOD, D=WORSE)
    for record in records[2:]:
        record["data"]["fingerprint"] = "77aa"
    found = rows(records)
    assert {name: (row["Set"], row["Rank"]) for name, row in found.items()} == {
        "A": ("1", "1"), "B": ("1", "2"), "C": ("2", "1"), "D": ("2", "2"),
    }  # fmt: skip
    assert "ranked apart" in ranking_table(Selection(records)).caption


def test_a_variant_alone_has_no_rank(ranked):
    found = rows(ranked(A=GOOD))
    assert found["A"]["Rank"] == "n/a (nothing to compare with)"


def test_seeds_have_mean_and_range(make_record):
    records = [
        set_predictions(make_record("A", seed=seed), [True] * right + [False] * (100 - right))
        for seed, right in enumerate((90, 92, 97))
    ]
    assert accuracy_text(run_set(Selection(records), "A")) == (
        "93.0 [83.0–97.3], 3 seeds 90.0–97.0, n 100"
    )


def test_folds_are_one_accuracy_over_all_images(make_record):
    records = []
    for fold, right in enumerate((10, 8)):
        hits = [True] * right + [False] * (10 - right)
        record = set_predictions(make_record("A"), hits, first=10 * fold)
        record["data"]["fold"] = {"number": fold + 1, "of": 2}
        records.append(record)
    text = accuracy_text(run_set(Selection(records), "A"))
    assert text.startswith("90.0 [")
    assert text.endswith("n 20, 2 folds")


def test_a_collapsed_fold_takes_no_rank(make_record):
    records = []
    for fold in range(3):
        record = set_predictions(make_record("A"), [True] * 20, first=20 * fold)
        record["data"]["fold"] = {"number": fold + 1, "of": 3}
        records.append(record)
    records[2]["test"]["predictions"] = [4] * 20
    found, left_out = rankings(Selection(records))
    assert found == []
    assert left_out == {"A": "undertrained: 1 of 3 folds: predicts a single class"}


def test_ten_variants_are_corrected_for_45_comparisons(ranked):
    letters = "ABCDEFGHIJ"
    records = ranked(**dict.fromkeys(letters, GOOD))
    ((ranking,), left_out) = rankings(Selection(records))
    assert len(ranking.pairs) == 45
    assert left_out == {}
    assert set(ranking.ranks().values()) == {1}
    assert "for 45 comparisons" in ranking_table(Selection(records)).caption


def test_a_report_without_accuracy_has_no_ranking(make_record):
    table = ranking_table(Selection([timing_only(make_record("A"))]))
    assert table.caption.endswith("No two accuracies can be compared.")
    assert table.rows[0][0] == "n/a"


def test_a_record_without_a_macro_f1_has_none(make_record):
    runs = [make_record(name) for name in ("A", "B")]
    for run in runs:
        run["validation"], run["metrics"]["valid_acc"] = {"macro_f1": None}, 0.9
    assert macro_f1_of(runs[:1]) is None
    found = rows(runs)
    assert {row["Macro-F1, 95 % interval"] for row in found.values()} == {"n/a"}
