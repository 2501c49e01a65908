"""Finds labelled images on disk, whatever their layout, and lists them in one fixed order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from bench.data.sources import hub, layouts, remote, shards
from bench.data.sources.fingerprint import VERSION as FINGERPRINT_VERSION
from bench.data.sources.fingerprint import fingerprint_of, listing_digest, sample_digest
from bench.data.sources.folders import holds_image, subfolders
from bench.data.sources.layouts import Entry, Found
from bench.data.sources.prefixes import hub_name, is_hub_name, real_folder, url_of
from bench.data.sources.tables import PART_NAMES
from bench.errors import BenchError

SYNTHETIC_MARKER = "synthetic.json"
KAGGLE_ROOT = Path("/kaggle/input")
KAGGLE_FOLDERS = ("paddy-disease-classification", "competitions/paddy-disease-classification")

READERS: dict[str, Callable[[Path], Found]] = {
    "synthetic": layouts.read_class_folders,
    "kaggle": layouts.read_kaggle,
    "metadata-csv": layouts.read_metadata,
    "split-folders": layouts.read_split_folders,
    "class-folders": layouts.read_class_folders,
    "shards": shards.read_shards,
    "arrow": hub.read_arrow,
}


@attrs.frozen
class Location:
    """A data folder and its layout, one of :data:`READERS`."""

    root: Path
    layout: str


@attrs.frozen(kw_only=True)
class ImageIndex:
    """Every labelled image of a data folder, sorted by path: one position, one image.

    Attributes:
        root: the data folder.
        layout: ``kaggle``, ``split-folders``, ``class-folders``, ``metadata-csv``, ``shards``,
            ``arrow`` or ``synthetic``.
        synthetic: whether the images are drawn, not photographed.
        classes: class names; an image's label is a place in them. Sorted, unless label2id.json
            gives their order. They come from folders and tables: escape them where they are shown.
        paths: relative to ``root``, with ``/``.
        labels: numbers of classes.
        parts: ``train``, ``valid`` or ``test`` where the data has its own split, else none.
        file_sizes: in bytes.
        fingerprint: BLAKE2b (16 bytes, hex) over ``listing`` and ``sample``. A copy of the data in
            another folder has the same.
        fingerprint_version: 2; 1 where the fingerprint is the listing alone.
        listing: over path, file size, class name, part and group of every image. It changes when an
            image is added, removed, renamed, relabelled, moved to another part or group, or
            replaced by one of another size.
        sample: over the bytes of up to 1,000 images (:mod:`bench.data.sources.fingerprint`).
        warnings: what was passed over, one line each.
        groups: what each image must stay together with (a plant, a field, a patient), or none;
            empty where the data names no groups.
    """

    root: Path
    layout: str
    synthetic: bool
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    parts: tuple[str | None, ...]
    file_sizes: tuple[int, ...]
    fingerprint: str
    warnings: tuple[str, ...] = ()
    groups: tuple[str | None, ...] = ()
    fingerprint_version: int = FINGERPRINT_VERSION
    listing: str = ""
    sample: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def known_as(self, version: int) -> ImageIndex:
        """The same with the fingerprint of a version, to compare it with what is of that."""
        if version == self.fingerprint_version:
            return self
        return attrs.evolve(self, fingerprint=self.listing, fingerprint_version=1)

    def identity(self) -> dict[str, Any]:
        """What a record says of which images these are."""
        return {
            "fingerprint": self.fingerprint,
            "fingerprint_version": self.fingerprint_version,
            "listing_fingerprint": self.listing,
        }

    def path(self, position: int) -> Path:
        """Where the image at a position lies on disk."""
        return self.root / self.paths[position]

    def counts(self, positions: Sequence[int] | None = None) -> dict[str, int]:
        """Images of every class, of all or of the given positions."""
        chosen = range(len(self)) if positions is None else positions
        seen = Counter(self.labels[position] for position in chosen)
        return {name: seen[number] for number, name in enumerate(self.classes)}


# --- finding ---------------------------------------------------------------------------------


def find_data(
    data_dir: Path | None, *, cwd: Path, kaggle_root: Path = KAGGLE_ROOT
) -> Location | None:
    """The data folder to use, and its layout.

    A folder that is given must be one of the layouts, or hold Kaggle's in a subfolder. Without one:
    ``cwd/data`` if it is, else Kaggle's data in its usual places or up to 3 levels below
    ``kaggle_root``, else none.

    Raises:
        BenchError: the given folder does not exist, is a file, or holds no labelled images; or as
            :func:`bench.data.sources.hub.fetch`.
    """
    if data_dir is None:
        own = _locate(cwd / "data") if holds_image(cwd / "data") else None
        return own or _locate_kaggle(kaggle_root)
    asked, data_dir = data_dir, real_folder(data_dir)
    if is_hub_name(data_dir):
        return Location(hub.fetch(hub_name(data_dir)), "arrow")
    if url_of(data_dir) is not None:
        remote.system_of(data_dir)
        return Location(data_dir, "shards")
    if not data_dir.is_dir():
        raise BenchError(f"{data_dir} is a file: give --data-dir the folder that holds the images")
    location = _locate(data_dir)
    if location is None and is_hub_name(asked):
        return Location(hub.fetch(str(data_dir)), "arrow")
    if location is None:
        raise BenchError(_why_not(data_dir))
    return location


def _locate(root: Path) -> Location | None:
    layout = _layout(root)
    if layout is not None:
        return Location(root, layout)
    inner = _find_kaggle(root, levels=1)
    if inner is not None:
        return Location(inner, "kaggle")
    with_images = (name for name in subfolders(root) if holds_image(root / name))
    has_two = len(list(islice(with_images, 2))) == 2
    return Location(root, "class-folders") if has_two else None


def _layout(root: Path) -> str | None:
    """The layout that a folder's own files and folder names show, if any."""
    if (root / SYNTHETIC_MARKER).is_file():
        return "synthetic"
    if (root / "train_images").is_dir():
        return "kaggle"
    if (root / "metadata.csv").is_file():
        return "metadata-csv"
    if hub.files_in(root):
        return "arrow"
    if shards.shards_in(root) and not holds_image(root):
        return "shards"
    parts = [PART_NAMES.get(name.lower()) for name in subfolders(root)]
    if "train" in parts or (parts and None not in parts):
        return "split-folders"
    return None


def _locate_kaggle(kaggle_root: Path) -> Location | None:
    for name in KAGGLE_FOLDERS:
        if _is_kaggle(kaggle_root / name):
            return Location(kaggle_root / name, "kaggle")
    inner = _find_kaggle(kaggle_root, levels=3)
    return None if inner is None else Location(inner, "kaggle")


def _find_kaggle(root: Path, levels: int) -> Path | None:
    level = [root]
    for _ in range(levels):
        level = [folder / name for folder in level for name in subfolders(folder)]
        for folder in level:
            if _is_kaggle(folder):
                return folder
    return None


def _is_kaggle(folder: Path) -> bool:
    return (folder / "train.csv").is_file() and (folder / "train_images").is_dir()


def _why_not(root: Path) -> str:
    mend = "give --data-dir a folder with one folder of images per class"
    if (root / "train.csv").is_file():
        return f"{root} has train.csv but no train_images/: put the images of Kaggle's data there"
    with_images = [name for name in subfolders(root) if holds_image(root / name)]
    if with_images:
        return (
            f"{root} holds one class only ({with_images[0]!r}): {mend}, at least two; "
            f"or that folder itself, if the classes are in there"
        )
    if holds_image(root):
        return f"{root} holds images but no labels: {mend}"
    return f"{root} holds no labelled images: {mend}"


# --- listing ---------------------------------------------------------------------------------


def load_index(location: Location) -> ImageIndex:
    """List the labelled images of a data folder.

    Raises:
        BenchError: what the layout's reader refuses (:mod:`bench.data.sources.layouts`), no
            labelled images, or one class only.
    """
    found = READERS[location.layout](location.root)
    entries = sorted(_with_text_names(found), key=lambda entry: entry.path)
    names = {entry.label for entry in entries}
    if not entries:
        raise BenchError(f"{location.root} holds no labelled images: add some")
    if len(names) == 1:
        raise BenchError(
            f"{location.root} holds one class only ({entries[0].label!r}): add a second one"
        )
    classes = found.classes or tuple(sorted(names))
    number = {name: place for place, name in enumerate(classes)}
    groups = tuple(entry.group for entry in entries)
    listing = listing_digest(entries)
    sample = sample_digest(location.root, entries)
    return ImageIndex(
        root=location.root,
        layout=location.layout,
        synthetic=location.layout == "synthetic",
        classes=classes,
        paths=tuple(entry.path for entry in entries),
        labels=tuple(number[entry.label] for entry in entries),
        parts=tuple(entry.part for entry in entries),
        file_sizes=tuple(entry.file_size for entry in entries),
        fingerprint=fingerprint_of(listing, sample),
        listing=listing,
        sample=sample,
        warnings=tuple(found.warnings),
        groups=groups if any(groups) else (),
    )


def _with_text_names(found: Found) -> list[Entry]:
    """The entries whose names are text that a record can hold; the others are warned of."""
    kept = [entry for entry in found.entries if is_text(entry.path)]
    for entry in found.entries:
        if not is_text(entry.path):
            found.warnings.append(f"file name is not UTF-8, not used: {os.fsencode(entry.path)!r}")
    return kept


def is_text(name: str) -> bool:
    """Whether a file name is UTF-8, so that a record or a table can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
