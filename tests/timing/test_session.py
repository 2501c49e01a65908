"""The order, the control, failures and lowered batches of a session, with played processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest

import variants
from bench.config.options import RunConfig
from bench.runner.preflight import plan_timing
from bench.runner.record import time_into
from bench.timing import session
from bench.timing.cases import Case
from bench.timing.planner import Plan
from bench.timing.session import CONTROL, Session, Timed
from tests.support.fake_timing import FakeTimingProcess

LATENCY = Case(
    device="cpu", clock="model", regime="latency", image_size=32, batch_size=1, threads=1
)
BATCHED = attrs.evolve(LATENCY, regime="throughput", batch_size=16)


@pytest.fixture(autouse=True)
def seconds(played: type[FakeTimingProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    played.seconds = {"A": 0.010, "B": 0.020, "C": 0.040}
    monkeypatch.setattr(session, "others_load", lambda: 0.01)


def run(rounds: int = 4, budget_s: float | None = None, seed: int = 0, **changes) -> Timed:
    plan = Plan(
        names=("A", "B", "C"),
        baseline="B",
        cases=(LATENCY, BATCHED),
        rounds=rounds,
        round_s=1.0,
        budget_s=budget_s,
        notes=("planned",),
    )
    config = RunConfig(seed=seed, image_size=32)
    return Session(
        attrs.evolve(plan, **changes),
        config,
        num_classes=10,
        plugins=[],
        images=[],
    ).run()


def test_each_round_gives_every_variant_one_process_and_the_baseline_two(played) -> None:
    timed = run()
    assert Counter(name for name, _ in played.log) == {"A": 4, "B": 8, "C": 4}
    assert [len(order) for order in timed.record["order"]] == [4] * 4
    for order in timed.record["order"]:
        assert sorted(order) == ["A", "B", "B" + CONTROL, "C"]


def test_the_order_rotates_so_that_each_is_in_every_place(played) -> None:
    order = run().record["order"]
    for name in ("A", "B", "C", "B" + CONTROL):
        assert sorted(one.index(name) for one in order) == [0, 1, 2, 3]


def test_the_order_is_drawn_from_the_seed() -> None:
    assert run(seed=1).record["order"] == run(seed=1).record["order"]
    assert len({str(run(seed=seed).record["order"]) for seed in range(6)}) > 1


def test_the_record_holds_every_block_of_every_round() -> None:
    timed = run()
    assert {name: len(entries) for name, entries in timed.timing.items()} == dict.fromkeys("ABC", 2)
    entry = timed.timing["C"][1]
    assert [one["round"] for one in entry["rounds"]] == [0, 1, 2, 3]
    assert entry["rounds"][0]["block_seconds"] == pytest.approx([0.64] * 3)
    assert entry["images_per_s"] == pytest.approx(25)
    control = timed.record["control"]
    assert control["name"] == "B" + CONTROL
    assert control["timing"][1]["images_per_s"] == pytest.approx(50)
    record = timed.record
    assert (record["rounds"], record["rounds_planned"], record["baseline"]) == (4, 4, "B")
    assert record["load_before"] == record["load_after"] == 0.01
    assert record["notes"] == ["planned"]


def test_all_that_memory_holds_are_timed_together(played) -> None:
    timed = run(rounds=1)
    assert [len(group) for group in played.groups] == [4]
    assert timed.record["together"] >= 4
    assert played.waiting == 0


def test_what_memory_does_not_hold_together_makes_groups_of_one_size(played, monkeypatch) -> None:
    monkeypatch.setattr(session, "most_together", lambda cases: 3)
    timed = run(rounds=2)
    assert [len(group) for group in played.groups] == [2, 2, 2, 2]
    assert [name for group in played.groups[:2] for name in group] == timed.record["order"][0]
    assert played.most_waiting == 2
    assert played.waiting == 0


def test_on_a_gpu_one_is_timed_at_a_time_and_ends_before_the_next(played) -> None:
    run(rounds=1, cases=(attrs.evolve(LATENCY, device="cuda"),))
    assert [len(group) for group in played.groups] == [1, 1, 1, 1]
    assert played.waiting == 0


def test_one_that_fails_is_left_out_and_the_others_go_on(played) -> None:
    played.failures["A"] = {"error": "timing process ended with 1: RuntimeError: no\nsuch"}
    timed = run()
    assert timed.errors["A"] == "timing process ended with 1: RuntimeError: no such"
    assert timed.errors["B"] is None
    assert timed.timing["A"] == []
    assert len(timed.timing["C"][0]["rounds"]) == 4
    assert Counter(name for name, _ in played.log)["A"] == 1


def test_when_all_fail_the_session_ends(played) -> None:
    for name in "ABC":
        played.failures[name] = {"error": "broken"}
    timed = run(rounds=50)
    assert len(played.log) == 4
    assert set(timed.errors.values()) == {"broken"}


@pytest.mark.parametrize("how", ["out of memory", "killed"])
def test_no_memory_lowers_the_batch_for_everyone(played, monkeypatch, how: str) -> None:
    played.full_above["C"] = 4
    if how == "killed":
        one = FakeTimingProcess.measure

        def killed(self: FakeTimingProcess) -> dict[str, Any]:
            found = one(self)
            if any(case.get("out_of_memory") for case in found["cases"]):
                return {"cases": [], "error": "timing process ended with -9: x", "killed": True}
            return found

        monkeypatch.setattr(FakeTimingProcess, "measure", killed)
    first_to_go = next(seed for seed in range(20) if run(1, seed=seed).record["order"][0][0] == "A")
    timed = run(seed=first_to_go)
    assert [(one["from"], one["to"]) for one in timed.record["lowered_batch"]] == [(16, 8), (8, 4)]
    assert {one["variant"] for one in timed.record["lowered_batch"]} == {"C"}
    for name in "ABC":
        batches = [entry["batch_size"] for entry in timed.timing[name]]
        assert batches == [1, 4]
        assert all(len(entry["rounds"]) == 4 for entry in timed.timing[name])
        assert all("batch lowered to 4 for all" in entry["marks"] for entry in timed.timing[name])
    kept = [(one["entry"], one["case"]["batch_size"]) for one in timed.record["superseded"]]
    assert ("A", 16) in kept
    assert ("A", 8) in kept


def test_what_does_not_fit_at_the_smallest_batch_is_a_row_with_its_reason(played) -> None:
    played.full_above["C"] = 1
    timed = run()
    assert timed.errors["C"] == "out of memory (model at 32 pixels, cpu) at batch 2"
    assert [one["to"] for one in timed.record["lowered_batch"]] == [8, 4, 2]
    assert timed.timing["A"][1]["batch_size"] == 2


def test_no_round_is_begun_that_would_pass_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def measure(self: FakeTimingProcess) -> dict[str, Any]:
        clock[0] += 2.5
        return {
            "cases": [self.one(self.job["variant"], c) for c in self.job["cases"]],
            "error": None,
        }

    monkeypatch.setattr(FakeTimingProcess, "measure", measure)
    monkeypatch.setattr(session.time, "monotonic", lambda: clock[0])
    timed = run(rounds=10, budget_s=35.0)
    assert timed.record["rounds"] == 3
    assert timed.record["rounds_planned"] == 10
    assert "3 of 10 planned rounds were done" in timed.record["notes"][-1]


def interrupt_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = FakeTimingProcess.measure

    def interrupted(self: FakeTimingProcess) -> dict[str, Any]:
        if len(FakeTimingProcess.log) == call:
            raise KeyboardInterrupt
        return measure(self)

    monkeypatch.setattr(FakeTimingProcess, "measure", interrupted)


def test_an_interrupted_session_keeps_its_whole_rounds(played, monkeypatch) -> None:
    interrupt_at(10, monkeypatch)
    timed = run(rounds=9)
    assert timed.record["rounds"] == 2
    assert len(timed.record["order"]) == 2
    assert timed.record["notes"][-1] == "interrupted after 2 of 9 rounds"
    for entries in timed.timing.values():
        assert [one["round"] for one in entries[0]["rounds"]] == [0, 1]
    assert played.waiting == 0


def test_an_interrupted_first_round_leaves_nothing(played, monkeypatch) -> None:
    interrupt_at(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert played.waiting == 0


def test_the_baselines_entries_stand_beside_its_control() -> None:
    timed = run()
    assert timed.record["reference"] == timed.timing["B"]


FOLDED = attrs.evolve(BATCHED, mode="folded")


def test_a_mode_has_entries_of_its_own(played) -> None:
    timed = run(cases=(LATENCY, BATCHED, FOLDED))
    modes = [(entry["mode"], entry["batch_size"]) for entry in timed.timing["A"]]
    assert modes == [("eager", 1), ("eager", 16), ("folded", 16)]
    assert timed.timing["A"][2]["mode_facts"] == {"max_difference": 1e-6}
    assert timed.timing["A"][1]["mode_facts"] == {}
    assert [entry["mode"] for entry in timed.record["control"]["timing"]][2] == "folded"


def test_a_mode_that_fails_is_an_entry_with_its_reason_and_the_rest_goes_on(played) -> None:
    played.broken_modes["A", "folded"] = "its outputs\ndiffer"
    timed = run(cases=(LATENCY, BATCHED, FOLDED))
    assert timed.errors == dict.fromkeys("ABC")
    *eager, failed = timed.timing["A"]
    assert [len(entry["rounds"]) for entry in eager] == [4, 4]
    assert failed["mode_error"] == "its outputs differ"
    settings = ("mode", "clock", "regime", "batch_size", "dtype", "device_name")
    assert [failed[key] for key in settings] == [
        "folded", "model", "throughput", 16, "float32", "played CPU",
    ]  # fmt: skip
    assert "images_per_s" not in failed
    assert "mode_error" not in timed.timing["B"][2]
    assert len(timed.timing["B"][2]["rounds"]) == 4


def test_a_mode_that_failed_is_not_tried_again(played) -> None:
    played.broken_modes["A", "folded"] = "no"
    run(cases=(LATENCY, BATCHED, FOLDED))
    assert len({job["exports"] for job in played.jobs}) == 1
    told = [job["failed"] for job in played.jobs if job["variant"] == "A"]
    assert told == [{}, *[{"2": "no"}] * 3]
    assert all(job["failed"] == {} for job in played.jobs if job["variant"] != "A")


def test_samples_from_before_a_failure_are_kept_raw(played, monkeypatch) -> None:
    one = FakeTimingProcess.one

    def late(self: FakeTimingProcess, name: str, case: dict[str, Any]) -> dict[str, Any]:
        if name == "A" and case["mode"] == "folded" and len(FakeTimingProcess.groups) == 3:
            return {"case": case, "failed": "timing process ended with -11: no message"}
        return one(self, name, case)

    monkeypatch.setattr(FakeTimingProcess, "one", late)
    failed = run(cases=(LATENCY, BATCHED, FOLDED)).timing["A"][2]
    assert failed["mode_error"].startswith("timing process ended with -11")
    assert [sample["round"] for sample in failed["rounds"]] == [0, 1]


def test_a_lower_batch_gives_a_failed_mode_another_try(played) -> None:
    played.broken_modes["A", "folded"] = "no"
    played.full_above["C"] = 8
    timed = run(cases=(LATENCY, BATCHED, FOLDED))
    (failed,) = [entry for entry in timed.timing["A"] if entry["mode"] == "folded"]
    assert failed["batch_size"] == 8


def test_the_reason_of_a_lowered_batch_is_told_in_one_record(played) -> None:
    played.full_above["C"] = 8
    timed = run()
    told = {}
    for name in "ABC":
        record = {"warnings": []}
        time_into(record, name, timed)
        told[name] = record["warnings"]
    line = "timing: batch 8 instead of 16 for all variants: "
    assert told["A"] == told["B"] == [f"{line}for C"]
    assert told["C"] == [f"{line}out of memory (model at 32 pixels, cpu)"]


def test_the_very_version_that_is_asked_for_is_timed(played) -> None:
    run(1, keys={"A": "A@1", "B": "B@3"})
    assert {job["variant"] for job in played.jobs} == {"A@1", "B@3", "C"}


def test_the_plan_of_a_machine_knows_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "EfficientNetV2_S_BoTLinear"
    monkeypatch.setattr("bench.runner.preflight.measure_rates", lambda *_: {})
    plan = plan_timing([variants.get(f"{name}@1"), variants.get("ResNet18")], RunConfig(), 3)
    assert [plan.key_of(one) for one in plan.names] == [f"{name}@1", "ResNet18@1"]
