"""Tests of what says where models are wrong: F1 of each class, calibration, its diagram."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.chapters.mistakes import MOST_CLASSES, mistakes_tables, predictions_of, verdict_of
from bench.report.render.figures import reliability_diagrams
from bench.report.render.markdown import section
from bench.stats.calibration import Bin, Calibration
from tests.report.sessions import set_predictions


def planted(make_record, name="ResNet18", classes=("a", "b", "c"), **parts):
    record = make_record(name, classes=list(classes))
    record["test"] = {
        "ids": [f"{n}.jpg" for n in range(len(parts["labels"]))], "loss": 0.3, "accuracy": 0.5,
        "macro_f1": 0.5, **parts,
    }  # fmt: skip
    return record


@pytest.fixture
def record(make_record):
    """``a``: 2 of 4 right, ``b``: 3 of 3, ``c``: 0 of 1; all at a confidence of 0.9."""
    return planted(
        make_record,
        labels=[0, 0, 0, 0, 1, 1, 1, 2],
        predictions=[0, 0, 1, 1, 1, 1, 1, 0],
        confidences=[0.9] * 8,
    )


def as_dicts(table):
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def test_the_worst_classes_stand_first(record):
    table, _ = mistakes_tables(Selection([record]))
    assert table.headers == ["Class", "Images", "ResNet18"]
    # F1 of a: 2·2/(4 + 3), of b: 2·3/(3 + 5), of c: 0.
    assert table.rows == [["c", "1", "0.0"], ["a", "4", "57.1"], ["b", "3", "75.0"]]
    raw = [dict(zip(table.raw[0], row, strict=True)) for row in table.raw[1]]
    assert [row["class"] for row in raw] == ["a", "b", "c"]
    assert raw[0]["precision"] == pytest.approx(2 / 3)
    assert raw[0]["recall"] == 0.5
    assert raw[2]["precision"] is None
    assert {row["part"] for row in raw} == {"test"}
    assert "on the test part" in table.caption


def test_variants_stand_beside_each_other(record, make_record):
    other = planted(
        make_record, "MobileNetV3_Small", labels=[2, 0], predictions=[2, 0], confidences=[0.9, 0.9]
    )
    table, calibration = mistakes_tables(Selection([record, other]))
    rows = {row["Class"]: row for row in as_dicts(table)}
    assert rows["a"]["MobileNetV3_Small"] == "100.0"
    assert rows["b"]["MobileNetV3_Small"] == "n/a"
    assert rows["a"]["Images"] == "1 or 4"
    assert "2 variants" in calibration.caption


def test_calibration_is_compared_with_chance(record):
    _, table = mistakes_tables(Selection([record]))
    (row,) = as_dicts(table)
    assert row["Images"] == "8, test"
    assert row["Accuracy (%)"] == "62.5"
    assert row["Mean confidence (%)"] == "90.0"
    assert row["Calibration error (points)"] == "27.5"
    raw = dict(zip(table.raw[0], table.raw[1][0], strict=True))
    assert raw["ece"] == pytest.approx(0.275)
    assert raw["verdict"] == row["Verdict"]
    assert "bins" not in raw


def test_few_images_show_nothing_and_many_do(make_record):
    right = [True, True, True, False] * 2
    few = set_predictions(make_record("ResNet18"), right)
    many = set_predictions(make_record("MobileNetV3_Small"), [True, False] * 100)
    sure = set_predictions(make_record("EfficientNetV2_S"), [True] * 195 + [False] * 5)
    _, table = mistakes_tables(Selection([few, many, sure]))
    # All say 0.8, of which 0.75, 0.5 and 0.975 are true.
    assert [row["Verdict"] for row in as_dicts(table)] == [
        "no miscalibration shown", "overconfident", "underconfident"
    ]  # fmt: skip


def test_p_values_are_corrected_for_the_number_of_variants(make_record):
    hits = [True] * 60 + [False] * 40
    names = ["ResNet18", "MobileNetV3_Small", "EfficientNetV2_S"]
    records = [set_predictions(make_record(name), hits) for name in names]
    alone = mistakes_tables(Selection(records[:1]))[1].raw[1][0]
    together = mistakes_tables(Selection(records))[1].raw[1][0]
    headers = list(mistakes_tables(Selection(records))[1].raw[0])
    place = headers.index("p_holm")
    assert together[place] == pytest.approx(3 * alone[place])


def test_the_verdict():
    found = Calibration(100, 0.7, 0.9, 0.2, 0.05, 0.08, 0.01, (Bin(100, 70, 0.9),))
    assert verdict_of(found, 0.049) == "overconfident"
    assert verdict_of(found, 0.05) == "no miscalibration shown"
    both = Calibration(100, 0.7, 0.75, 0.2, 0.05, 0.08, 0.01, ())
    assert verdict_of(both, 0.01) == "miscalibrated"


@pytest.mark.parametrize(
    "broken",
    [
        {"confidences": []},
        {"confidences": [0.9] * 7},
        {"confidences": [0.9] * 7 + [None]},
        {"confidences": [0.9] * 7 + [1.5]},
        {"predictions": [0] * 7 + [3]},
        {"labels": [0] * 7 + [-1]},
        {"labels": [], "predictions": [], "confidences": []},
    ],
)
def test_what_is_not_whole_is_left_out(record, drawn, tmp_path, broken):
    record["test"] |= broken
    if not broken.get("labels", True):
        record["validation"] = None
    assert predictions_of(record) is None
    for table in mistakes_tables(Selection([record])):
        assert table.rows == []
        assert "No valid complete run" in table.caption
    assert reliability_diagrams([record], tmp_path / "r.png") is None
    assert drawn == []


def test_many_classes_are_cut_in_the_table_only(make_record):
    names = [f"class {number:03}" for number in range(MOST_CLASSES + 7)]
    labels = list(range(len(names)))
    found = planted(
        make_record, classes=names, labels=labels, predictions=labels,
        confidences=[0.9] * len(names),
    )  # fmt: skip
    table, _ = mistakes_tables(Selection([found]))
    assert len(table.rows) == MOST_CLASSES
    assert "7 more classes are in the CSV" in table.caption
    assert len(table.raw[1]) == len(names)


def test_hostile_class_names_stay_in_their_cells(make_record):
    names = ["a|b\n<script>", "=cmd()", "c"]
    found = planted(
        make_record, classes=names, labels=[0, 1, 2], predictions=[0, 1, 2], confidences=[0.9] * 3
    )
    text = section(mistakes_tables(Selection([found]))[0])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert "<script>" not in text


def test_diagrams_have_a_panel_for_each_run(record, make_record, drawn, tmp_path):
    other = set_predictions(make_record("MobileNetV3_Small", synthetic=True), [True, False] * 10)
    assert reliability_diagrams([record, other], tmp_path / "r.png") == tmp_path / "r.png"
    (figure,) = drawn
    one, two = figure.axes
    assert one.get_title() == "ResNet18\nerror 27.5 points"
    assert one.get_ylabel() == "accuracy"
    points = one.collections[0].get_offsets()
    assert points.tolist() == [[pytest.approx(0.9), pytest.approx(0.625)]]
    assert two.get_title().startswith("MobileNetV3_Small")
    assert "SYNTHETIC" in figure.get_suptitle()
