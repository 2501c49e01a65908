"""Tests of the tables of copies and of the images that had one in training."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.chapters.duplicates import copies_table, leak_table


def copies(**changes):
    return {
        "method": "perceptual hash of 64 bits",
        "threshold_bits": 4,
        "dedup": "none",
        "exact": {"groups": 16, "files": 33, "redundant_files": 17},
        "near": {"groups": 18, "files": 38, "redundant_files": 20},
        "groups": [["a.jpg", "b.jpg"]],
        "valid_with_twin": [],
        "test_with_twin": [],
        **changes,
    }


def rows(table):
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def test_copies_are_counted_for_each_set_of_data(make_record):
    one, same, kept, bare = (make_record(name) for name in ("A", "B", "C", "D"))
    for record in (one, same):
        record["data"]["copies"] = copies()
    kept["data"] |= {"fingerprint": "beef", "copies": copies(dedup="group")}
    bare["data"]["fingerprint"] = "cafe"
    table = copies_table(Selection([one, same, kept, bare]))
    found = rows(table)
    assert [row["Data"] for row in found] == ["3f9a1c0de4b7"] * 2 + ["beef"] * 2 + ["cafe"]
    assert found[0]["Duplicates"] == "exact"
    counts = [found[0][name] for name in ("Groups", "Files", "Redundant files")]
    assert counts == ["16", "33", "17"]
    assert found[1]["Found by"] == "perceptual hash of 64 bits, at most 4 bits"
    assert found[1]["Redundant files"] == "20"
    last = table.headers[-1]
    assert [row[last] for row in found] == ["no (--dedup none)"] * 2 + ["yes"] * 2 + ["n/a"]
    assert found[4]["Duplicates"] == "n/a (copies were not looked for)"
    assert copies_table(Selection([])).rows == []


def test_accuracy_is_shown_with_and_without_the_images_that_leaked(make_record, make_tested):
    record = make_tested(make_record(), 20, 23)
    twins = ["t0.jpg", "t1.jpg", "t22.jpg", "unused.jpg"]
    record["data"]["copies"] = copies(test_with_twin=twins)
    valid, test, _ = rows(leak_table(Selection([record])))
    assert (valid["Part"], valid["With a copy there"]) == ("validation", "0")
    assert valid["Accuracy (%), without them"] == "the same: no image has a copy in training"
    assert (test["Part"], test["Copies in"], test["Images"]) == ("test", "training", "23")
    assert test["With a copy there"] == "3"
    assert test["Accuracy (%), all images"] == "87.0 [67.9–95.5]"
    assert test["Accuracy (%), without them"] == "90.0 [69.9–97.2], n 20"
    headers, (_, line, _) = leak_table(Selection([record])).raw
    raw = dict(zip(headers, line, strict=True))
    assert (raw["with_twin"], raw["images_without"]) == (3, 20)
    assert raw["accuracy_without"] == pytest.approx(18 / 20)


def test_copies_in_validation_count_as_those_in_training_do(make_record, make_tested):
    record = make_tested(make_record(), 20, 23)
    own = record["validation"]["ids"]
    groups = [[own[0], "t0.jpg", "t22.jpg"], [own[1], "t3.jpg"], ["x.jpg", "t4.jpg"]]
    record["data"]["copies"] = copies(groups=groups)
    for known in (None, ["t0.jpg", "t22.jpg", "t3.jpg"]):
        # A record from before they were counted has the groups.
        if known is not None:
            record["data"]["copies"] |= {"groups": [], "test_with_twin_in_valid": known}
        table = leak_table(Selection([record]))
        _, trained, chosen = rows(table)
        assert (trained["Copies in"], trained["With a copy there"]) == ("training", "0")
        assert (chosen["Part"], chosen["Copies in"]) == ("test", "validation")
        assert chosen["With a copy there"] == "3"
        assert chosen["Accuracy (%), without them"] == "90.0 [69.9–97.2], n 20"
        headers, (*_, line) = table.raw
        raw = dict(zip(headers, line, strict=True))
        assert (raw["part"], raw["copies_in"], raw["with_twin"]) == ("test", "validation", 3)
        assert raw["accuracy_without"] == pytest.approx(18 / 20)


def test_every_seed_and_fold_has_its_rows(make_record, make_tested):
    records = [make_tested(make_record(seed=seed), 20, 23) for seed in (0, 1)]
    records[1]["data"]["fold"] = {"number": 1, "of": 5}
    found = rows(leak_table(Selection(records)))
    assert [row["Seed"] for row in found] == ["0"] * 3 + ["1, fold 1 of 5"] * 3


def test_what_is_not_known_is_said(make_record, make_tested):
    record = make_tested(make_record(), 20, 23)
    valid, *_ = rows(leak_table(Selection([record])))
    assert valid["With a copy there"] == "n/a (copies were not looked for)"
    assert valid["Accuracy (%), without them"] == "n/a (copies were not looked for)"
    record["data"]["copies"] = copies(test_with_twin=record["test"]["ids"])
    _, test, _ = rows(leak_table(Selection([record])))
    assert test["Accuracy (%), without them"] == "n/a (every image has a copy in training)"
    record["test"]["predictions"] = [0] * 23
    _, test, _ = rows(leak_table(Selection([record])))
    assert test["Accuracy (%), all images"].startswith("undertrained (13.0 [")


def test_invalid_failed_and_timed_runs_have_no_rows(make_record, make_failed):
    invalid = make_record("ResNet18")
    invalid["validation"]["loss"] = None
    timed = make_record("A", training=None, validation=None, metrics=None)
    bare = make_record("B", validation={"macro_f1": 0.5})
    table = leak_table(Selection([invalid, timed, bare, make_failed("C", "E", "x")]))
    assert table.rows == []
