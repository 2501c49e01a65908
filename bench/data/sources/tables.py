"""Reads the CSV and JSON files that label a data set, and says by line what is wrong in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import BenchError

SPLITS = ("train", "valid", "test")
# As folders, tables and shards call them.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}


def rows(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (line number, stripped values of the needed, then the optional columns) of each row.

    A missing optional column reads as ``""``; blank lines are skipped.

    Raises:
        BenchError: the file cannot be read as CSV, or lacks a needed column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in needed if name not in header]
            if missing:
                raise BenchError(
                    f"{path} lacks the column {', '.join(map(repr, missing))}: "
                    f"its first line must name {','.join(needed + optional)}"
                )
            indices = [header.index(name) if name in header else -1 for name in needed + optional]
            for row in reader:
                if row:
                    yield (
                        reader.line_num,
                        tuple(row[i].strip() if 0 <= i < len(row) else "" for i in indices),
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(
            f"{path} cannot be read ({error}): save it as a CSV file in UTF-8"
        ) from error


def read_json(path: Path, hint: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        BenchError: it cannot be read; the message ends with the hint.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({error}): {hint}") from error


def label_order(path: Path) -> tuple[str, ...]:
    """Return class names in the order of their ids in a label2id.json: ``{"blast": 0, …}``.

    Raises:
        BenchError: not such a file, or the ids are not 0 … n - 1.
    """
    ids = read_json(path, "mend or remove it")
    is_map = isinstance(ids, dict) and all(type(number) is int for number in ids.values())
    if not is_map or sorted(ids.values()) != list(range(len(ids))):
        raise BenchError(
            f'{path} must map each label to its own number 0, 1, 2, … ({{"blast": 0, …}}): '
            f"mend or remove it"
        )
    ordered = tuple(label.strip() for label in sorted(ids, key=lambda label: int(ids[label])))
    if len(set(ordered)) < len(ordered):
        raise BenchError(f"{path} names a label twice: remove one of them")
    return ordered
