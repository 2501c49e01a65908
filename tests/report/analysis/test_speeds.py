"""Tests of timing sessions: planted speeds are declared, equal ones tie."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.analysis.speeds import (
    TimingSession,
    main_cases,
    newest_with,
    sessions_of,
    training_cases,
)
from tests.report.sessions import MAIN, TRAIN, timed_together, timing_entry

SPEEDS = {"ResNet18": 0.010, "ResNet18_Hybrid": 0.011, "MobileNetV3_Small": 0.010}


def only(records, **changes) -> TimingSession:
    (session,) = TimingSession.of(records, **changes)
    return session


def test_a_planted_slowdown_is_declared_and_ranked_and_equal_ones_tie(make_record):
    session = only(timed_together(make_record, SPEEDS))
    for case in session.cases():
        standing = session.standing(case)
        assert standing.verdict("ResNet18_Hybrid", "ResNet18") == "slower"
        assert standing.verdict("ResNet18", "ResNet18_Hybrid") == "faster"
        assert standing.verdict("MobileNetV3_Small", "ResNet18") == "tie"
        assert standing.ranks == {"ResNet18": 1, "MobileNetV3_Small": 1, "ResNet18_Hybrid": 3}
        assert standing.comparisons == 3
        ratio = session.ratio("ResNet18_Hybrid", "ResNet18", case)
        assert ratio.low < 10 / 11 < ratio.high


def test_below_six_rounds_nothing_is_declared_and_nobody_ranked(make_record):
    session = only(timed_together(make_record, SPEEDS, rounds=3))
    standing = session.standing(session.cases()[0])
    assert standing.ranks == {}
    assert set(standing.left_out.values()) == {"undecided: 3 rounds, an interval needs 6"}
    assert standing.verdict("ResNet18_Hybrid", "ResNet18") == "undecided"


def test_without_a_control_nothing_is_declared(make_record):
    records = timed_together(make_record, SPEEDS)
    records[0]["session"]["control"] = None
    session = only(records)
    standing = session.standing(session.cases()[0])
    assert session.noise_floor(session.cases()[0]) is None
    assert standing.ranks == {}
    assert set(standing.left_out.values()) == {"undecided: no A/A control in this case"}


def test_a_difference_below_the_gap_of_the_control_is_a_tie(make_record):
    records = timed_together(make_record, SPEEDS)
    for entry in records[0]["session"]["control"]["timing"]:
        for part in entry["rounds"]:
            part["block_seconds"] = [1.2 * value for value in part["block_seconds"]]
    session = only(records)
    case = session.cases()[0]
    assert session.noise_floor(case) == pytest.approx(0.2, abs=0.02)
    assert session.standing(case).verdict("ResNet18_Hybrid", "ResNet18") == "tie"


def test_an_invalid_run_takes_no_rank_and_is_in_no_comparison(make_record):
    records = timed_together(make_record, SPEEDS)
    records[1]["counts"]["parameters_declared"] = 1
    session = only(records)
    standing = session.standing(session.cases()[0])
    assert "ResNet18_Hybrid" not in standing.ranks
    assert standing.left_out["ResNet18_Hybrid"].startswith("invalid: 11,388,154 parameters")
    assert standing.comparisons == 1
    assert session.ratio("ResNet18_Hybrid", "ResNet18", session.cases()[0]) is None


def test_one_valid_seed_is_enough_for_the_timing_that_all_seeds_carry(make_record):
    first = timed_together(make_record, SPEEDS)
    second = timed_together(make_record, SPEEDS, seed=1)
    first[0]["metrics"]["valid_loss"] = None
    session = only([*first, *second])
    assert session.invalid == {}
    assert session.standing(session.cases()[0]).ranks["ResNet18"] == 1


def test_a_variant_that_lacks_a_case_has_a_reason_and_the_others_a_rank(make_record):
    records = timed_together(make_record, SPEEDS)
    records[2]["timing"] = records[2]["timing"][:1]
    records[2]["timing_error"] = "out of memory"
    session = only(records)
    standing = session.standing(session.cases()[1])
    assert standing.left_out == {"MobileNetV3_Small": "not timed in this case: out of memory"}
    assert set(standing.ranks) == {"ResNet18", "ResNet18_Hybrid"}


def test_sessions_are_never_mixed(make_record):
    one = timed_together(make_record, {"ResNet18": 0.01}, session="s1")
    two = timed_together(
        make_record, {"ResNet18_Hybrid": 0.02}, baseline="ResNet18_Hybrid", session="s2"
    )
    sessions = TimingSession.of([*one, *two])
    assert [session.id for session in sessions] == ["s1", "s2"]
    assert sessions[0].ratio("ResNet18_Hybrid", "ResNet18", sessions[0].cases()[0]) is None
    assert newest_with(sessions, "ResNet18", "ResNet18_Hybrid") is None
    assert newest_with(sessions, "ResNet18_Hybrid") is sessions[1]


def test_interval_p_and_word_of_every_pair_agree(make_record):
    seconds = {f"V{number}": 0.01 * 1.035**number for number in range(7)}
    session = only(timed_together(make_record, seconds, baseline="V0", spread=0.025))
    case, seen = session.cases()[0], set()
    standing, floor = session.standing(case), session.noise_floor(case)
    for one in seconds:
        for two in seconds:
            if one == two:
                continue
            ratio = session.ratio(one, two, case)
            clear = ratio.low > 1 or ratio.high < 1
            assert clear == (ratio.p_adjusted < 0.05)
            declared = standing.verdict(one, two) in ("faster", "slower")
            large = max(ratio.ratio, 1 / ratio.ratio) > 1 + max(floor, 0.03)
            assert declared == (clear and large)
            seen.add((declared, ratio.level))
            mirrored = session.ratio(two, one, case)
            assert mirrored.low == pytest.approx(1 / ratio.high)
            assert mirrored.ratio == pytest.approx(1 / ratio.ratio)
    # Several steps of Holm's procedure, and a pair that its own 95 % interval would have declared.
    assert len({level for _, level in seen}) > 3
    narrow = [session.measured_ratio(*pair, case) for pair in standing.family.pairs]
    assert any(
        (one.low > 1 or one.high < 1) and standing.verdict(*pair) == "tie"
        for pair, one in zip(standing.family.pairs, narrow, strict=True)
    )


def test_many_comparisons_need_a_smaller_p_value(make_record):
    """A difference that two variants alone would show is a tie among eight."""
    names = [
        "ResNet18", "MobileNetV3_Small", "MobileNetV3_Small_CA", "EfficientNet_Lite0",
        "EfficientNet_Lite0_CA", "EfficientNetV2_S", "EfficientNetV2_S_CA",
    ]  # fmt: skip
    speeds = {**dict.fromkeys(names, 0.010), "ResNet18_Hybrid": 0.0105}
    records = timed_together(make_record, speeds, spread=0.02)
    session = only(records)
    (case,) = (case for case in session.cases() if not case.latency)
    pair = ("ResNet18_Hybrid", "EfficientNet_Lite0")
    p_value = session.ratio(*pair, case).p_value
    assert 0.05 / 28 < p_value < 0.05 / 3
    alone = only([record for record in records if record["variant"]["name"] in pair])
    assert alone.standing(case).comparisons == 1
    assert alone.standing(case).verdict(*pair) == "slower"
    assert session.standing(case).comparisons == 28
    assert session.standing(case).verdict(*pair) == "tie"


def test_records_without_a_session_have_none(make_record):
    assert TimingSession.of([make_record("ResNet18", session=None)]) == []


def test_the_sessions_of_a_report_are_read_once(make_record):
    selection = Selection(timed_together(make_record, SPEEDS))
    assert sessions_of(selection) is sessions_of(selection)


def test_main_cases_are_at_224_pixels_with_all_threads(make_record):
    kinds = [
        {**kind, "image_size": size, "threads": threads}
        for kind in MAIN
        for size, threads in ((64, 2), (64, 1), (224, 2), (224, 1))
    ]
    records = timed_together(make_record, SPEEDS, kinds=[*kinds, TRAIN])
    records[0]["timing"].append(timing_entry(0.001, device="cuda"))
    session = only(records)
    found = main_cases(session)
    assert [(case.device, case.regime, case.image_size, case.threads) for case in found] == [
        ("cpu", "latency", 224, 2),
        ("cpu", "throughput", 224, 2),
        ("cuda", "throughput", 224, 2),
    ]
    assert [case.clock for case in training_cases(session)] == ["train"]


def test_main_cases_are_at_the_runs_size_where_224_was_not_timed(make_record):
    kinds = [{**kind, "image_size": 64} for kind in MAIN]
    session = only(timed_together(make_record, SPEEDS, kinds=kinds))
    assert {case.image_size for case in main_cases(session)} == {64}


def test_a_control_of_too_few_rounds_is_no_noise_floor(make_record):
    records = timed_together(make_record, {"ResNet18": 0.010, "ResNet18_Hybrid": 0.012})
    for record in records:
        about = record["session"]
        short = [{**entry, "rounds": entry["rounds"][:3]} for entry in about["control"]["timing"]]
        record["session"] = {**about, "control": {**about["control"], "timing": short}}
    (session,) = TimingSession.of(records)
    standing = session.standing(session.cases()[0])
    assert standing.ranks == {}
    assert set(standing.left_out.values()) == {"undecided: the A/A control has 3 rounds of 6"}
