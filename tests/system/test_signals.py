"""Signals wait for the step at hand, a second one does not; the clock stops between epochs."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time

import pytest

from bench.system.signals import SignalError, StopRequest, TrainingInterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_where_it_is_held_and_a_second_one_ends_at_once(number: int) -> None:
    stopper, told = StopRequest(), []
    before = signal.getsignal(number)
    with stopper.listening():
        with stopper.holding(lambda: told.append(1)):
            os.kill(os.getpid(), number)
            assert stopper.number == number
            with pytest.raises(TrainingInterrupted) as stopped:
                stopper.check()
            assert stopped.value.number == number
            with pytest.raises(SignalError):
                os.kill(os.getpid(), number)
        assert told == [1]
    assert signal.getsignal(number) is before


def test_elsewhere_a_signal_ends_at_once() -> None:
    with StopRequest().listening(), pytest.raises(KeyboardInterrupt) as ended:
        os.kill(os.getpid(), signal.SIGTERM)
    assert isinstance(ended.value, SignalError)
    assert ended.value.number == signal.SIGTERM


def test_the_time_is_up_before_something_that_would_last_longer() -> None:
    stopper = StopRequest(time.monotonic() + 100)
    stopper.check(90)
    with pytest.raises(TrainingInterrupted, match="time was up") as stopped:
        stopper.check(110)
    assert stopped.value.number is None
    StopRequest().check(1e9)


def test_another_thread_cannot_listen_and_need_not() -> None:
    found: list[str] = []

    def work() -> None:
        with StopRequest().listening():
            found.append("went on")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["went on"]


def test_another_process_gets_the_deadline_alone() -> None:
    stopper = StopRequest(5.0)
    stopper.number = 15
    again = pickle.loads(pickle.dumps(stopper))
    assert (again.deadline, again.number) == (5.0, None)
