"""Markdown and CSV that stay well formed whatever a record's text holds."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from tabulate import tabulate

_SPECIAL = re.compile(r"([\\`*_\[\]|#~!$])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Unicode's explicit directional embeddings, overrides and isolates (UAX #9).
_DIRECTION = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


@attrs.frozen
class Table:
    """A table as it stands in a report and as its CSV.

    Attributes:
        id: name of the CSV file, without suffix.
        caption: plain text that says what the numbers were measured on.
        rows: cells as plain text (escaped when written).
        raw: header and unrounded rows of the CSV, where they differ from the shown ones.
        csv: whether a CSV is written.
        total: how many rows there are, where ``rows`` are the first of them.
    """

    id: str
    title: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    raw: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
    csv: bool = True
    total: int | None = None


# More can neither be read nor opened in time.
MOST_ROWS = 300


def shortened(table: Table) -> Table:
    """The first rows of a long table, whose caption says so."""
    total = table.total or len(table.rows)
    if total <= MOST_ROWS:
        return table
    file = table.id if table.csv else table.id.partition("-")[0]
    note = f"The first {MOST_ROWS:,} of {total:,} rows; all are in tables/{file}.csv."
    return attrs.evolve(
        table, rows=table.rows[:MOST_ROWS], caption=f"{note} {table.caption}".strip(), total=None
    )


def one_line(text: Any) -> str:
    """Text with every run of white space and control characters made one blank.

    Marks that turn the direction of what follows are named: they would reorder a whole row.
    """
    return _one_line(str(text))


# Of 10,000 runs most texts are those of the run before.
@functools.lru_cache(maxsize=4096)
def _one_line(text: str) -> str:
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    return _DIRECTION.sub(lambda mark: f"(U+{ord(mark[0]):04X})", line)


def escape(text: Any) -> str:
    """Text that Markdown shows as it is: one line, no markup, no HTML, no table border."""
    line = one_line(text)
    for character, entity in _HTML.items():
        line = line.replace(character, entity)
    # Underscores inside a word are no markup in GitHub's Markdown, and names are full of them.
    line = _SPECIAL.sub(r"\\\1", line)
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", line)


def fence(text: str) -> str:
    """A code block, its fence longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def pipe_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table; every cell is escaped and numbers are left as written."""
    return tabulate(
        [[escape(cell) for cell in row] for row in rows],
        headers=[escape(header) for header in headers],
        tablefmt="github",
        disable_numparse=True,
    )


def section(table: Table, level: int = 3, none: str = "None.") -> str:
    """Heading, caption, table (``none`` where it has no rows) and the address of its CSV."""
    parts = [
        f"{'#' * level} {escape(table.title)}",
        escape(table.caption),
        pipe_table(table.headers, table.rows) if table.rows else none,
    ]
    if table.csv:
        parts.append(f"[{table.id}.csv](tables/{table.id}.csv)")
    return "\n\n".join(part for part in parts if part)


def csv_cell(value: Any) -> Any:
    """A value for a CSV: text that a spreadsheet would run as a formula gets a quote before it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    line = one_line(value)
    risky = value.startswith(_FORMULA) or line.startswith(_FORMULA)
    return f"'{line}" if risky and not _NUMBER.fullmatch(line) else line


def attributes(item: object, names: Sequence[str]) -> list[Any]:
    """Return attributes for the columns of a CSV; None for each where there is no object."""
    return [getattr(item, name, None) for name in names]


def write_csv(table: Table, folder: Path) -> Path:
    """Write ``<folder>/<id>.csv`` (UTF-8, RFC 4180 quoting)."""
    headers, rows = table.raw or (table.headers, table.rows)
    path = folder / f"{table.id}.csv"
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([csv_cell(header) for header in headers])
        writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return path
