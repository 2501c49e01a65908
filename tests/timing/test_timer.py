from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from bench.timing import timer
from bench.timing.cases import Case
from bench.timing.timer import (
    BLOCKS,
    MOST_BLOCKS,
    CaseTimer,
    assemble,
    failed_entry,
    planned_blocks,
    sample_of,
    settings,
)

THROUGHPUT = Case(
    device="cpu", clock="model", regime="throughput", image_size=8, batch_size=16, threads=1
)
LATENCY = Case(device="cpu", clock="model", regime="latency", image_size=8, batch_size=1, threads=1)


class Clock:
    """A clock that only a step moves, by the given seconds one after the other."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.steps, self.seconds = 0.0, 0, seconds

    def step(self) -> None:
        self.now += self.seconds[min(self.steps, len(self.seconds) - 1)]
        self.steps += 1


def time_case(step: Callable[[], object], case: Case) -> dict[str, Any]:
    """One process' sample of a case, its blocks on end."""
    case_timer = CaseTimer(step, case)
    for _ in range(case_timer.planned):
        case_timer.block()
    return case_timer.sample()


def timed(monkeypatch: pytest.MonkeyPatch, case: Case, *seconds: float) -> tuple[Clock, dict]:
    clock = Clock(*seconds)
    monkeypatch.setattr(timer, "timer", lambda: clock.now)
    return clock, time_case(clock.step, case)


def test_blocks_are_at_least_a_fifth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sample = timed(monkeypatch, THROUGHPUT, 0.03)
    assert (sample["warmup_steps"], sample["steps_per_block"]) == (3, 7)
    assert clock.steps == 3 + MOST_BLOCKS * 7
    assert sample["block_seconds"] == pytest.approx([0.03] * MOST_BLOCKS)
    assert sample["step_seconds"] == []


def test_after_others_one_step_of_several_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.03)
    monkeypatch.setattr(timer, "timer", lambda: clock.now)
    one = CaseTimer(clock.step, THROUGHPUT)
    clock.seconds = (0.03, 0.03, 0.03, 0.1, 0.03)
    one.block(after_others=True)
    assert clock.steps == 3 + 1 + 7
    assert one.sample()["block_seconds"] == pytest.approx([0.03])


def test_a_slow_step_is_a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sample = timed(monkeypatch, THROUGHPUT, 2.0)
    assert sample["steps_per_block"] == 1
    assert clock.steps == 3 + BLOCKS


def test_short_blocks_are_more_than_long_ones() -> None:
    assert [planned_blocks(seconds) for seconds in (0.2, 0.25, 0.3, 0.5, 60)] == [9, 8, 6, 5, 5]


def test_warm_up_is_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sample = timed(monkeypatch, THROUGHPUT, 9.0, 5.0, 0.3, 0.25)
    assert sample["block_seconds"] == pytest.approx([0.25] * 6)


def test_a_hiccup_in_the_warm_up_does_not_shorten_the_blocks(monkeypatch) -> None:
    _, sample = timed(monkeypatch, THROUGHPUT, 0.05, 0.05, 0.4, 0.05)
    assert sample["steps_per_block"] == 4


def test_latency_keeps_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    _, sample = timed(monkeypatch, LATENCY, 0.1, 0.1, 0.1, 0.1, 0.5, 0.1)
    assert len(sample["step_seconds"]) == MOST_BLOCKS * sample["steps_per_block"] == 2 * MOST_BLOCKS
    assert max(sample["step_seconds"]) == pytest.approx(0.5)
    assert sample_of(sample) == pytest.approx(0.1)


def rounds(*seconds: float, **changes) -> list[dict]:
    return [
        {
            "round": number,
            "place": 0,
            "block_seconds": [value, 2 * value, 0.5 * value],
            "steps_per_block": 2,
            "step_seconds": [],
            "warmup_steps": 3,
            "minor_faults_per_step": 1.0,
            "others_load": 0.0,
            "peak_memory_mb": 100.0,
            "peak_memory_kind": "process resident",
            **changes,
        }
        for number, value in enumerate(seconds)
    ]


def test_a_round_is_its_median_block_and_an_entry_the_median_round() -> None:
    entry = assemble({"batch_size": 16}, rounds(0.1, 0.2, 0.4), "now")
    assert entry["seconds_per_step"] == pytest.approx(0.2)
    assert entry["images_per_s"] == pytest.approx(80)
    assert entry["images_per_s_low"] is entry["images_per_s_high"] is None
    assert entry["timed_steps"] == 3 * 3 * 2
    assert entry["latency_ms"] is entry["latency_p95_ms"] is None
    assert entry["marks"] == []


def test_six_rounds_have_an_interval_around_the_median() -> None:
    entry = assemble({"batch_size": 16}, rounds(0.10, 0.11, 0.09, 0.10, 0.105, 0.095), "now")
    assert entry["images_per_s_low"] < entry["images_per_s"] < entry["images_per_s_high"]


def test_latency_has_a_median_and_a_95th_percentile() -> None:
    steps = [0.001 * number for number in range(1, 101)]
    entry = assemble({"batch_size": 1}, rounds(0.05, step_seconds=steps), "now")
    assert entry["latency_ms"] == pytest.approx(50)
    assert entry["latency_p95_ms"] == pytest.approx(95)


def test_of_few_steps_there_is_a_maximum_and_no_95th_percentile() -> None:
    steps = [0.001 * number for number in range(1, 20)]
    two = rounds(0.05, 0.05, step_seconds=steps[:9])
    entry = assemble({"batch_size": 1}, two, "now")  # 18 steps
    assert entry["latency_p95_ms"] is None
    assert entry["latency_max_ms"] == pytest.approx(9)
    assert (
        assemble({"batch_size": 1}, rounds(0.05, step_seconds=steps), "now")["latency_p95_ms"]
        is None
    )
    twenty = assemble({"batch_size": 1}, rounds(0.05, step_seconds=[*steps, 0.02]), "now")
    # The 19th of 20: one step is beyond it.
    assert twenty["latency_p95_ms"] == pytest.approx(19)
    assert twenty["latency_max_ms"] == pytest.approx(20)


def test_others_load_and_page_faults_mark_an_entry() -> None:
    busy = rounds(0.1, 0.1, others_load=0.25, minor_faults_per_step=4000.0)
    marks = assemble({"batch_size": 16}, busy, "now")["marks"]
    assert marks == ["other programs used 25 % of the machine", "4,000 page faults a step"]
    unknown = rounds(0.1, others_load=None)
    assert assemble({"batch_size": 16}, unknown, "now")["marks"] == []


def test_a_gpu_that_slows_down_marks_an_entry() -> None:
    hot = {"throttle_reasons": ["software power cap", "hardware thermal slowdown"]}
    marks = assemble({"batch_size": 16}, rounds(0.1, gpu=hot), "now")["marks"]
    assert marks == ["GPU slowed down: hardware thermal slowdown"]
    unknown = {"throttle_reasons": None}
    assert assemble({"batch_size": 16}, rounds(0.1, gpu=unknown), "now")["marks"] == []


def test_a_real_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "BLOCK_S", 0.01)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    images = torch.randn(4, 3, 32, 32)
    case = Case(
        device="cpu", clock="model", regime="throughput", image_size=32, batch_size=4, threads=1
    )
    sample = time_case(lambda: model(images), case)
    assert 0 < statistics.median(sample["block_seconds"]) < 1
    assert 50 < sample["peak_memory_mb"] < 50_000
    about = settings(case, "off")
    assert about["device_name"]
    assert set(about["tf32"]) == {"matmul", "convolution"}
    assert (about["dtype"], about["memory_format"], about["inside_clock"]) == (
        "float32",
        "contiguous",
        "model only",
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_the_warm_up_is_ten_steps_and_two_seconds() -> None:
    model = nn.Conv2d(3, 8, 3).cuda().eval()
    images = torch.randn(4, 3, 64, 64, device="cuda")
    case = Case(
        device="cuda", clock="model", regime="throughput", image_size=64, batch_size=4, threads=1
    )
    sample = time_case(lambda: model(images), case)
    assert sample["warmup_steps"] >= 10
    assert sample["peak_memory_kind"] == "CUDA allocated"
    assert settings(case, "off")["device_name"] == torch.cuda.get_device_name()


def test_the_settings_name_the_mode() -> None:
    assert settings(THROUGHPUT, "off")["mode"] == "eager"
    folded = attrs.evolve(THROUGHPUT, mode="folded")
    assert settings(folded, "off")["mode"] == "folded"


def test_of_the_facts_of_all_processes_the_longest_seconds_stand() -> None:
    about = settings(attrs.evolve(THROUGHPUT, mode="compiled"), "off")
    facts = [
        {"compile_s": 3.0, "max_difference": 1e-7, "versions": {"torch": "2"}},
        {"compile_s": 41.5, "max_difference": 1e-6, "versions": {"torch": "2"}},
        {"compile_s": 2.5, "max_difference": 1e-8, "versions": {"torch": "2"}},
    ]
    done = [{**rounds(0.01)[0], "mode_facts": fact} for fact in facts]
    entry = assemble(about, done, "now")
    assert entry["mode_facts"] == {
        "compile_s": 41.5, "max_difference": 1e-6, "versions": {"torch": "2"},
    }  # fmt: skip
    assert [one["mode_facts"]["compile_s"] for one in entry["rounds"]] == [3.0, 41.5, 2.5]
    assert assemble(about, rounds(0.01), "now")["mode_facts"] == {}


def test_the_entry_of_a_mode_that_failed_has_a_reason_and_no_speed() -> None:
    case = attrs.evolve(THROUGHPUT, mode="channels-last", channels_last=True)
    entry = failed_entry(case, "no such mode", settings(THROUGHPUT, "off"), [])
    assert (entry["mode"], entry["mode_error"]) == ("channels-last", "no such mode")
    assert (entry["memory_format"], entry["rounds"]) == ("channels_last", [])
    assert entry["dtype"] == "float32"
    assert not {"images_per_s", "seconds_per_step"} & set(entry)
