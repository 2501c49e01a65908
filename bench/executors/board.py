"""The actor by which Ray's tasks and whoever started them hear of each other.

It has a process of its own, which imports nothing else.
"""

from __future__ import annotations


class ChannelActor:
    """An actor: what tasks say, and whether they are to stop."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._number: int | None = None

    def say(self, line: str) -> None:
        self._lines.append(line)

    def lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def stop(self, number: int) -> None:
        self._number = number

    def stopped(self) -> int | None:
        return self._number
