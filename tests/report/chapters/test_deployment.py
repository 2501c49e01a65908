"""The table of deployment: planted speeds, sizes and losses are found, and nothing else is said."""

from __future__ import annotations

import pytest

from bench.report.analysis.backends import ModeTimings, Setting
from bench.report.analysis.selection import Selection
from bench.report.analysis.speeds import TimingSession
from bench.report.chapters.deployment import FLOAT, HEADERS, INT8, RAW, deployment_tables
from tests.report import sessions
from tests.report.sessions import set_predictions, timed_in_modes, timed_together

SPEEDS = {"ResNet18": 0.010, "MobileNetV3_Small": 0.004, "EfficientNet_Lite0_CA": 0.008}
GAINS = {FLOAT: 1.5, INT8: 3.0}


def quantised(record, exact: list[bool], small: list[bool], **more) -> dict:
    """Planted hits of both models on images of two classes."""
    labels = [0] * len(exact)
    return {
        "variant": record["variant"]["name"],
        "fingerprint": record["data"]["fingerprint"],
        "part": "test",
        "method": "static",
        "calibration_images": 256,
        "size_mb": 3.25,
        "size_float32_mb": 12.5,
        "ids": [f"{n}.jpg" for n in range(len(exact))],
        "labels": labels,
        "predictions_float32": [0 if hit else 1 for hit in exact],
        "predictions_int8": [0 if hit else 1 for hit in small],
        **more,
    }


def as_run(record, exact: list[bool], small: list[bool], **more) -> None:
    """Give a record a test part and its ``quantised``."""
    set_predictions(record, exact)
    part, guesses = record["test"], []
    for label, hit in zip(part["labels"], small, strict=True):
        guesses.append(label if hit else (label + 1) % len(record["data"]["classes"]))
    own = {"ids": part["ids"], "labels": part["labels"], "predictions_int8": guesses}
    own["predictions_float32"] = part["predictions"]
    record["quantised"] = {**quantised(record, exact, small), **own, **more}


def row_of(table, variant: str) -> dict[str, str]:
    (cells,) = [row for row in table.rows if row[0] == variant]
    return dict(zip(HEADERS, cells, strict=True))


def raw_of(table, variant: str) -> dict:
    header, rows = table.raw
    assert tuple(header) == RAW
    (cells,) = [row for row in rows if row[1] == variant]
    return dict(zip(RAW, cells, strict=True))


def test_speeds_and_ranks_are_those_that_were_planted(make_record):
    (table,) = deployment_tables(Selection(timed_in_modes(make_record, SPEEDS, GAINS)))
    for name, seconds in SPEEDS.items():
        raw, row = raw_of(table, name), row_of(table, name)
        # Latency at batch 1, in seconds of an image.
        assert raw["eager_s"] == pytest.approx(seconds, rel=0.05)
        assert raw["float32_s"] == pytest.approx(seconds / 1.5, rel=0.05)
        assert raw["int8_s"] == pytest.approx(seconds / 3, rel=0.05)
        assert raw["ratio_latency_low"] < 2 < raw["ratio_latency_high"]
        for column in ("int8 ÷ float32, batch 1", "int8 ÷ float32, larger batch"):
            assert float(row[column].split()[0]) == pytest.approx(2, rel=0.05)
        assert row["Verdict"] == "faster"
        assert row["Accuracy, int8 (%)"] == "n/a (not exported as int8)"
    ranks = {name: row_of(table, name)["Rank, int8 latency"] for name in SPEEDS}
    assert ranks == {"MobileNetV3_Small": "1", "EfficientNet_Lite0_CA": "2", "ResNet18": "3"}
    assert "what it costs in accuracy is not known" in table.caption


def test_equal_variants_share_a_rank(make_record):
    speeds = {"ResNet18": 0.01, "EfficientNet_Lite0_CA": 0.01, "MobileNetV3_Small": 0.004}
    (table,) = deployment_tables(Selection(timed_in_modes(make_record, speeds, GAINS)))
    ranks = {name: row_of(table, name)["Rank, int8 latency"] for name in speeds}
    assert ranks == {"MobileNetV3_Small": "1", "EfficientNet_Lite0_CA": "2", "ResNet18": "2"}


def test_an_int8_model_that_is_no_faster_ties(make_record):
    gains = {FLOAT: 1.5, INT8: 1.5}
    (table,) = deployment_tables(Selection(timed_in_modes(make_record, SPEEDS, gains)))
    assert row_of(table, "ResNet18")["Verdict"] == "~ tie"


def test_losses_are_corrected_for_their_number(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    worse = [True] * 80 + [False] * 20
    as_run(records[0], [True] * 100, worse)
    as_run(records[1], [True] * 100, [True] * 99 + [False])
    (table,) = deployment_tables(Selection(records))
    lost, kept = row_of(table, "ResNet18"), row_of(table, "MobileNetV3_Small")
    assert lost["Accuracy, float32 (%)"] == "100.0"
    assert lost["Accuracy, int8 (%)"] == "80.0"
    assert lost["int8 − float32 (points), interval"].startswith("-20.0 [")
    assert lost["Verdict (accuracy)"] == "worse"
    assert kept["Verdict (accuracy)"] == "~ no loss shown"
    assert lost["float32 (MB)"] == "12.5"
    assert lost["int8 (MB)"] == "3.25"
    raw = raw_of(table, "ResNet18")
    assert raw["difference"] == pytest.approx(-0.2)
    assert raw["low"] < -0.2 < raw["high"]
    assert raw["p_holm"] == pytest.approx(2 * raw["p_value"])
    assert "corrected after Holm for 2 variants" in table.caption
    assert "256 images of no held-out part" in table.caption


def test_a_better_one_is_called_better(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    as_run(records[0], [False] * 20, [True] * 20)
    (table,) = deployment_tables(Selection(records))
    assert row_of(table, "ResNet18")["Verdict (accuracy)"] == "better"


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "other"},
        {"variant": "MobileNetV3_Small"},
        {"part": "validation"},
        {"labels": [1] * 9},
        {"ids": [f"elsewhere/{n}.jpg" for n in range(9)]},
    ],
)
def test_a_file_of_another_run_is_passed_over(make_record, wrong):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    as_run(records[0], [True] * 9, [True] * 9, **wrong)
    (table,) = deployment_tables(Selection(records))
    assert row_of(table, "ResNet18")["Accuracy, int8 (%)"] == "n/a (not exported as int8)"


def test_without_timings_the_accuracies_stand_alone(make_record):
    records = timed_together(make_record, SPEEDS)
    assert deployment_tables(Selection(records)) == []
    as_run(records[0], [True] * 9, [True] * 9)
    (table,) = deployment_tables(Selection(records))
    row = row_of(table, "ResNet18")
    assert row["int8 (ms)"] == "n/a (not timed)"
    assert row["Accuracy, int8 (%)"] == "100.0"
    assert [cells[0] for cells in table.rows] == ["ResNet18"]
    assert table.caption.startswith("Nothing was timed here")


def test_a_mode_that_failed_says_why(make_record):
    failed = {("ResNet18", INT8): "no kernel"}
    records = timed_in_modes(make_record, SPEEDS, GAINS, failed=failed)
    (table,) = deployment_tables(Selection(records))
    row = row_of(table, "ResNet18")
    assert row["int8 (ms)"] == "n/a (no kernel)"
    assert row["int8 ÷ float32, batch 1"] == "n/a"
    assert row["Rank, int8 latency"] == "n/a"
    assert row_of(table, "MobileNetV3_Small")["Rank, int8 latency"] == "1"


def test_int8_is_never_the_best_mode(make_record):
    """Its outputs are another model's."""
    (session,) = TimingSession.of(timed_in_modes(make_record, SPEEDS, GAINS))
    found = ModeTimings.of(session, Setting("cpu", 224, 2, "float32"), "latency")
    assert found.best("ResNet18") == [FLOAT]
    assert found.verdict("ResNet18", INT8) == "faster"


def test_of_several_seeds_the_one_that_was_exported_counts(make_record):
    runs = [make_record("ResNet18", seed=seed, minute=seed) for seed in range(3)]
    for run in runs:
        set_predictions(run, [True] * 20)
    as_run(runs[1], [True] * 20, [True] * 19 + [False])
    (table,) = deployment_tables(Selection(runs))
    assert row_of(table, "ResNet18")["Accuracy, int8 (%)"] == "95.0"


@pytest.mark.parametrize("size", ["huge", [1], {}, float("nan"), -1, 10**400, True])
def test_hostile_sizes_of_timed_files_are_not_shown(make_record, size):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    for record in records:
        for entry in record["timing"]:
            if entry["mode"] != "eager":
                entry["mode_facts"] = {**entry["mode_facts"], "size_mb": size}
    (table,) = deployment_tables(Selection(records))
    assert row_of(table, "ResNet18")["int8 (MB)"] == "n/a"


def test_the_caption_tells_pixels_from_floats(make_record, monkeypatch):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    as_run(records[0], [True] * 9, [True] * 9)
    as_run(records[1], [True] * 9, [True] * 9, input="uint8")
    (table,) = deployment_tables(Selection(records))
    # Neither the timed files nor the first exported one took pixels.
    assert "within its time" not in table.caption
    assert "last bits decide some predictions: ResNet18; move" in table.caption
    monkeypatch.setitem(sessions.FACTS, "input", "uint8")
    as_run(records[0], [True] * 9, [True] * 9, input="uint8")
    (table,) = deployment_tables(Selection(timed_in_modes(make_record, SPEEDS, GAINS)))
    assert "int8 takes pixels and normalises them within its time." in table.caption
    (table,) = deployment_tables(Selection(records))
    assert "last bits decide" not in table.caption
