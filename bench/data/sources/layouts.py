"""Turns each known layout of a data folder into one list of labelled images."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs

from bench.data.sources.folders import images_below, images_in, subfolders
from bench.data.sources.tables import PART_NAMES, label_order, metadata_rows, rows
from bench.errors import BenchError


@attrs.frozen
class Entry:
    """One labelled image: relative path with ``/``, size in bytes, class name, part and group.

    ``offset`` is where its bytes begin in its archive; none: it is a file of its own.
    """

    path: str
    file_size: int
    label: str
    part: str | None = None
    group: str | None = None
    offset: int | None = None


@attrs.define
class Found:
    """What a layout's reader found; ``classes`` is set where the data fixes their order."""

    entries: list[Entry] = attrs.Factory(list)
    classes: tuple[str, ...] | None = None
    warnings: list[str] = attrs.Factory(list)


# --- one folder per class --------------------------------------------------------------------


def read_class_folders(root: Path) -> Found:
    """``<label>/…/<image>``; images outside the class folders are warned of.

    Raises:
        BenchError: a class folder without images.
    """
    found = Found()
    for name in subfolders(root):
        found.entries += _class_folder(root, name, None)
    _warn_of_loose(found, root)
    return found


def read_split_folders(root: Path) -> Found:
    """``train/<label>/…``, and ``valid`` (``val``, ``validation``) and ``test`` where they exist.

    Raises:
        BenchError: train has no class folders or an empty one, two folders for one part, or a part
            holds a class that train lacks.
    """
    found = Found()
    parts = _part_folders(root)
    if "train" not in parts:
        beside = [name for names in parts.values() for name in names]
        raise BenchError(f"{root} has no train/ beside {listed(beside)}: add it")
    known: set[str] = set()
    for part in ("train", "valid", "test"):
        for name in parts.get(part, ())[:1]:
            folder = root / name
            labels = subfolders(folder)
            if not labels and part == "test":
                found.warnings.append(f"{folder} has no class folders: unlabelled, not used")
            elif not labels:
                raise BenchError(f"{folder} has no class folders: put images in {name}/<class>/")
            here = {label.strip() for label in labels}
            if part == "train":
                known = here
            _refuse_unknown_classes(str(folder), here, known)
            for label in labels:
                found.entries += _class_folder(root, f"{name}/{label}", part)
            if labels:
                _warn_of_loose(found, folder)
            if labels and known - here:
                found.warnings.append(f"{folder} has no images of {listed(known - here)}")
    other = [name for name in subfolders(root) if name.lower() not in PART_NAMES]
    if other:
        found.warnings.append(f"folders beside train in {root}, not used: {listed(other)}")
    return found


def _part_folders(root: Path) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for name in subfolders(root):
        if name.lower() in PART_NAMES:
            parts.setdefault(PART_NAMES[name.lower()], []).append(name)
    for names in parts.values():
        if len(names) > 1:
            raise BenchError(f"{root} has both {names[0]}/ and {names[1]}/: keep one of them")
    return parts


def _class_folder(root: Path, name: str, part: str | None) -> list[Entry]:
    label = name.rpartition("/")[2].strip()
    images = images_below(root / name)
    if not images:
        raise BenchError(
            f"class folder {str(root / name)!r} has no images: add some or remove the folder"
        )
    return [Entry(f"{name}/{path}", size, label, part) for path, size in images]


def _refuse_unknown_classes(where: str, labels: set[str], known: set[str]) -> None:
    if labels - known:
        raise BenchError(
            f"{where} holds the class {listed(labels - known)}, which train lacks: "
            f"add it to train or remove it"
        )


def _warn_of_loose(found: Found, folder: Path) -> None:
    loose = len(images_in(folder))
    if loose:
        found.warnings.append(f"{loose} image(s) in {folder} lie in no class folder: not used")


# --- tables ----------------------------------------------------------------------------------


def read_kaggle(root: Path) -> Found:
    """``train.csv`` (image_id, label) and ``train_images/<label>/<image_id>``; no other folder.

    Raises:
        BenchError: train.csv is missing, lacks a column or names files that are not there.
    """
    table = root / "train.csv"
    if not table.is_file():
        raise BenchError(
            f"{root} has train_images/ but no train.csv: add it, or give "
            f"--data-dir {root / 'train_images'}"
        )
    found = Found()
    present = {
        (label.strip(), path): (f"train_images/{label}/{path}", size)
        for label in subfolders(root / "train_images")
        for path, size in images_below(root / "train_images" / label)
    }
    listed: Counter[tuple[str, str]] = Counter()
    missing: list[str] = []
    for line, (image, label) in rows(table, ("image_id", "label")):
        if not image or not label:
            raise BenchError(f"{table} line {line}: image_id and label must both be filled in")
        listed[label, image] += 1
        if listed[label, image] > 1:
            continue
        if (label, image) in present:
            found.entries.append(Entry(*present[label, image], label))
        else:
            missing.append(f"train_images/{label}/{image}")
    _refuse_missing(table, missing)
    _warn_of_repeats(found, table, listed.values())
    unlisted = len(present) - len(found.entries)
    if unlisted:
        found.warnings.append(f"{unlisted} image(s) in train_images/ not named in {table}: unused")
    return found


def read_metadata(root: Path) -> Found:
    """``metadata.csv`` (path, label, split, group), and ``label2id.json`` where it exists.

    Raises:
        BenchError: as :func:`bench.data.sources.tables.metadata_rows`; files that are not there; a
            label that label2id.json lacks, or the reverse; one path with two labels, splits or
            groups; a part with a class that train lacks; splits in some rows only.
    """
    table = root / "metadata.csv"
    found = Found()
    if (root / "label2id.json").is_file():
        found.classes = label_order(root / "label2id.json")
    lines: Counter[str] = Counter()
    first: dict[str, Entry] = {}
    missing: list[str] = []
    for line, path, label, part, group in metadata_rows(table):
        if found.classes is not None and label not in found.classes:
            raise BenchError(
                f"{table} line {line}: label {label!r} is not in label2id.json: add it there"
            )
        lines[path] += 1
        if path in first:
            known = first[path]
            if (known.label, known.part, known.group) != (label, part, group):
                raise BenchError(
                    f"{table} line {line}: {path!r} is listed twice with different label, "
                    f"split or group: keep one of them"
                )
            continue
        size = _file_size(os.path.join(root, path))
        if size is None:
            missing.append(path)
        first[path] = Entry(path, size or 0, label, part, group)
    _refuse_missing(table, missing)
    found.entries = list(first.values())
    _warn_of_repeats(found, table, lines.values())
    _check_parts(table, found)
    return found


def _check_parts(table: Path, found: Found) -> None:
    labels_of: dict[str | None, set[str]] = {}
    for entry in found.entries:
        labels_of.setdefault(entry.part, set()).add(entry.label)
    if None in labels_of and len(labels_of) > 1:
        raise BenchError(f"{table} gives a split in some rows only: fill in all or none")
    if labels_of and None not in labels_of and "train" not in labels_of:
        raise BenchError(f"{table} has no row with split train: add some, or empty the column")
    for part in ("valid", "test"):
        held = labels_of.get(part, set())
        _refuse_unknown_classes(f"{part} of {table}", held, labels_of.get("train", set()))
    unused = set(found.classes or ()) - {entry.label for entry in found.entries}
    if unused:
        raise BenchError(
            f"label2id.json names {listed(unused)}, of which {table} has no image: remove it there"
        )


def _file_size(path: str) -> int | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _refuse_missing(table: Path, missing: list[str]) -> None:
    if missing:
        raise BenchError(
            f"{table} names {len(missing)} file(s) that are not there ({listed(missing)}): "
            f"add them or remove the rows"
        )


def _warn_of_repeats(found: Found, table: Path, counts: Iterable[int]) -> None:
    repeated = sum(count - 1 for count in counts)
    if repeated:
        found.warnings.append(f"{repeated} repeated row(s) in {table}: used once")


def listed(names: Iterable[str]) -> str:
    """The first three of some names, quoted."""
    # Quoted by repr: a name from a folder or a table may hold line breaks.
    ordered = sorted(names)
    return ", ".join(map(repr, ordered[:3])) + (", …" if len(ordered) > 3 else "")
