"""Data sets of Hugging Face (timm's ``hfds/``): Arrow files, each row an image and its class."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.sources.arrow import SUFFIX, Table, key_of, read_table
from bench.data.sources.layouts import Entry, Found
from bench.data.sources.tables import PART_NAMES
from bench.errors import BenchError, error_line

SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
# As ``load_dataset`` names what it keeps: of which split, and which part of it.
KEPT_NAME = re.compile(r".+?-(?P<split>[A-Za-z0-9_.]+?)(-\d{5}-of-\d{5})?\.arrow")


def files_in(root: Path) -> list[tuple[str | None, Path]]:
    """Split and path of a folder's Arrow files; empty: it is no such folder.

    It was written by ``save_to_disk`` (of one data set, or of one for each split), or is what
    ``load_dataset`` keeps.

    Raises:
        BenchError: what lists the files cannot be read, or names files elsewhere.
    """
    if (root / SPLITS).is_file():
        splits = _json(root / SPLITS).get("splits")
        if not isinstance(splits, list):
            raise BenchError(f"{root / SPLITS} names no splits: save the data set anew")
        return [(name, path) for name in splits for path in _saved(root / _plain(root, name))]
    if (root / STATE).is_file():
        return [(None, path) for path in _saved(root)]
    if (root / INFO).is_file():
        found = []
        for path in sorted(root.glob(f"*{SUFFIX}")):
            match = KEPT_NAME.fullmatch(path.name)
            # What ``map`` and ``filter`` keep there is of another table.
            if match and not path.name.startswith(("cache-", "tmp")):
                found.append((match["split"], path))
        return found
    return []


def _saved(folder: Path) -> list[Path]:
    listed = _json(folder / STATE).get("_data_files")
    names = [one.get("filename") for one in listed or [] if isinstance(one, dict)]
    if not names:
        raise BenchError(f"{folder / STATE} names no files: save the data set anew")
    paths = [folder / _plain(folder, name) for name in names]
    for path in paths:
        if path.suffix != SUFFIX:
            raise BenchError(f"{path} is no Arrow file: save the data set anew")
    return paths


def _plain(folder: Path, name: Any) -> str:
    plain = isinstance(name, str) and PurePosixPath(name).name == name
    if not plain or name in ("", ".", ".."):
        raise BenchError(f"{folder} names {name!r}, which is not in it: save the data set anew")
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read ({error}): save the data set anew") from error
    return content if isinstance(content, dict) else {}


# --- the layout ------------------------------------------------------------------------------


def read_arrow(root: Path) -> Found:
    """Rows of one image and its class: columns of the types ``Image`` and ``ClassLabel``.

    The class is the column ``label``, else the only ``ClassLabel``; a column ``group`` says what
    must stay together. Splits are parts by their names; one without classes is warned of.

    Raises:
        BenchError: a file that cannot be read, without images, or with some rows without a class.
    """
    found, tables = Found(), []
    for split, path in files_in(root):
        part = None if split is None else PART_NAMES.get(split.lower())
        if split is not None and part is None:
            found.warnings.append(f"split {split!r} of {root} is neither train, valid nor test: "
                                  "not used")  # fmt: skip
            continue
        try:
            table = read_table(path)
        except OSError as error:
            raise BenchError(f"{path} cannot be used: {error}") from error
        missing = table.labels.count(None)
        if missing == len(table.labels) > 0 and part == "test":
            found.warnings.append(f"{path} has no classes: unlabelled, not used")
            continue
        if missing:
            row = table.labels.index(None)
            raise BenchError(
                f"{path}: {missing} rows have no class (first: row {row}): remove them, or give "
                "them one"
            )
        tables.append((part, path, table))
    found.classes = next((table.classes for _, _, table in tables if table.classes), None)
    if found.classes and any(table.classes != found.classes for _, _, table in tables):
        raise BenchError(f"{root}: its files name other classes than each other: save it anew")
    seen = Counter(
        None if name is None else key_of("", f"0/{name}")
        for _, _, table in tables
        for name in table.names
    )
    named = bool(seen) and None not in seen and max(seen.values()) == 1
    for part, path, table in tables:
        found.entries += _entries(path.relative_to(root).as_posix(), part, table, named)
    if found.classes:
        # A class that no image has is none to choose from.
        used = {entry.label for entry in found.entries}
        found.classes = tuple(name for name in found.classes if name in used)
    return found


def _entries(archive: str, part: str | None, table: Table, named: bool) -> Iterator[Entry]:
    rows = zip(table.sizes.tolist(), table.labels, table.groups, table.starts.tolist(), strict=True)
    for row, (size, label, group, start) in enumerate(rows):
        name = f"/{table.names[row]}" if named else ""
        yield Entry(f"{archive}/{row}{name}", size, label or "", part, group, start)


# --- what is not on this disk yet ------------------------------------------------------------


def fetch(name: str) -> Path:
    """Have ``datasets`` make Arrow files of a data set; their folder.

    Args:
        name: of a data set on the hub, or a folder that ``load_dataset`` takes.

    Raises:
        BenchError: the package is missing, or the data set cannot be had.
    """
    try:
        import datasets
    except ImportError as error:
        raise BenchError(
            f"--data-dir hfds/{name} needs Hugging Face's datasets: pip install 'paddy-bench[hf]'"
        ) from error
    # The hub is asked several times, and each time is told; one line at the end says it all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    datasets.logging.set_verbosity_error()
    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # of the hub, of the network, of the data
        raise BenchError(
            f"--data-dir hfds/{name}: no such folder, and datasets cannot load it "
            f"({type(error).__name__}: {error_line(error, 300)})"
        ) from error
    folders = {
        Path(one["filename"]).parent for split in loaded.values() for one in split.cache_files
    }
    if len(folders) != 1:
        raise BenchError(
            f"--data-dir hfds/{name} is kept in {len(folders)} folders: save it into one with "
            "save_to_disk, and give that"
        )
    return folders.pop()
