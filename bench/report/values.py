"""A measured figure as it stands in a cell: number, unit-free text, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bench.report.gates import Record
from bench.report.markdown import one_line


@attrs.frozen
class Value:
    """A measured figure, or why there is none.

    Attributes:
        number: unrounded, in the unit of the row; None for text and for missing figures.
        text: as it stands in a cell.
        mark, reason: "n/a", "invalid" or "undertrained" and why, where the figure must not be used.
        device: what it was measured on, where that matters.
        setting: what two figures must share to be compared.
        interval: its 95 % bounds, where it has some.
    """

    number: float | None = None
    text: str = ""
    mark: str | None = None
    reason: str = ""
    device: str | None = None
    setting: Mapping[str, Any] = attrs.field(factory=dict)
    interval: tuple[float, float] | None = None

    def cell(self, *, with_device: bool = True) -> str:
        """The text of a table's cell."""
        if self.mark:
            return f"{self.mark} ({self.reason})"
        if self.device and with_device:
            return f"{self.text} ({self.device})"
        return self.text


def missing(reason: str, mark: str = "n/a") -> Value:
    """A figure that is not there, with its reason."""
    return Value(mark=mark, reason=one_line(reason))


def significant(number: float) -> str:
    """Three significant digits, thousands separated: 0.0584, 2.87, 345, 31,435."""
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{float(f'{number:.3g}'):g}" if abs(number) < 100 else f"{number:.0f}"


def failure(record: Record, limit: int = 120) -> str:
    """Why a run has no figures, in one line of at most ``limit`` characters."""
    if record.get("status") == "running":
        return "broken off, or still training: run --resume goes on"
    error = record.get("error") or {}
    kind, message = error.get("type") or "unknown error", error.get("message") or ""
    text = one_line(f"{kind}: {message}").rstrip(": ")
    return text if len(text) <= limit else text[: limit - 1] + "…"
