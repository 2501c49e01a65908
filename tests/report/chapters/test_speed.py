"""Tests of the tables of timing sessions."""

from __future__ import annotations

import csv
import statistics

import pytest

from bench.report.analysis.selection import Selection
from bench.report.analysis.speeds import sessions_of
from bench.report.analysis.timings import RATIO_NOTE
from bench.report.chapters.attention import pair_tables
from bench.report.chapters.speed import marks, speed_tables
from bench.report.claims.verdicts import verdict_table
from bench.report.render.markdown import write_csv
from tests.report.sessions import MAIN, TRAIN, timed_together

SPEEDS = {"ResNet18": 0.010, "ResNet18_Hybrid": 0.011, "MobileNetV3_Small": 0.010}


def by_variant(table) -> dict[str, dict[str, str]]:
    return {row[1]: dict(zip(table.headers, row, strict=True)) for row in table.rows}


def test_both_regimes_and_the_training_step_have_a_table(make_record):
    records = timed_together(make_record, SPEEDS, kinds=[*MAIN, TRAIN])
    tables = speed_tables(Selection(records))
    assert [table.title for table in tables] == [
        "Latency: CPU, model alone, batch 1, 224 pixels, 2 threads, float32",
        "Throughput: CPU, model alone, batch 16, 224 pixels, 2 threads, float32",
        "Throughput: CPU, training step, batch 16, 224 pixels, 2 threads, float32",
    ]
    assert len({table.id for table in tables}) == 3
    assert "95th percentile (ms)" in tables[0].headers


def test_a_maximum_is_not_called_a_95th_percentile(make_record):
    """Older records hold the maximum of 18 steps under that name."""
    records = timed_together(make_record, SPEEDS, rounds=6)
    for steps, cell in ((18, "n/a (maximum of 18 steps: 21.2)"), (120, "20.1 (120 steps)")):
        for record in records:
            (entry,) = (one for one in record["timing"] if one["regime"] == "latency")
            entry["latency_p95_ms"] = 20.1
            for one in entry["rounds"]:
                one["step_seconds"] = [0.0212] * (steps // 6)
        table = speed_tables(Selection(records))[0]
        assert by_variant(table)["ResNet18"]["95th percentile (ms)"] == cell
        raw = dict(zip(table.raw[0], table.raw[1][0], strict=True))
        assert (raw["latency_p95_ms"], raw["latency_steps"]) == (
            20.1 if steps >= 20 else None, steps,
        )  # fmt: skip


def test_every_table_with_ratios_says_how_they_are_taken(make_record):
    """A ratio is not that of the medians printed beside it: a slow round moves them apart."""
    records = timed_together(make_record, SPEEDS, rounds=10, spread=0.03)
    selection = Selection(records)
    for table in (*speed_tables(selection), pair_tables(selection)[2], verdict_table(selection)):
        assert RATIO_NOTE in table.caption
    session = sessions_of(selection)[0]
    case = session.cases()[0]
    one, two = "ResNet18_Hybrid", "ResNet18"
    medians = [statistics.median(session.rounds(name, case).values()) for name in (two, one)]
    ratio = session.ratio(one, two, case)
    each = [session.rounds(two, case)[n] / session.rounds(one, case)[n] for n in range(10)]
    kept = sorted(each)[1:-1]  # an eighth of ten rounds is one at each end
    assert ratio.ratio == pytest.approx(statistics.geometric_mean(kept), rel=1e-3)
    assert ratio.ratio != pytest.approx(medians[0] / medians[1], rel=1e-3)


def test_rows_have_interval_ratio_verdict_and_shared_rank(make_record):
    table = speed_tables(Selection(timed_together(make_record, SPEEDS)))[1]
    rows = by_variant(table)
    slow = rows["ResNet18_Hybrid"]
    assert (slow["Rank"], slow["Verdict"], slow["Rounds"]) == ("3", "slower", "10")
    assert "[" in slow["Images/s, 95 % interval"]
    assert slow["Speed ÷ ResNet18, interval"].startswith("0.9")
    assert (rows["MobileNetV3_Small"]["Rank"], rows["MobileNetV3_Small"]["Verdict"]) == (
        "1",
        "~ tie",
    )
    assert (rows["ResNet18"]["Rank"], rows["ResNet18"]["Verdict"]) == ("1", "reference")
    assert rows["ResNet18 (A/A)"]["Rank"] == "control"


def test_the_caption_says_where_how_often_and_how_sure(make_record):
    text = speed_tables(Selection(timed_together(make_record, SPEEDS)))[0].caption
    for part in (
        "AMD EPYC 7B13 (machine 3fa9b2c1)",
        "Inside the clock: model only",
        "Rounds: 10",
        "3 untimed warm-up steps",
        "3 blocks of 4 steps",
        "Noise floor: ",
        "between ResNet18 and itself (A/A, 10 rounds)",
        "Allocator: MALLOC_MMAP_MAX_=0",
        "Holm's correction for 3 comparisons",
        "memory format contiguous",
        "Measured 2026-11-24T16:40:03+00:00",
    ):
        assert part in text


def test_few_rounds_are_shown_without_interval_rank_or_verdict(make_record):
    table = speed_tables(Selection(timed_together(make_record, SPEEDS, rounds=3)))[1]
    rows = by_variant(table)
    assert rows["ResNet18_Hybrid"]["Verdict"] == "undecided: 3 rounds, an interval needs 6"
    assert {row["Rank"] for name, row in rows.items() if "A/A" not in name} == {"n/a"}
    assert "[" not in rows["ResNet18"]["Images/s, 95 % interval"]
    assert "No rank and no verdict: 3 of at least 6 rounds." in table.caption


def test_an_invalid_run_stands_last_with_its_reason(make_record):
    records = timed_together(make_record, SPEEDS)
    records[2]["counts"]["parameters_declared"] = 1
    table = speed_tables(Selection(records))[1]
    assert table.rows[-2][1] == "MobileNetV3_Small"
    row = by_variant(table)["MobileNetV3_Small"]
    assert row["Rank"] == "n/a"
    assert row["Images/s, 95 % interval"] == "n/a"
    assert row["Verdict"].startswith("n/a (invalid: 1,528,106 parameters")


def test_an_invalid_baseline_leaves_no_verdict(make_record):
    records = timed_together(make_record, SPEEDS)
    records[0]["counts"]["parameters_declared"] = 1
    row = by_variant(speed_tables(Selection(records))[1])["ResNet18_Hybrid"]
    assert row["Speed ÷ ResNet18, interval"] == "n/a (no common round)"
    assert row["Verdict"] == "undecided: no A/A control in this case"


def test_marks_name_other_programs_and_page_faults():
    entry = {"marks": ["other programs used 14 % of the machine"], "minor_faults_per_step": 3001}
    assert marks(entry) == "other programs used 14 % of the machine; 3,001 page faults a step"
    assert marks({"marks": [], "minor_faults_per_step": 3000}) == ""
    told = {"marks": ["9,000 page faults a step"], "minor_faults_per_step": 9000}
    assert marks(told) == "9,000 page faults a step"


def test_tables_of_two_sessions_have_files_of_their_own(make_record):
    one = timed_together(make_record, SPEEDS, session="s1")
    two = timed_together(make_record, SPEEDS, session="s2")
    tables = speed_tables(Selection([*one, *two]))
    assert len({table.id for table in tables}) == len(tables) == 4
    assert tables[0].title.endswith("(session s1)")


def test_the_csv_has_unrounded_figures(make_record, tmp_path):
    table = speed_tables(Selection(timed_together(make_record, SPEEDS)))[1]
    with write_csv(table, tmp_path).open(encoding="utf8") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    slow = rows["ResNet18_Hybrid"]
    seconds = float(slow["seconds_per_step"])
    assert len(slow["seconds_per_step"]) > 8
    assert float(slow["images_per_s"]) == 16 / seconds
    assert float(slow["images_per_s_low"]) < 16 / seconds < float(slow["images_per_s_high"])
    assert (slow["verdict"], slow["rank"], slow["machine"]) == (
        "slower",
        "3",
        "AMD EPYC 7B13 (machine 3fa9b2c1)",
    )


def test_a_gpus_table_says_where_tf32_was_used(make_record):
    records = timed_together(make_record, SPEEDS, same={"device": "cuda"})
    assert "TF32 in place of float32: convolution." in speed_tables(Selection(records))[0].caption
    on_cpu = timed_together(make_record, SPEEDS)
    assert "TF32" not in speed_tables(Selection(on_cpu))[0].caption


def test_a_control_of_few_rounds_is_no_noise_floor(make_record):
    records = timed_together(make_record, SPEEDS)
    for entry in records[0]["session"]["control"]["timing"]:
        entry["rounds"] = entry["rounds"][:5]
    table = speed_tables(Selection(records))[1]
    assert "Noise floor: none, the control has 5 rounds, a floor needs 6." in table.caption
    assert not {"faster", "slower"} & {row["Verdict"] for row in by_variant(table).values()}


def test_the_file_has_the_corrected_p_value_and_the_intervals_level(make_record):
    selection = Selection(timed_together(make_record, SPEEDS))
    for table in speed_tables(selection):
        lines = [dict(zip(table.raw[0], line, strict=True)) for line in table.raw[1]]
        (session,) = sessions_of(selection)
        judged = [line for line in lines if line["variant"] != session.baseline]
        assert len(judged) == 2
        for line in judged:
            assert line["p_adjusted"] >= line["p_value"]
            assert (line["p_adjusted"] < 0.05) == (line["p_value"] < line["level"])
            excluded = line["ratio_low"] > 1 or line["ratio_high"] < 1
            assert excluded == (line["p_adjusted"] < 0.05)
        assert min(line["level"] for line in judged) == 0.025
