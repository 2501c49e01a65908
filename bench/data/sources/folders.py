"""Walks folders for images: quick, in a fixed order, and safe on links that lead in circles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

IGNORED_FOLDERS = frozenset({"__MACOSX"})


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def subfolders(folder: Path) -> list[str]:
    """Return the names of a folder's visible folders, sorted; none where it cannot be read."""
    return [name for name, is_folder, _ in _children(str(folder)) if is_folder]


def images_in(folder: Path) -> list[str]:
    """Return the names of the images directly in a folder, sorted."""
    children = _children(str(folder))
    return [name for name, is_folder, _ in children if not is_folder and is_image_name(name)]


def images_below(folder: Path) -> list[tuple[str, int]]:
    """Return (path from ``folder`` with ``/``, size in bytes) of every image at any depth, sorted.

    Linked folders are followed, each real folder once. A link to nothing is listed with size 0: it
    is found unreadable later, by name, instead of vanishing here.
    """
    return sorted((path, _size(entry)) for path, entry in _walk(folder))


def holds_image(folder: Path) -> bool:
    """Return whether there is an image in the folder or below; stops at the first."""
    return next(_walk(folder), None) is not None


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    seen: set[tuple[int, int]] = set()
    pending = [("", str(folder))]
    while pending:
        prefix, path = pending.pop()
        try:
            identity = os.stat(path)
        except OSError:
            continue
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        for name, is_folder, entry in _children(path):
            if is_folder:
                pending.append((f"{prefix}{name}/", entry.path))
            elif is_image_name(name):
                yield prefix + name, entry


def _children(path: str) -> list[tuple[str, bool, os.DirEntry[str]]]:
    """Return (name, is a folder, entry) of what is visible in a folder, sorted by name."""
    try:
        with os.scandir(path) as entries:
            visible = [
                (entry.name, _is_folder(entry), entry)
                for entry in entries
                if not entry.name.startswith(".") and entry.name not in IGNORED_FOLDERS
            ]
    except OSError:
        return []
    return sorted(visible, key=lambda child: child[0])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)
