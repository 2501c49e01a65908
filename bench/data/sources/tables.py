"""Reads the CSV and JSON files that label a data set, and says by line what is wrong in them."""

from __future__ import annotations

import csv
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError

PART_NAMES = {
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
    """(line number, values of the needed and then the optional columns, stripped) of each row.

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
            places = [header.index(name) if name in header else -1 for name in needed + optional]
            for row in reader:
                if row:
                    yield (
                        reader.line_num,
                        tuple(row[i].strip() if 0 <= i < len(row) else "" for i in places),
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchError(
            f"{path} cannot be read ({error}): save it as a CSV file in UTF-8"
        ) from error


def metadata_rows(path: Path) -> Iterator[tuple[int, str, str, str | None, str | None]]:
    """(line, path relative to the file's folder, label, part, group) of each row of metadata.csv.

    Part and group are None where their column lacks or is empty.

    Raises:
        BenchError: a column is lacking, a label is empty, a path leaves the folder, or a split is
            not one of :data:`PART_NAMES`.
    """
    for line, (raw, label, split, group) in rows(path, ("path", "label"), ("split", "group")):
        relative = posixpath.normpath(raw.replace("\\", "/"))
        absolute = relative.startswith("/") or relative[1:3] == ":/"
        if not raw or absolute or relative.split("/")[0] == "..":
            raise BenchError(
                f"{path} line {line}: path {raw!r} must lie in {path.parent}: "
                f"write it relative to that folder"
            )
        if not label:
            raise BenchError(f"{path} line {line}: {raw!r} has no label: fill in the column label")
        if split and split.lower() not in PART_NAMES:
            raise BenchError(
                f"{path} line {line}: unknown split {split!r}: write train, valid or test"
            )
        yield line, relative, label, PART_NAMES[split.lower()] if split else None, group or None


def label_order(path: Path) -> tuple[str, ...]:
    """Class names in the order of their ids in a label2id.json: ``{"blast": 0, …}``.

    Raises:
        BenchError: not such a file, or the ids are not 0 … n - 1.
    """
    try:
        ids = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({error}): mend or remove it") from error
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
