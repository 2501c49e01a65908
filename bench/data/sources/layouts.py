"""Turns each known layout of a data folder into one list of labelled images."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import attrs

from bench.data.sources.folders import holds_image, images_below, images_in, subfolders
from bench.data.sources.tables import SPLIT_NAMES, SPLITS, label_order, rows
from bench.errors import BenchError

# The file size of an entry whose file is missing.
MISSING = -1


@attrs.frozen
class Entry:
    """One labelled image: relative path with ``/``, size in bytes, class name, split and group.

    ``offset`` is where its bytes begin in its archive; none: it is a file of its own.
    """

    path: str
    file_size: int
    label: str
    split: str | None = None
    group: str | None = None
    offset: int | None = None


@attrs.define
class Listing:
    """What a layout's reader lists; ``classes`` is set where the data fixes their order."""

    entries: list[Entry] = attrs.Factory(list)
    classes: tuple[str, ...] | None = None
    warnings: list[str] = attrs.Factory(list)


# --- one folder per class --------------------------------------------------------------------


def has_class_folders(root: Path) -> bool:
    """Return whether two folders hold images."""
    with_images = (name for name in subfolders(root) if holds_image(root / name))
    return len(list(islice(with_images, 2))) == 2


def read_class_folders(root: Path) -> Listing:
    """List ``<label>/…/<image>``; images outside the class folders are warned of.

    Raises:
        BenchError: a class folder without images.
    """
    listing = Listing()
    _add_class_folders(listing, root, root, None)
    return listing


def has_split_folders(root: Path) -> bool:
    """Return whether there is a folder of the training split, or none but those of splits."""
    splits = [SPLIT_NAMES.get(name.lower()) for name in subfolders(root)]
    return "train" in splits or (bool(splits) and None not in splits)


def read_split_folders(root: Path) -> Listing:
    """List ``train/<label>/…``, and ``valid`` (``val``, ``validation``) and ``test`` if they exist.

    Raises:
        BenchError: train has no class folders or an empty one, two folders for one split, or a
            split holds a class that train lacks.
    """
    listing, folders = Listing(), _split_folders(root)
    if "train" not in folders:
        raise BenchError(f"{root} has no train/ beside {listed(folders.values())}: add it")
    trained: set[str] = set()
    for split in SPLITS:
        if split not in folders:
            continue
        name, folder = folders[split], root / folders[split]
        labels = {label.strip() for label in subfolders(folder)}
        trained = trained or labels
        if not labels and split == "test":
            listing.warnings.append(f"{folder} has no class folders: unlabelled, not used")
            continue
        if not labels:
            raise BenchError(f"{folder} has no class folders: put images in {name}/<class>/")
        _refuse_unknown_classes(str(folder), labels, trained)
        _add_class_folders(listing, root, folder, split)
        if trained - labels:
            listing.warnings.append(f"{folder} has no images of {listed(trained - labels)}")
    other = [name for name in subfolders(root) if name.lower() not in SPLIT_NAMES]
    if other:
        listing.warnings.append(f"folders beside train in {root}, not used: {listed(other)}")
    return listing


def _split_folders(root: Path) -> dict[str, str]:
    """Return the folder's name of each split that has one."""
    folders: dict[str, str] = {}
    for name in subfolders(root):
        split = SPLIT_NAMES.get(name.lower())
        if split in folders:
            raise BenchError(f"{root} has both {folders[split]}/ and {name}/: keep one of them")
        if split is not None:
            folders[split] = name
    return folders


def _add_class_folders(listing: Listing, root: Path, folder: Path, split: str | None) -> None:
    for label in subfolders(folder):
        images = images_below(folder / label)
        if not images:
            raise BenchError(
                f"class folder {str(folder / label)!r} has no images: add some or remove the folder"
            )
        prefix = (folder / label).relative_to(root).as_posix()
        listing.entries += [
            Entry(f"{prefix}/{path}", size, label.strip(), split) for path, size in images
        ]
    loose = len(images_in(folder))
    if loose:
        listing.warnings.append(f"{loose} image(s) in {folder} lie in no class folder: not used")


def _refuse_unknown_classes(where: str, labels: set[str], trained: set[str]) -> None:
    if labels - trained:
        raise BenchError(
            f"{where} holds the class {listed(labels - trained)}, which train lacks: "
            f"add it to train or remove it"
        )


# --- tables ----------------------------------------------------------------------------------


def read_kaggle(root: Path) -> Listing:
    """List ``train.csv`` (image_id, label), ``train_images/<label>/<image_id>``; no other folder.

    Raises:
        BenchError: train.csv is missing, lacks a column or names files that are not there.
    """
    table = root / "train.csv"
    if not table.is_file():
        raise BenchError(
            f"{root} has train_images/ but no train.csv: add it, or give "
            f"--data-dir {root / 'train_images'}"
        )
    present = {
        (label.strip(), path): (f"train_images/{label}/{path}", size)
        for label in subfolders(root / "train_images")
        for path, size in images_below(root / "train_images" / label)
    }

    def entries() -> Iterator[tuple[int, Entry]]:
        for line, (image, label) in rows(table, ("image_id", "label")):
            if not image or not label:
                raise BenchError(f"{table} line {line}: image_id and label must both be filled in")
            absent = f"train_images/{label}/{image}", MISSING
            yield line, Entry(*present.get((label, image), absent), label)

    listing = _list_rows(table, entries())
    unlisted = len(present) - len(listing.entries)
    if unlisted:
        listing.warnings.append(
            f"{unlisted} image(s) in train_images/ not named in {table}: unused"
        )
    return listing


def read_metadata(root: Path) -> Listing:
    """List ``metadata.csv`` (path, label, split, group), with ``label2id.json`` where it exists.

    Raises:
        BenchError: a column is lacking; a row without a label, of a path outside the folder, or of
            a split that is not one of :data:`SPLIT_NAMES`; files that are not there; a label that
            label2id.json lacks, or the reverse; one path with two labels, splits or groups; a split
            with a class that train lacks; splits in some rows only.
    """
    table, order = root / "metadata.csv", root / "label2id.json"
    classes = label_order(order) if order.is_file() else None
    listing = _list_rows(table, _metadata_entries(table, classes))
    listing.classes = classes
    labels_of: dict[str | None, set[str]] = {}
    for entry in listing.entries:
        labels_of.setdefault(entry.split, set()).add(entry.label)
    if None in labels_of and len(labels_of) > 1:
        raise BenchError(f"{table} gives a split in some rows only: fill in all or none")
    if labels_of and None not in labels_of and "train" not in labels_of:
        raise BenchError(f"{table} has no row with split train: add some, or empty the column")
    trained = labels_of.get("train", set())
    for split in ("valid", "test"):
        _refuse_unknown_classes(f"{split} of {table}", labels_of.get(split, set()), trained)
    unused = set(classes or ()).difference(*labels_of.values())
    if unused:
        raise BenchError(
            f"label2id.json names {listed(unused)}, of which {table} has no image: remove it there"
        )
    return listing


def _metadata_entries(table: Path, classes: tuple[str, ...] | None) -> Iterator[tuple[int, Entry]]:
    for line, (raw, label, split, group) in rows(table, ("path", "label"), ("split", "group")):
        where = f"{table} line {line}"
        path = posixpath.normpath(raw.replace("\\", "/"))
        absolute = path.startswith("/") or path[1:3] == ":/"
        if not raw or absolute or path.split("/")[0] == "..":
            raise BenchError(
                f"{where}: path {raw!r} must lie in {table.parent}: "
                f"write it relative to that folder"
            )
        if not label:
            raise BenchError(f"{where}: {raw!r} has no label: fill in the column label")
        if split and split.lower() not in SPLIT_NAMES:
            raise BenchError(f"{where}: unknown split {split!r}: write train, valid or test")
        if classes is not None and label not in classes:
            raise BenchError(f"{where}: label {label!r} is not in label2id.json: add it there")
        size = _file_size(os.path.join(table.parent, path))
        yield line, Entry(path, size, label, SPLIT_NAMES.get(split.lower()), group or None)


def _file_size(path: str) -> int:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return MISSING
    return status.st_size if stat.S_ISREG(status.st_mode) else MISSING


def _list_rows(table: Path, entries: Iterable[tuple[int, Entry]]) -> Listing:
    """List the image of each row of a table once.

    Args:
        table: the file, for messages.
        entries: line number and image of each row.

    Raises:
        BenchError: rows contradict each other, or name files that are not there.
    """
    listing, first, repeated = Listing(), dict[str, Entry](), 0
    for line, entry in entries:
        same = first.setdefault(entry.path, entry)
        repeated += same is not entry
        if (same.label, same.split, same.group) != (entry.label, entry.split, entry.group):
            raise BenchError(
                f"{table} line {line}: {entry.path!r} is listed twice with different label, "
                f"split or group: keep one of them"
            )
    listing.entries = list(first.values())
    missing = [entry.path for entry in listing.entries if entry.file_size == MISSING]
    if missing:
        raise BenchError(
            f"{table} names {len(missing)} file(s) that are not there ({listed(missing)}): "
            f"add them or remove the rows"
        )
    if repeated:
        listing.warnings.append(f"{repeated} repeated row(s) in {table}: used once")
    return listing


def listed(names: Iterable[str]) -> str:
    """Return the first three of some names, quoted."""
    # Quoted by repr: a name from a folder or a table may hold line breaks.
    ordered = sorted(names)
    return ", ".join(map(repr, ordered[:3])) + (", …" if len(ordered) > 3 else "")
