"""Tests of the tables of inference modes, and that no other table changes with them."""

from __future__ import annotations

import csv

from bench.report.analysis.selection import Selection, timing_note
from bench.report.analysis.timings import timing_entry
from bench.report.chapters.backends import mode_tables
from bench.report.render.document import all_tables
from bench.report.render.markdown import write_csv
from tests.report.sessions import timed_in_modes, timed_together

SPEEDS = {"ResNet18": 0.010, "MobileNetV3_Small": 0.004}
GAINS = {"folded": 1.2, "compiled": 1.5, "onnxruntime": 1.5}


def rows_of(table) -> dict[tuple[str, str], dict[str, str]]:
    return {(row[0], row[1]): dict(zip(table.headers, row, strict=True)) for row in table.rows}


def only(records):
    (table,) = mode_tables(Selection(records))
    return table


def test_records_without_modes_have_no_such_table(make_record):
    records = timed_together(make_record, SPEEDS)
    assert mode_tables(Selection(records)) == []
    for record in records:
        for entry in record["timing"]:
            del entry["mode"]
    assert mode_tables(Selection(records)) == []


def test_every_variant_and_mode_has_both_regimes(make_record):
    table = only(timed_in_modes(make_record, SPEEDS, GAINS))
    assert table.title == "How a model is run: CPU, 224 pixels, 2 threads, float32"
    rows = rows_of(table)
    assert [*rows] == [(name, mode) for name in SPEEDS for mode in ("eager", *GAINS)]
    folded = rows["ResNet18", "folded"]
    assert "[" in folded["Images/s at batch 16, 95 % interval"]
    assert "[" in folded["Latency at batch 1 (ms), 95 % interval"]
    assert folded["Speed ÷ own eager"].startswith("1.2")
    assert folded["1 ÷ latency, ÷ own eager"].startswith("1.2")
    assert (folded["Verdict"], folded["Verdict (latency)"]) == ("faster", "faster")
    eager = rows["ResNet18", "eager"]
    assert (eager["Speed ÷ own eager"], eager["Verdict"]) == ("1 (reference)", "reference")
    assert eager["Largest difference of outputs"] == "reference"


def test_the_best_is_marked_alone_or_shared(make_record):
    shared = rows_of(only(timed_in_modes(make_record, SPEEDS, GAINS)))
    assert shared["ResNet18", "compiled"]["Verdict"] == "faster; ~ best"
    assert shared["ResNet18", "onnxruntime"]["Verdict (latency)"] == "faster; ~ best"
    alone = rows_of(only(timed_in_modes(make_record, SPEEDS, {"folded": 0.5})))
    assert alone["ResNet18", "eager"]["Verdict"] == "reference; best"
    assert alone["ResNet18", "folded"]["Verdict"] == "slower"


def test_a_failed_mode_keeps_its_row_with_the_reason(make_record):
    failed = {("ResNet18", "compiled"): "RuntimeError: no | compiler"}
    table = only(timed_in_modes(make_record, SPEEDS, GAINS, failed=failed))
    row = rows_of(table)["ResNet18", "compiled"]
    assert row["Verdict"] == "n/a (RuntimeError: no | compiler)"
    assert row["Images/s at batch 16, 95 % interval"] == "n/a"
    assert row["Largest difference of outputs"] == "n/a"
    assert rows_of(table)["MobileNetV3_Small", "compiled"]["Verdict"] == "faster; ~ best"


def test_what_a_mode_took_and_changed_is_shown(make_record):
    row = rows_of(only(timed_in_modes(make_record, SPEEDS, GAINS)))["ResNet18", "onnxruntime"]
    assert row["Before the first image (s)"] == "compiled 41.5, exported 5, loaded 0.3"
    assert row["Largest difference of outputs"] == "2.0e-06"


def test_a_mode_that_takes_no_preparation_says_so(make_record):
    records = timed_in_modes(make_record, SPEEDS, {"folded": 1.2})
    for entry in records[0]["timing"]:
        if entry["mode"] == "folded":
            entry["mode_facts"] = {"max_difference": 1e-6, "max_relative_difference": 1e-6}
    row = rows_of(only(records))["ResNet18", "folded"]
    assert row["Before the first image (s)"] == "none"


def test_an_older_record_without_facts_is_shown_without_them(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    for record in records:
        for entry in record["timing"]:
            entry.pop("mode_facts", None)
    row = rows_of(only(records))["ResNet18", "compiled"]
    assert row["Before the first image (s)"] == "n/a"
    assert row["Largest difference of outputs"] == "n/a"
    assert row["Verdict"] == "faster; ~ best"


def test_the_caption_says_how_sure_and_with_which_packages(make_record):
    text = only(timed_in_modes(make_record, SPEEDS, GAINS)).caption
    for part in (
        "AMD EPYC 7B13 (machine 3fa9b2c1)",
        "10 rounds, every mode in the same process",
        "Noise floor of eager (A/A of ResNet18): ",
        "12 (throughput) and 12 (latency)",
        "Versions: torch 2.14.1, onnxruntime 1.30, ONNX opset 20.",
    ):
        assert part in text


def test_few_rounds_have_no_interval_and_no_verdict(make_record):
    table = only(timed_in_modes(make_record, SPEEDS, GAINS, rounds=3))
    row = rows_of(table)["ResNet18", "compiled"]
    assert row["Verdict"] == "undecided: 3 rounds, an interval needs 6"
    assert row["Speed ÷ own eager"].endswith("(no interval)")
    assert "No noise floor: no verdict." in table.caption


def test_the_csv_has_a_row_for_each_regime(make_record, tmp_path):
    failed = {("ResNet18", "compiled"): "no compiler"}
    table = only(timed_in_modes(make_record, SPEEDS, GAINS, failed=failed))
    with write_csv(table, tmp_path).open(encoding="utf8") as file:
        rows = {(r["variant"], r["mode"], r["regime"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * 4 * 2
    folded = rows["ResNet18", "folded", "throughput"]
    assert float(folded["ratio_low"]) < 1.2 < float(folded["ratio_high"])
    assert len(folded["seconds_per_step"]) > 8
    assert rows["ResNet18", "compiled", "latency"]["error"] == "no compiler"


def test_sessions_have_tables_of_their_own(make_record):
    one = timed_in_modes(make_record, SPEEDS, GAINS, session="s1")
    two = timed_in_modes(make_record, SPEEDS, GAINS, session="s2")
    tables = mode_tables(Selection([*one, *two]))
    assert len({table.id for table in tables}) == 2
    assert tables[1].title.endswith("(session s2)")


def test_no_other_table_changes_with_the_modes(make_record):
    def others(records):
        return [
            (table.id, table.rows, table.caption)
            for chapter in all_tables(Selection(records))
            for table in chapter.tables
            if not table.id.startswith(("modes", "deployment"))
        ]

    failed = {("ResNet18", "compiled"): "no compiler"}
    mixed = timed_in_modes(make_record, SPEEDS, GAINS, failed=failed)
    assert others(mixed) == others(timed_together(make_record, SPEEDS))


def test_the_figure_of_a_run_is_eager_even_where_another_mode_comes_last(make_record):
    record = timed_in_modes(make_record, SPEEDS, {"folded": 9.0})[0]
    assert timing_entry(record, "cpu", 224)["mode"] == "eager"
    assert "folded" not in timing_note([record])


def test_the_file_has_the_corrected_p_value_and_the_intervals_level(make_record):
    table = only(timed_in_modes(make_record, SPEEDS, GAINS))
    lines = [dict(zip(table.raw[0], line, strict=True)) for line in table.raw[1]]
    judged = [line for line in lines if line["mode"] != "eager"]
    assert judged
    for line in judged:
        assert line["p_adjusted"] >= line["p_value"]
        assert (line["p_adjusted"] < 0.05) == (line["p_value"] < line["level"])
    assert min(line["level"] for line in judged) < 0.05
