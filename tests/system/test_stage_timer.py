"""Where the seconds of a sweep went."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.system import stage_timer
from bench.system.stage_timer import StageTimer


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on."""
    now = [100.0]
    monkeypatch.setattr(stage_timer.time, "perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_seconds_add_up_by_label(wait: Callable[[float], None]) -> None:
    found = StageTimer({"checking": 1.5})
    for seconds in (1.0, 2.5):
        with found.of("counting"):
            wait(seconds)
        wait(7.0)
    found.add("decoding", 4.0)
    found.include({"counting": 0.5, "training": 9.0})
    assert found.as_record() == {"checking": 1.5, "counting": 4, "decoding": 4, "training": 9}


def test_what_fails_has_cost_time_too(wait: Callable[[float], None]) -> None:
    found = StageTimer()

    def fail() -> None:
        with found.of("building"):
            wait(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found.as_record() == {"building": 2}


def test_a_record_does_not_change_any_more() -> None:
    known = {"tuning": 1.0}
    found = StageTimer(known)
    record = found.as_record()
    found.add("tuning", 1.0)
    assert (known, record) == ({"tuning": 1.0}, {"tuning": 1.0})
    assert found.as_record() == {"tuning": 2.0}


def test_the_line_sums_one_off_costs_beside_what_every_epoch_takes() -> None:
    found = StageTimer({"decoding": 3.14, "validation": 14.2, "tuning": 0.04})
    found.add("counting", 80.0)
    found.add("training", 120.0)
    assert found.line() == (
        "one-off costs 83.2 s: decoding 3.1 s, counting 80.0 s; training 120.0 s, validation 14.2 s"
    )


def test_a_sweep_without_training_ends_with_its_one_off_costs() -> None:
    assert StageTimer({"timing": 2.0}).line() == "one-off costs 2.0 s: timing 2.0 s"
    assert StageTimer().line() == "one-off costs 0.0 s"


def test_the_first_batch_costs_what_it_takes_beyond_a_steady_one() -> None:
    from types import SimpleNamespace

    from bench.runner.outcome import count_costs

    epochs = [{"train_seconds": 6.0, "valid_seconds": 0.5}] * 2
    sweep = SimpleNamespace(costs=StageTimer())
    # Eleven steps: the first takes 4 s, each of the other ten 0.8 s.
    result = {"epochs": epochs, "steps": 11, "first_batch_seconds": 4.0, "saving_seconds": 0.7}
    count_costs(sweep, SimpleNamespace(**result))
    assert sweep.costs.as_record() == pytest.approx(
        {"first batch": 3.2, "saving": 0.7, "training": 8.8, "validation": 1.0}
    )
    alone = SimpleNamespace(costs=StageTimer())
    result |= {"epochs": epochs[:1], "steps": 1, "first_batch_seconds": 6.0}
    count_costs(alone, SimpleNamespace(**result))
    assert alone.costs.as_record()["first batch"] == 0.0
