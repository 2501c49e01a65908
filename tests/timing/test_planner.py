from __future__ import annotations

import pytest

from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.timing.cases import plan_cases
from bench.timing.planner import PREPARATION_S, Plan, plan_session, precision, written_duration

RATES = {"cpu": {"A": (0.1, 0.02), "B": (0.01, 0.002)}}


def plan(**options) -> Plan:
    config = RunConfig(**options)
    return plan_session(["A", "B"], "A", plan_cases(config, ["cpu"], 2), config, RATES)


def test_without_a_budget_all_rounds_are_planned() -> None:
    found = plan()
    assert found.rounds == 10
    assert found.seconds == pytest.approx(10 * found.round_s)
    assert "10 rounds of 3 processes (the baseline A twice)" in found.line()
    assert found.notes == (precision(10),)


def test_a_budget_plans_fewer_rounds_and_says_what_it_holds() -> None:
    whole = plan()
    found = plan(time_budget=3.5 * whole.round_s)
    assert found.rounds == 3
    assert "the time budget holds 3 of 10 rounds" in found.notes[0]
    assert "no interval is printed and nothing is called faster" in found.notes[1]
    assert plan(time_budget=100 * whole.round_s).rounds == 10


def test_a_budget_below_one_round_says_how_much_it_needs() -> None:
    with pytest.raises(BenchError) as error:
        plan(time_budget=2.0)
    text = str(error.value)
    assert text.startswith("--time-budget 2s is too small for a single round of 3 processes")
    assert "give --time-budget" in text
    assert "\n" not in text


def test_a_slower_variant_and_more_pixels_take_longer() -> None:
    assert plan(image_size=224).round_s > plan(image_size=224, clocks="model").round_s
    slower = {"cpu": {**RATES["cpu"], "B": (0.1, 0.02)}}
    config = RunConfig()
    cases = plan_cases(config, ["cpu"], 2)
    assert plan_session(["A", "B"], "A", cases, config, slower).round_s > plan().round_s


def test_a_variant_without_a_rate_counts_as_the_slowest() -> None:
    config = RunConfig()
    cases = plan_cases(config, ["cpu"], 2)
    unknown = plan_session(["A", "B"], "A", cases, config, {"cpu": {"A": (0.1, 0.02)}})
    both = plan_session(
        ["A", "B"], "A", cases, config, {"cpu": {"A": (0.1, 0.02), "B": (0.1, 0.02)}}
    )
    assert unknown.round_s == pytest.approx(both.round_s)


def test_precision_grows_with_the_rounds() -> None:
    # t(0.975, 9) = 2.262; 0.04 · sqrt(2 / 10) = 0.01789
    assert "±4.0 %" in precision(10)
    assert "±2.6 %" in precision(20)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2s"), (85.4, "86s"), (600.0, "10m"), (7200.0, "2.0h")]
)
def test_durations_are_written_as_they_are_given(seconds: float, text: str) -> None:
    assert written_duration(seconds) == text


def test_a_mode_takes_the_time_of_its_preparation_too() -> None:
    modes = ("eager", "folded", "compiled")
    eager, folded, compiled = (plan(modes=mode).round_s for mode in modes)
    assert eager < folded < compiled
    # Three processes, two settings each.
    assert compiled - folded == pytest.approx(3 * 2 * PREPARATION_S["compiled"])
