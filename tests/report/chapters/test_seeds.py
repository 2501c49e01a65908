"""Tests of the table of seeds and folds."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.chapters.seeds import spread_table

ACCURACY = "Accuracy (%), mean (range)"


@pytest.fixture
def seeds(make_record, make_tested):
    """A run for each number of hits, with seeds 0, 1, 2 …"""

    def make(hits, images):
        return [make_tested(make_record(seed=s), hit, images) for s, hit in enumerate(hits)]

    return make


def cells(records):
    table = spread_table(Selection(records))
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def test_the_table_has_mean_range_and_n(seeds):
    records = seeds([68, 70, 72], 100)
    for speed, record in zip((6.0, 7.0, 8.0), records, strict=True):
        record["training"]["images_per_s"] = speed
    (row,) = cells(records)
    assert row["Runs"] == "3 seeds (0, 1, 2)"
    assert row[ACCURACY] == "70.0 (68.0–72.0), n 100, test"
    assert row["95 % interval"] == "60.3–78.2"
    assert row["Macro-F1, mean (range)"] == "0.700 (0.680–0.720)"
    assert row["Training images/s, mean (range)"] == "7 (6–8)"
    headers, (raw,) = spread_table(Selection(records)).raw
    line = dict(zip(headers, raw, strict=True))
    assert (line["part"], line["seeds"], line["runs"], line["images"]) == ("test", 3, 3, 100)
    assert (line["accuracy_mean"], line["accuracy_most"]) == (pytest.approx(0.7), 0.72)
    assert line["train_images_per_s_mean"] == pytest.approx(7)


def test_one_seed_is_called_so(make_record, make_tested):
    one, two = make_record(), make_record("ResNet18")
    two["training"]["images_per_s"] = None
    first, second = cells([make_tested(one, 90, 100), two])
    assert first["Runs"] == "1 seed (0)"
    assert first[ACCURACY] == "90.0, n 100, test"
    assert first["95 % interval"] == "82.6–94.5"
    assert second["Training images/s, mean (range)"] == "n/a (not recorded)"
    assert second[ACCURACY].endswith("n 120, validation")


def test_the_table_has_folds_and_two_seeds(seeds):
    (row,) = cells(seeds([18, 20], 20))
    assert row["95 % interval"] == "9.5–100.0"
    records = seeds([18, 20, 19], 20)
    for number, record in enumerate(records, start=1):
        record["config"]["seed"] = 0
        record["data"]["fold"] = {"number": number, "of": 3}
        record["test"]["ids"] = [f"{number}-{name}" for name in record["test"]["ids"]]
    (row,) = cells(records)
    assert row["Runs"] == "1 seed (0), 3 of 3 folds"
    assert row[ACCURACY] == "95.0, n 60, test, 3 folds pooled"
    assert row["95 % interval"] == "86.3–98.3"


def test_the_table_shows_what_is_gated_with_its_reason(seeds):
    records = seeds([18, 20, 19], 20)
    records[0]["test"]["loss"] = None
    records[1]["test"]["predictions"] = [0] * 20
    (row,) = cells(records)
    assert row["Runs"] == "3 seeds (0, 1, 2); 1 invalid, left out"
    expected = "undertrained (52.5 (10.0–95.0): 1 of 2 seeds: predicts a single class)"
    assert row[ACCURACY] == expected
    assert row["95 % interval"] == "n/a"
    for record in records:
        record["test"]["loss"] = None
    table = spread_table(Selection(records))
    assert set(table.rows[0][2:]) == {"invalid (test loss is NaN or infinite)"}
    assert table.raw[1][0][1:] == [None, 0, 0, *[None] * 10]


def test_the_table_of_runs_without_accuracy_and_of_nothing(make_record, make_failed):
    (row,) = cells([make_record(validation=None, metrics={})])
    assert row[ACCURACY] == "n/a (accuracy not recorded)"
    assert cells([make_failed("ResNet18", "E", "x")]) == []


def test_the_table_tells_machines_apart(make_record):
    other = make_record("ResNet18")
    other["environment"]["machine"] = "ffff0000"
    assert [row["Machine"] for row in cells([make_record(), other])] == ["M1", "M2"]
    assert "M2: machine ffff0000" in spread_table(Selection([make_record(), other])).caption
