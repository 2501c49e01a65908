"""Tests of modes of inference: planted gains are declared, equal ones tie, each against its own."""

from __future__ import annotations

import pytest

from bench.report.analysis.backends import ModeTimings, Setting, settings_of
from bench.report.analysis.speeds import TimingSession
from tests.report.sessions import MAIN, timed_in_modes, timed_together

SPEEDS = {"ResNet18": 0.010, "MobileNetV3_Small": 0.004}
GAINS = {"channels-last": 1.0, "folded": 1.2, "compiled": 1.5, "onnxruntime": 1.5}
PLAIN = Setting("cpu", 224, 2, "float32")


def timings(records, regime: str = "throughput", setting: Setting = PLAIN) -> ModeTimings:
    (session,) = TimingSession.of(records)
    return ModeTimings.of(session, setting, regime)


def test_a_session_names_the_settings_of_its_modes(make_record):
    (session,) = TimingSession.of(timed_in_modes(make_record, SPEEDS, GAINS))
    assert settings_of(session) == [PLAIN]
    (eager,) = TimingSession.of(timed_together(make_record, SPEEDS))
    assert settings_of(eager) == []


def test_planted_gains_are_declared_against_the_variants_own_eager(make_record):
    found = timings(timed_in_modes(make_record, SPEEDS, GAINS))
    for variant in SPEEDS:
        assert found.modes(variant) == ["eager", *GAINS]
        verdicts = [found.verdict(variant, mode) for mode in found.modes(variant)]
        assert verdicts == ["reference", "~ tie", "faster", "faster", "faster"]
        ratio = found.ratio(variant, "folded")
        assert ratio.low < 1.2 < ratio.high


def test_the_best_is_alone_or_shares(make_record):
    shared = timings(timed_in_modes(make_record, SPEEDS, GAINS))
    assert shared.best("ResNet18") == ["compiled", "onnxruntime"]
    alone = timings(timed_in_modes(make_record, SPEEDS, {"folded": 1.2, "compiled": 0.5}))
    assert alone.best("ResNet18") == ["folded"]
    assert alone.verdict("ResNet18", "compiled") == "slower"


def test_all_pairs_of_modes_of_all_variants_are_one_family(make_record):
    assert timings(timed_in_modes(make_record, SPEEDS, GAINS)).comparisons == 2 * 10


def test_few_rounds_and_a_missing_control_declare_nothing(make_record):
    few = timings(timed_in_modes(make_record, SPEEDS, GAINS, rounds=3))
    assert few.verdict("ResNet18", "compiled") == "undecided: 3 rounds, an interval needs 6"
    assert few.best("ResNet18") == []
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    for record in records:
        record["session"]["control"] = None
    none = timings(records)
    assert none.verdict("ResNet18", "compiled") == "undecided: no A/A control in this case"
    assert none.floor("compiled") is None


def test_the_noise_floor_is_the_larger_of_eagers_and_the_modes_own(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    for entry in records[0]["session"]["control"]["timing"]:
        if entry["mode"] == "folded":
            for part in entry["rounds"]:
                part["block_seconds"] = [1.3 * value for value in part["block_seconds"]]
    found = timings(records)
    assert found.floor() < 0.03
    assert found.floor("folded") == pytest.approx(0.3, abs=0.02)
    assert found.verdict("ResNet18", "folded") == "~ tie"
    assert found.verdict("ResNet18", "compiled") == "faster"


def test_a_mode_that_failed_has_its_reason_and_takes_no_part(make_record):
    failed = {("ResNet18", "compiled"): "no g++"}
    records = timed_in_modes(make_record, SPEEDS, GAINS, failed=failed)
    found = timings(records)
    assert found.verdict("ResNet18", "compiled") == "n/a (no g++)"
    assert found.best("ResNet18") == ["onnxruntime"]
    assert found.verdict("MobileNetV3_Small", "compiled") == "faster"
    assert found.comparisons == 10 + 6


def test_raw_samples_from_before_a_failure_are_not_believed(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    for entry in records[0]["timing"]:
        if entry["mode"] == "compiled":
            entry["mode_error"] = "crashed"
    assert timings(records).rounds("ResNet18", "compiled") == {}


def test_an_invalid_run_has_its_reason(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    records[1]["counts"]["parameters_declared"] = 1
    found = timings(records)
    assert found.verdict("MobileNetV3_Small", "folded").startswith("n/a (invalid: 1,528,106")
    assert found.comparisons == 10


def test_regimes_and_sizes_are_not_mixed(make_record):
    records = timed_in_modes(make_record, SPEEDS, GAINS)
    assert {e["batch_size"] for e in timings(records, "latency").entries.values()} == {1}
    assert timings(records, setting=Setting("cpu", 64, 2, "float32")).entries == {}


def test_no_other_part_of_a_session_sees_a_mode(make_record):
    (mixed,) = TimingSession.of(timed_in_modes(make_record, SPEEDS, GAINS))
    (eager,) = TimingSession.of(timed_together(make_record, SPEEDS))
    assert mixed.cases() == eager.cases()
    for case in eager.cases():
        assert mixed.rounds("ResNet18", case) == eager.rounds("ResNet18", case)
        assert mixed.control_ratio(case) == eager.control_ratio(case)
        assert mixed.standing(case).ranks == eager.standing(case).ranks
    assert len(mixed.cases()) == len(MAIN)
