"""Tests of what a run says of its accuracies when it has ended."""

from __future__ import annotations

from bench.cli.run import _summary
from bench.report.render.terminal import closing_lines
from tests.report.sessions import set_predictions


def test_the_test_part_is_named_with_its_interval_beside_the_validation_part(make_record, tmp_path):
    record = set_predictions(make_record("A"), [n >= 10 for n in range(100)])
    record["metrics"]["valid_acc"] = 0.987
    record["training"]["best_macro_f1"] = 0.9
    row = _summary(tmp_path, record, several=False)
    assert row["accuracy (%), 95 % interval"] == "90.0 [82.6–94.5], n 100, test"
    assert row["validation (%)"] == "98.7"
    (line,) = closing_lines([record])
    assert line.startswith("accuracy: on the test part, which report and compare judge by; ")


def test_without_a_test_part_the_terminal_says_so(make_record):
    (line,) = closing_lines([make_record("A")])
    assert line.startswith("accuracy: on the validation part, since there is no test part; ")
    assert "flatters" in line


def test_ranks_and_declared_pairs_follow(make_record):
    records = [
        set_predictions(make_record(name), [n >= wrong for n in range(200)])
        for name, wrong in (("A", 2), ("B", 4), ("C", 60))
    ]
    lines = closing_lines(records)
    assert [line.split("  ")[0] for line in lines[1:4]] == ["rank 1: A", "rank 1: B", "rank 3: C"]
    assert lines[4].startswith("A is better than C: +29.0 points [+")
    assert lines[6] == "1 of 3 pairs cannot be told apart"
    assert "of these trained models" in lines[7]
    assert "add --seeds 3" in lines[7]


def test_nothing_finished_says_nothing(make_failed):
    assert closing_lines([make_failed("A", "OSError", "disk full")]) == []
