"""Data sets of Hugging Face (timm's ``hfds/``): Arrow files, each row an image and its class."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.sources.arrow import SUFFIX, read_table
from bench.data.sources.layouts import Entry, Listing
from bench.data.sources.tables import SPLIT_NAMES, read_json
from bench.errors import BenchError, error_line

SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
SAVE_ANEW = "save the data set anew"
# As ``load_dataset`` names what it keeps: of which split, and which part of it.
KEPT_NAME = re.compile(r".+?-(?P<split>[A-Za-z0-9_.]+?)(-\d{5}-of-\d{5})?\.arrow")


def files_in(root: Path) -> list[tuple[str | None, Path]]:
    """Return split and path of a folder's Arrow files; empty: it is no such folder.

    It was written by ``save_to_disk`` (of one data set, or of one for each split), or is what
    ``load_dataset`` keeps.

    Raises:
        BenchError: what lists the files cannot be read, or names files elsewhere.
    """
    if (root / SPLITS).is_file():
        splits = _json(root / SPLITS).get("splits")
        if not isinstance(splits, list):
            raise BenchError(f"{root / SPLITS} names no splits: {SAVE_ANEW}")
        return [(name, path) for name in splits for path in _saved(root / _plain(root, name))]
    if (root / STATE).is_file():
        return [(None, path) for path in _saved(root)]
    if (root / INFO).is_file():
        return [
            (match["split"], path)
            for path in sorted(root.glob(f"*{SUFFIX}"))
            # What ``map`` and ``filter`` keep there is of another table.
            if not path.name.startswith(("cache-", "tmp"))
            and (match := KEPT_NAME.fullmatch(path.name))
        ]
    return []


def _saved(folder: Path) -> list[Path]:
    files = _json(folder / STATE).get("_data_files") or []
    paths = [
        folder / _plain(folder, file.get("filename")) for file in files if isinstance(file, dict)
    ]
    if not paths:
        raise BenchError(f"{folder / STATE} names no files: {SAVE_ANEW}")
    for path in paths:
        if path.suffix != SUFFIX:
            raise BenchError(f"{path} is no Arrow file: {SAVE_ANEW}")
    return paths


def _plain(folder: Path, name: Any) -> str:
    plain = isinstance(name, str) and PurePosixPath(name).name == name
    if not plain or name in ("", ".", ".."):
        raise BenchError(f"{folder} names {name!r}, which is not in it: {SAVE_ANEW}")
    return name


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path, SAVE_ANEW)
    return content if isinstance(content, dict) else {}


# --- the layout ------------------------------------------------------------------------------


def read_arrow(root: Path) -> Listing:
    """List rows of one image and its class: columns of the types ``Image`` and ``ClassLabel``.

    The class is the column ``label``, else the only ``ClassLabel``; a column ``group`` says what
    must stay together. Splits go by their names; one without classes is warned of.

    Raises:
        BenchError: a file that cannot be read, without images, or with some rows without a class.
    """
    listing, tables = Listing(), []
    for name, path in files_in(root):
        split = None if name is None else SPLIT_NAMES.get(name.lower())
        if name is not None and split is None:
            listing.warnings.append(
                f"split {name!r} of {root} is neither train, valid nor test: not used"
            )
            continue
        try:
            table = read_table(path)
        except OSError as error:
            raise BenchError(f"{path} cannot be used: {error}") from error
        missing = table.labels.count(None)
        if missing == len(table.labels) > 0 and split == "test":
            listing.warnings.append(f"{path} has no classes: unlabelled, not used")
            continue
        if missing:
            raise BenchError(
                f"{path}: {missing} rows have no class (first: row {table.labels.index(None)}): "
                "remove them, or give them one"
            )
        tables.append((split, path.relative_to(root).as_posix(), table))
    classes = next((table.classes for _, _, table in tables if table.classes), None)
    if classes and any(table.classes != classes for _, _, table in tables):
        raise BenchError(f"{root}: its files name other classes than each other: save it anew")
    keys = [name and PurePosixPath(name).stem for _, _, table in tables for name in table.names]
    named = None not in keys and len(set(keys)) == len(keys)
    for split, archive, table in tables:
        rows = zip(
            table.sizes.tolist(), table.labels, table.groups, table.starts.tolist(), strict=True
        )
        for row, (size, label, group, start) in enumerate(rows):
            member = f"{row}/{table.names[row]}" if named else row
            entry = Entry(f"{archive}/{member}", size, label or "", split, group, start)
            listing.entries.append(entry)
    if classes:
        # A class that no image has is none to choose from.
        used = {entry.label for entry in listing.entries}
        listing.classes = tuple(name for name in classes if name in used)
    return listing


# --- what is not on this disk yet ------------------------------------------------------------


def fetch(name: str) -> Path:
    """Have ``datasets`` make Arrow files of a data set; return their folder.

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
        Path(file["filename"]).parent for split in loaded.values() for file in split.cache_files
    }
    if len(folders) != 1:
        raise BenchError(
            f"--data-dir hfds/{name} is kept in {len(folders)} folders: save it into one with "
            "save_to_disk, and give that"
        )
    return folders.pop()
