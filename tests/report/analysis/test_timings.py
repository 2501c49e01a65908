"""Tests of the cases and rounds of timing entries."""

from __future__ import annotations

import pytest

from bench.report.analysis.timings import (
    CaseKey,
    cases,
    eager,
    images_text,
    latency_text,
    rounds_of,
    too_few_rounds,
)
from bench.stats.timing import Location
from tests.report.sessions import timing_entry


def test_a_case_is_named_in_plain_words():
    case = CaseKey.of(timing_entry(0.01))
    assert case.label() == "CPU, model alone, batch 16, 224 pixels, 2 threads, float32"
    changed = {"device": "cuda", "clock": "train", "memory_format": "channels_last"}
    on_gpu = CaseKey.of(timing_entry(0.01, **changed))
    assert on_gpu.label() == "GPU, training step, batch 16, 224 pixels, float32, channels-last"
    one = CaseKey.of(timing_entry(0.01, threads=1))
    assert "1 thread," in one.label()


def test_entries_are_told_apart_by_every_part_of_their_case():
    base = timing_entry(0.01)
    others = [
        {**base, **change}
        for change in (
            {"device": "cuda"}, {"clock": "train"}, {"regime": "latency"}, {"image_size": 64},
            {"batch_size": 8}, {"threads": 1}, {"dtype": "float16 autocast"},
            {"memory_format": "channels_last"},
        )
    ]  # fmt: skip
    assert len(cases([base, *others])) == 9
    assert len(cases([base, {**base, "device_name": "another"}])) == 1


def test_the_sample_of_a_round_is_the_median_of_its_blocks():
    entry = {
        "rounds": [
            {"round": 0, "block_seconds": [0.3, 0.1, 0.2]},
            {"round": 2, "block_seconds": [0.1, 0.4]},
            {"round": 3, "block_seconds": []},
            {"round": 4, "block_seconds": [None, -1.0, 0]},
        ]
    }
    assert rounds_of(entry) == {0: 0.2, 2: pytest.approx(0.25)}
    assert rounds_of(None) == {}


def test_figures_show_an_interval_only_where_there_is_one():
    assert latency_text(Location(0.01, 0.0095, 0.0105, 10)) == "10 [9.5–10.5]"
    assert images_text(Location(0.1, 0.08, 0.125, 10), 16) == "160 [128–200]"
    assert latency_text(Location(0.01, None, None, 3)) == "10"
    assert too_few_rounds(1) == "undecided: 1 round, an interval needs 6"


def test_cases_are_of_one_mode_and_what_names_none_is_eager():
    entries = [timing_entry(0.01), timing_entry(0.005, mode="folded")]
    old = {key: value for key, value in entries[0].items() if key != "mode"}
    assert [*cases(entries).values()] == [entries[0]]
    assert [*cases(entries, "folded").values()] == [entries[1]]
    assert [*cases([old, entries[1]]).values()] == [old]
    assert eager({"timing": [old, *entries]}) == [old, entries[0]]
    assert eager({"timing": None}) == []
