"""What a contender's process hears and says: a line for each epoch, in both directions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, TextIO

from bench.system.memory import minor_faults


class Channel:
    """The other end, inside the contender's process."""

    def __init__(self, commands: TextIO, answers: TextIO) -> None:
        self._commands, self._answers = commands, answers
        self._faults = minor_faults()

    def ready(self) -> None:
        """Everything is imported and built."""
        self._say({})

    def wait(self) -> float:
        """Sleep until an epoch is asked for; the clock at its begin. Nobody asks: the end."""
        if not self._commands.readline():
            raise SystemExit(0)
        self._faults = minor_faults()
        return time.perf_counter()

    def answer(self, seconds: float, images: int, **more: Any) -> None:
        """The epoch that was asked for is over."""
        faults = minor_faults() - self._faults
        self._say({"seconds": seconds, "images": images, "faults": faults, **more})

    def _say(self, answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)
