"""A measured figure as it stands in a cell: number, unit-free text, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bench.report.analysis.validity import Record
from bench.report.render.markdown import one_line
from bench.system.digits import counted, fixed, significant

__all__ = ["Value", "counted", "failure", "fixed", "missing", "significant"]


@attrs.frozen
class Value:
    """A measured figure, or why there is none.

    Attributes:
        number: unrounded, in the unit of the row; None for text and for missing figures.
        text: as it stands in a cell.
        mark, reason: "n/a", "invalid" or "undertrained" and why, where the figure must not be used.
        device: what it was measured on, where that matters.
        threads: of the CPU that it was measured on; None where the CPU has no part in it.
        setting: what two figures must share to be compared.
        interval: its 95 % bounds, where it has some.
    """

    number: float | None = None
    text: str = ""
    mark: str | None = None
    reason: str = ""
    device: str | None = None
    threads: int | None = None
    setting: Mapping[str, Any] = attrs.field(factory=dict)
    interval: tuple[float, float] | None = None

    def cell(self, *, with_device: bool = True) -> str:
        """Return the text of a table's cell."""
        if self.mark:
            return f"{self.mark} ({self.reason})"
        place = self.place() if with_device else self._threads()
        return f"{self.text} ({place})" if place else self.text

    def place(self) -> str:
        """Return ``AMD EPYC, 2 threads``: what it was measured on, where that matters."""
        return ", ".join(part for part in (self.device, self._threads()) if part)

    def _threads(self) -> str:
        return "" if self.threads is None else counted(self.threads, "thread")


def missing(reason: str, mark: str = "n/a") -> Value:
    """Return a figure that is not there, with its reason."""
    return Value(mark=mark, reason=one_line(reason))


def with_interval(
    text: str, low: float | None, high: float | None, number: Callable[[float], str]
) -> str:
    """Return ``345 [340–350]``: a figure with its interval, where there is one.

    Args:
        number: how a bound is written.
    """
    return text if low is None or high is None else f"{text} [{number(low)}–{number(high)}]"


def percent_with_interval(share: float, low: float | None, high: float | None) -> str:
    """Return ``90.0 [82.1–94.6]``: a share with its interval, in percent."""
    return with_interval(_percent(share), low, high, _percent)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def failure(record: Record, limit: int = 120) -> str:
    """Return why a run has no figures, in one line of at most ``limit`` characters."""
    if record.get("status") == "running":
        return "broken off, or still training: run --resume goes on"
    error = record.get("error") or {}
    kind, message = error.get("type") or "unknown error", error.get("message") or ""
    text = one_line(f"{kind}: {message}").rstrip(": ")
    return text if len(text) <= limit else text[: limit - 1] + "…"
