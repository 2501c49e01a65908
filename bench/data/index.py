"""Finds labelled images on disk, whatever their layout, and lists them in one fixed order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from bench.data.sources import hub, layouts, remote, shards
from bench.data.sources.fingerprint import VERSION as FINGERPRINT_VERSION
from bench.data.sources.fingerprint import fingerprint_of, listing_digest, sample_digest
from bench.data.sources.folders import holds_image, subfolders
from bench.data.sources.layouts import Listing
from bench.data.sources.prefixes import hub_name, is_hub_name, real_folder, url_of
from bench.errors import BenchError

SYNTHETIC_MARKER = "synthetic.json"
KAGGLE_ROOT = Path("/kaggle/input")
KAGGLE_FOLDERS = ("paddy-disease-classification", "competitions/paddy-disease-classification")


class Layout(NamedTuple):
    """How a layout is recognised by a folder's own files and folder names, and read."""

    recognises: Callable[[Path], object]
    read: Callable[[Path], Listing]


# In the order in which they are tried.
LAYOUTS = {
    "synthetic": Layout(
        lambda root: (root / SYNTHETIC_MARKER).is_file(), layouts.read_class_folders
    ),
    "kaggle": Layout(lambda root: (root / "train_images").is_dir(), layouts.read_kaggle),
    "metadata-csv": Layout(lambda root: (root / "metadata.csv").is_file(), layouts.read_metadata),
    "arrow": Layout(hub.files_in, hub.read_arrow),
    "shards": Layout(
        lambda root: shards.shards_in(root) and not holds_image(root), shards.read_shards
    ),
    "split-folders": Layout(layouts.has_split_folders, layouts.read_split_folders),
    "class-folders": Layout(layouts.has_class_folders, layouts.read_class_folders),
}


@attrs.frozen
class Location:
    """A data folder and its layout, one of :data:`LAYOUTS`."""

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
        """Return the same with the fingerprint of a version, to compare it with one of that."""
        if version == self.fingerprint_version:
            return self
        return attrs.evolve(self, fingerprint=self.listing, fingerprint_version=1)

    def identity(self) -> dict[str, Any]:
        """Return what a record says of which images these are."""
        return {
            "fingerprint": self.fingerprint,
            "fingerprint_version": self.fingerprint_version,
            "listing_fingerprint": self.listing,
        }

    def path(self, position: int) -> Path:
        """Return the path on disk of the image at a position."""
        return self.root / self.paths[position]

    def counts(self, positions: Sequence[int] | None = None) -> dict[str, int]:
        """Count the images of every class, of all or of the given positions."""
        indices = range(len(self)) if positions is None else positions
        counts = Counter(self.labels[index] for index in indices)
        return {name: counts[label] for label, name in enumerate(self.classes)}


# --- finding ---------------------------------------------------------------------------------


def find_data(
    data_dir: Path | None, *, cwd: Path, kaggle_root: Path = KAGGLE_ROOT
) -> Location | None:
    """Return the data folder to use, and its layout.

    A folder that is given must be one of the layouts, or hold Kaggle's in a subfolder. Without one:
    ``cwd/data`` if it is, else Kaggle's data in its usual places or up to 3 levels below
    ``kaggle_root``, else none.

    Raises:
        BenchError: the given folder does not exist, is a file, or holds no labelled images; or as
            :func:`bench.data.sources.hub.fetch`.
    """
    if data_dir is None:
        location = _locate(cwd / "data") if holds_image(cwd / "data") else None
        usual = (kaggle_root / name for name in KAGGLE_FOLDERS)
        return location or _first_kaggle(chain(usual, _folders_below(kaggle_root, levels=3)))
    given, root = data_dir, real_folder(data_dir)
    if is_hub_name(root):
        return Location(hub.fetch(hub_name(root)), "arrow")
    if url_of(root) is not None:
        remote.system_of(root)
        return Location(root, "shards")
    if not root.is_dir():
        raise BenchError(f"{root} is a file: give --data-dir the folder that holds the images")
    location = _locate(root)
    if location is None and is_hub_name(given):
        return Location(hub.fetch(str(root)), "arrow")
    if location is None:
        raise BenchError(_no_layout_reason(root))
    return location


def _locate(root: Path) -> Location | None:
    name = next((name for name, layout in LAYOUTS.items() if layout.recognises(root)), None)
    if name in (None, "class-folders") and (inner := _first_kaggle(_folders_below(root, 1))):
        return inner
    return None if name is None else Location(root, name)


def _first_kaggle(folders: Iterable[Path]) -> Location | None:
    for folder in folders:
        if (folder / "train.csv").is_file() and (folder / "train_images").is_dir():
            return Location(folder, "kaggle")
    return None


def _folders_below(root: Path, levels: int) -> Iterator[Path]:
    """Yield the folders in a folder, then those in each of them, and so on."""
    level = [root]
    for _ in range(levels):
        level = [folder / name for folder in level for name in subfolders(folder)]
        yield from level


def _no_layout_reason(root: Path) -> str:
    hint = "give --data-dir a folder with one folder of images per class"
    if (root / "train.csv").is_file():
        return f"{root} has train.csv but no train_images/: put the images of Kaggle's data there"
    with_images = [name for name in subfolders(root) if holds_image(root / name)]
    if with_images:
        return (
            f"{root} holds one class only ({with_images[0]!r}): {hint}, at least two; "
            f"or that folder itself, if the classes are in there"
        )
    if holds_image(root):
        return f"{root} holds images but no labels: {hint}"
    return f"{root} holds no labelled images: {hint}"


# --- listing ---------------------------------------------------------------------------------


def load_index(location: Location) -> ImageIndex:
    """List the labelled images of a data folder.

    Raises:
        BenchError: what the layout's reader refuses (:mod:`bench.data.sources.layouts`), no
            labelled images, or one class only.
    """
    root, layout = location.root, location.layout
    listing = LAYOUTS[layout].read(root)
    entries = sorted(
        (entry for entry in listing.entries if is_text(entry.path)), key=attrgetter("path")
    )
    names = {entry.label for entry in entries}
    if not entries:
        raise BenchError(f"{root} holds no labelled images: add some")
    if len(names) == 1:
        raise BenchError(f"{root} holds one class only ({entries[0].label!r}): add a second one")
    classes = listing.classes or tuple(sorted(names))
    label_of = {name: label for label, name in enumerate(classes)}
    groups = tuple(entry.group for entry in entries)
    digests = listing_digest(entries), sample_digest(root, entries)
    no_text = [os.fsencode(entry.path) for entry in listing.entries if not is_text(entry.path)]
    return ImageIndex(
        root=root,
        layout=layout,
        synthetic=layout == "synthetic",
        classes=classes,
        paths=tuple(entry.path for entry in entries),
        labels=tuple(label_of[entry.label] for entry in entries),
        parts=tuple(entry.split for entry in entries),
        file_sizes=tuple(entry.file_size for entry in entries),
        fingerprint=fingerprint_of(*digests),
        listing=digests[0],
        sample=digests[1],
        warnings=(
            *listing.warnings,
            *(f"file name is not UTF-8, not used: {name!r}" for name in no_text),
        ),
        groups=groups if any(groups) else (),
    )


def is_text(name: str) -> bool:
    """Return whether a file name is UTF-8, so that a record or a table can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
