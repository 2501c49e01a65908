"""Data sets in tar files: WebDataset shards, timm's ``wds/``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.sources import arrow, remote
from bench.data.sources.folders import IMAGE_SUFFIXES
from bench.data.sources.layouts import Entry, Listing
from bench.data.sources.prefixes import url_of
from bench.data.sources.remote import Member
from bench.data.sources.storage import SUFFIX, TEXT_SUFFIXES, parts_of, walk
from bench.data.sources.tables import SPLIT_NAMES
from bench.errors import BenchError

INFO = "_info.json"


def shards_in(root: Path) -> list[Path]:
    """Return the tar files of a folder, in order; of a URL those that ``_info.json`` names, if any.

    Raises:
        BenchError: what is behind a URL cannot be listed.
    """
    if url_of(root) is None:
        return sorted(path for path in root.glob(f"*{SUFFIX}") if path.is_file())
    names = _listed(_info(root)) or remote.names_in(root)
    return sorted(root / name for name in names if name.endswith(SUFFIX))


def key_of(path: str) -> str:
    """Return the key of a sample: a member's name up to the first dot after its folders.

    It does not have the archive in it, and is the same when the data are sharded anew. Of a row of
    an Arrow file: as :func:`bench.data.sources.arrow.key_of`.

    Args:
        path: of the image, with its archive.
    """
    parts = parts_of(path)
    if parts is not None and parts[0].endswith(arrow.SUFFIX):
        return arrow.key_of(*parts)
    name = PurePosixPath(path if parts is None else parts[1])
    return str(name.with_name(name.name.partition(".")[0] or name.name))


def read_shards(root: Path) -> Listing:
    """List samples of one image and its class: ``KEY.jpg`` with ``KEY.cls``, or with ``KEY.json``.

    ``.cls`` holds a class number, or a name; ``.json`` ``label`` (the same), and ``group``. Names
    of numbered classes are the ``classes`` of ``_info.json``. A shard whose name begins with
    ``train-``, ``valid-``, ``val-`` or ``test-`` is of that split.

    Raises:
        BenchError: a damaged archive; a key twice; an image without a class, or a class without
            an image.
    """
    classes = _info(root).get("classes")
    classes = tuple(map(str, classes)) if isinstance(classes, list) and classes else None
    listing = Listing(classes=classes)
    shard_of: dict[str, str] = {}
    for shard in shards_in(root):
        split = SPLIT_NAMES.get(shard.stem.replace("_", "-").partition("-")[0].lower())
        for entry in _samples(shard, classes, split):
            key = key_of(entry.path)
            if key in shard_of:
                raise BenchError(
                    f"key {key!r} is in {shard_of[key]} and in {shard.name}: give every image a "
                    "key of its own"
                )
            shard_of[key] = shard.name
            listing.entries.append(entry)
    splits = {entry.split for entry in listing.entries}
    if None in splits and len(splits) > 1:
        raise BenchError(
            f"{root}: some shards name their part (train-, valid-, test-) and others do not: name "
            "the part of all, or of none"
        )
    return listing


def _info(root: Path) -> dict[str, Any]:
    path = root / INFO
    try:
        content = json.loads(path.read_bytes() if url_of(root) is None else remote.read(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and url_of(root) is not None:
            raise BenchError(
                f"{error}: see that --data-dir is right and that you have the permission"
            ) from error
        raise BenchError(f"{path} cannot be read ({error}): mend it, or remove it") from error
    return content if isinstance(content, dict) else {}


def _listed(info: Mapping[str, Any]) -> list[str]:
    """Return the shards that timm's ``_info.json`` names: not every server lists what it has."""
    try:
        names = [name for split in info["splits"].values() for name in split["filenames"]]
    except (KeyError, TypeError, AttributeError):
        return []
    return [name for name in names if isinstance(name, str) and PurePosixPath(name).name == name]


def _samples(shard: Path, classes: tuple[str, ...] | None, split: str | None) -> Iterator[Entry]:
    images: dict[str, Member] = {}
    labels: dict[str, str] = {}
    groups: dict[str, str | None] = {}
    try:
        members = list(walk(shard))
    except (tarfile.TarError, OSError) as error:
        raise BenchError(f"{shard} cannot be read as a tar file ({error}): make it anew") from error
    for member in members:
        key, suffix = key_of(member.name), PurePosixPath(member.name).suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            if key in images:
                raise BenchError(
                    f"{shard}: key {key!r} has two images ({images[key].name} and {member.name}): "
                    "give every image a key of its own"
                )
            images[key] = member
        elif suffix in TEXT_SUFFIXES:
            label, group = _label(shard, member, classes)
            labels[key] = label or labels.get(key, "")
            groups[key] = group or groups.get(key)
    missing = [key for key in images if not labels.get(key)]
    if missing:
        raise BenchError(
            f"{shard}: {len(missing)} images have no class (first: {missing[0]}): give each a .cls "
            "beside it"
        )
    alone = [key for key in labels if key not in images]
    if alone:
        raise BenchError(
            f"{shard}: {len(alone)} classes have no image (first: {alone[0]}): the shard is not "
            "whole, make it anew"
        )
    for key, image in images.items():
        path = f"{shard.name}/{image.name}"
        yield Entry(path, image.size, labels[key], split, groups[key], image.offset)


def _label(shard: Path, member: Member, classes: tuple[str, ...] | None) -> tuple[str, str | None]:
    """Return class and group; the class is empty where the file says none."""
    where = f"{shard}: {member.name}"
    if member.text is None:
        raise BenchError(f"{where} is too long for a class: make it anew")
    try:
        content = {"label": member.text.decode("utf8")}
        if member.name.lower().endswith(".json"):
            content = json.loads(member.text)
        label, group = content.get("label"), content.get("group")
    except (ValueError, AttributeError) as error:
        raise BenchError(f"{where} holds no class ({error}): make it anew") from error
    label = "" if label is None else str(label).strip()
    if classes is not None and label.isdecimal():
        if int(label) >= len(classes):
            raise BenchError(
                f"{where} has class {label}, and {INFO} names {len(classes)}: mend one of them"
            )
        label = classes[int(label)]
    elif classes is not None and label and label not in classes:
        raise BenchError(
            f"{where} has class {label!r}, which {INFO} does not name: mend one of them"
        )
    return label, None if group is None else str(group)
