"""Where the seconds of a sweep go: one-off costs by label, beside training and validation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

STEADY = ("training", "validation")


class StageTimer:
    """Seconds by label, in the order in which the labels first came.

    Args:
        seconds: measured before.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = defaultdict[str, float](float, seconds or {})

    def add(self, label: str, seconds: float) -> None:
        """Add seconds to a label."""
        self.seconds[label] += seconds

    @contextmanager
    def of(self, label: str) -> Iterator[None]:
        """Add what the block takes, whether it ends well or not."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(label, time.perf_counter() - begin)

    def include(self, seconds: Mapping[str, float]) -> None:
        """Add what another timer measured."""
        for label, value in seconds.items():
            self.add(label, value)

    def as_record(self) -> dict[str, float]:
        """Return seconds by label."""
        return dict(self.seconds)

    def line(self) -> str:
        """Return ``one-off costs 12.3 s: decoding 3.1 s, …; training 120.0 s``."""
        once = {label: value for label, value in self.seconds.items() if label not in STEADY}
        parts = [f"{label} {value:.1f} s" for label, value in once.items() if value >= 0.05]
        text = f"one-off costs {sum(once.values()):.1f} s"
        if parts:
            text += f": {', '.join(parts)}"
        steady = [
            f"{label} {self.seconds[label]:.1f} s" for label in STEADY if label in self.seconds
        ]
        return f"{text}; {', '.join(steady)}" if steady else text
