"""Tests of the table of validation and test accuracy."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import Accuracy, part_accuracy
from bench.report.chapters.bias import bias_table, newcombe
from bench.stats.accuracy import difference_of_shares


def rows(records):
    table = bias_table(Selection(records))
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def validated(record, hits, images):
    classes = len(record["data"]["classes"])
    labels = [index % classes for index in range(images)]
    guesses = [
        label if index < hits else (label + 1) % classes for index, label in enumerate(labels)
    ]
    record["validation"] |= {"labels": labels, "predictions": guesses, "ids": []}
    return record


@pytest.mark.parametrize(
    ("one", "two", "bounds"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_newcombes_interval_has_the_published_values(one, two, bounds):
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10.
    found = newcombe(*(Accuracy(hits / n, None, None, n, None) for hits, n in (one, two)))
    assert found == pytest.approx(bounds, abs=1e-4)


def test_both_accuracies_and_their_difference(make_record, make_tested):
    record = make_tested(validated(make_record(), 56, 70), 48, 80)
    (row,) = rows([record])
    assert row["Validation accuracy (%)"] == "80.0 [69.2–87.7]"
    assert row["Images, validation"] == "70"
    assert row["Test accuracy (%)"] == "60.0 [49.0–70.0]"
    assert row["Images, test"] == "80"
    assert row["Difference (points)"] == "+20.0 [+5.2 to +33.4]"
    table = bias_table(Selection([record]))
    assert table.caption.startswith("The best epoch is chosen on the validation part")
    line = dict(zip(table.raw[0], table.raw[1][0], strict=True))
    assert line["difference"] == pytest.approx(0.2)
    assert (line["valid_images"], line["test_images"]) == (70, 80)


def test_several_seeds_have_means_and_the_range_of_the_differences(make_record, make_tested):
    records = [
        make_tested(validated(make_record(seed=seed), valid, 50), test, 20 + seed)
        for seed, valid, test in ((0, 45, 18), (1, 40, 21))
    ]
    (row,) = rows(records)
    assert row["Validation accuracy (%)"] == "85.0 (80.0–90.0)"
    assert row["Test accuracy (%)"] == "95.0 (90.0–100.0)"
    assert row["Images, test"] == "20–21"
    assert row["Difference (points)"] == "-10.0 (-20.0 to +0.0)"


def test_folds_of_a_seed_are_pooled(make_record, make_tested):
    records = [make_tested(validated(make_record(), 9, 10), hits, 20) for hits in (18, 20)]
    for number, record in enumerate(records, start=1):
        record["data"]["fold"] = {"number": number, "of": 2}
    (row,) = rows(records)
    assert (row["Images, validation"], row["Images, test"]) == ("20", "40")
    assert row["Difference (points)"].startswith("-5.0 [")


def test_what_cannot_be_told_says_why(make_record, make_tested, make_failed):
    invalid = make_tested(make_record("ResNet18"), 20, 23)
    invalid["test"]["loss"] = None
    collapsed = make_tested(make_record("EfficientNetV2_S"), 20, 23)
    collapsed["test"]["predictions"] = [0] * 23
    bare = make_record("EfficientNet_Lite0", validation={"macro_f1": 0.5})
    alone = make_record("MobileNetV3_Small", training=None, validation=None, metrics=None)
    records = [make_record(), invalid, collapsed, bare, alone, make_failed("My_Own", "E", "x")]
    found = {row["Variant"]: row for row in rows(records)}
    assert list(found) == [
        "EfficientNetV2_S_CA", "ResNet18", "EfficientNetV2_S", "EfficientNet_Lite0",
    ]  # fmt: skip
    assert found["EfficientNetV2_S_CA"]["Difference (points)"] == "n/a (no test part)"
    assert found["ResNet18"]["Test accuracy (%)"].startswith("invalid (test loss")
    test = found["EfficientNetV2_S"]["Test accuracy (%)"]
    assert test.startswith("undertrained (13.0")
    assert found["EfficientNet_Lite0"]["Validation accuracy (%)"].startswith("n/a (no predictions")
    assert rows([]) == []


def test_images_in_groups_count_as_few_as_they_are_worth(make_record, make_tested):
    record = make_tested(validated(make_record(), 60, 80), 60, 100)
    (alone,) = rows([record])
    record["validation"]["ids"] = [f"v{n}.jpg" for n in range(80)]
    record["data"]["units"] = {
        **{f"v{n}.jpg": f"v{n - n % 4}.jpg" for n in range(80)},
        **{name: f"t{n // 4}" for n, name in enumerate(record["test"]["ids"])},
    }
    (grouped,) = rows([record])
    parts = [part_accuracy(record, part) for part in ("validation", "test")]
    assert [round(one.effective) for one in parts] == [19, 24]
    counts = [(one.share * one.effective, one.effective) for one in parts]
    low, high = difference_of_shares(*counts)
    assert grouped["Difference (points)"] == f"+15.0 [{100 * low:+.1f} to {100 * high:+.1f}]"
    assert alone["Difference (points)"] != grouped["Difference (points)"]
