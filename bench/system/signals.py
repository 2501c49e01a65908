"""Ends a training in order: by a signal after the step at hand, by the clock between epochs."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(Exception):
    """A training ended before its end; its state is on disk.

    Attributes:
        number: of the signal; none: the time was up.
    """

    def __init__(self, number: int | None) -> None:
        super().__init__("the time was up" if number is None else signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> Any:
        return TrainingInterrupted, (self.number,)


class StopRequest:
    """A request to stop, by signal or deadline.

    Args:
        deadline: on the monotonic clock, in seconds; None: no limit of time.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.number: int | None = None
        self._holding = False
        self._tell: Callable[[], object] = lambda: None

    def __reduce__(self) -> Any:
        return StopRequest, (self.deadline,)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for as long as the block runs; no thread but the main one can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def holding(self, tell: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Let a first signal within the block wait for ``check``; elsewhere it ends at once.

        Args:
            tell: called when that signal comes.
        """
        self._holding, self._tell = True, tell
        try:
            yield
        finally:
            self._holding, self._tell = False, lambda: None

    def check(self, seconds: float = 0.0) -> None:
        """Raise where a signal has come, or so many seconds are no longer left.

        Args:
            seconds: that what comes next will take.

        Raises:
            TrainingInterrupted: that is so.
        """
        if self.number is not None:
            raise TrainingInterrupted(self.number)
        if self.deadline is not None and time.monotonic() + seconds > self.deadline:
            raise TrainingInterrupted(None)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal that another process passed on: stop at the next ``check``."""
        self.number = number

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = number
        if again or not self._holding:
            raise SignalError(number)
        self._tell()


class SignalError(KeyboardInterrupt):
    """A signal that ends the program at once.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> Any:
        return SignalError, (self.number,)
