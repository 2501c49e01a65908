"""Data sets in tar files: WebDataset shards, timm's ``wds/``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bench.data.sources import arrow, remote
from bench.data.sources.folders import IMAGE_SUFFIXES
from bench.data.sources.layouts import Entry, Found
from bench.data.sources.prefixes import url_of
from bench.data.sources.storage import SUFFIX, TEXT_SUFFIXES, parts_of, walk
from bench.data.sources.tables import PART_NAMES
from bench.errors import BenchError

if TYPE_CHECKING:
    pass

INFO = "_info.json"


def shards_in(root: Path) -> list[Path]:
    """The tar files of a folder, in order; of a URL those that ``_info.json`` names, if it does.

    Raises:
        BenchError: what is behind a URL cannot be listed.
    """
    if url_of(root) is None:
        return sorted(path for path in root.glob(f"*{SUFFIX}") if path.is_file())
    names = _listed(_info(root)) or remote.names_in(root)
    return sorted(root / name for name in names if name.endswith(SUFFIX))


def key_of(path: str) -> str:
    """The key of a sample: a member's name up to the first dot after its folders.

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


def read_shards(root: Path) -> Found:
    """Samples of one image and its class: ``KEY.jpg`` with ``KEY.cls``, or with ``KEY.json``.

    ``.cls`` holds a class number, or a name; ``.json`` ``label`` (the same), and ``group``. Names
    of numbered classes are the ``classes`` of ``_info.json``. A shard whose name begins with
    ``train-``, ``valid-``, ``val-`` or ``test-`` is of that part.

    Raises:
        BenchError: a damaged archive; a key twice; an image without a class, or a class without
            an image.
    """
    info = _info(root)
    names = info.get("classes")
    names = tuple(map(str, names)) if isinstance(names, list) and names else None
    found = Found(classes=names)
    seen: dict[str, str] = {}
    for shard in shards_in(root):
        part = PART_NAMES.get(shard.stem.replace("_", "-").partition("-")[0].lower())
        for entry in _samples(shard, names, part):
            key = key_of(entry.path)
            if key in seen:
                raise BenchError(
                    f"key {key!r} is in {seen[key]} and in {shard.name}: give every image a key of "
                    "its own"
                )
            seen[key] = shard.name
            found.entries.append(entry)
    parts = {entry.part for entry in found.entries}
    if None in parts and len(parts) > 1:
        raise BenchError(
            f"{root}: some shards name their part (train-, valid-, test-) and others do not: name "
            "the part of all, or of none"
        )
    return found


def _info(root: Path) -> dict[str, Any]:
    place = root / INFO
    try:
        data = place.read_bytes() if url_of(root) is None else remote.read(place)
        content = json.loads(data)
    except FileNotFoundError:
        return {}
    except OSError as error:
        if url_of(root) is None:
            raise BenchError(f"{place} cannot be read ({error}): mend it, or remove it") from error
        raise BenchError(
            f"{error}: see that --data-dir is right and that you have the permission"
        ) from error
    except ValueError as error:
        raise BenchError(f"{place} cannot be read ({error}): mend it, or remove it") from error
    return content if isinstance(content, dict) else {}


def _listed(info: Mapping[str, Any]) -> list[str]:
    """The shards that timm's ``_info.json`` names: not every server lists what it has."""
    splits = info.get("splits")
    found = [
        one.get("filenames") for one in (splits.values() if isinstance(splits, dict) else [])
        if isinstance(one, dict)
    ]  # fmt: skip
    names = [name for some in found if isinstance(some, list) for name in some]
    return [name for name in names if isinstance(name, str) and PurePosixPath(name).name == name]


def _samples(shard: Path, names: tuple[str, ...] | None, part: str | None) -> Iterator[Entry]:
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, tuple[str, str | None]] = {}
    try:
        contents = list(walk(shard))
    except (tarfile.TarError, OSError) as error:
        raise BenchError(f"{shard} cannot be read as a tar file ({error}): make it anew") from error
    for name, offset, size, text in contents:
        key, suffix = key_of(name), PurePosixPath(name).suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            if key in images:
                raise BenchError(
                    f"{shard}: key {key!r} has two images ({images[key][0]} and {name}): give "
                    "every image a key of its own"
                )
            images[key] = name, size, offset
        elif suffix in TEXT_SUFFIXES:
            label, group = _label(shard, name, text, names)
            before = labels.get(key, ("", None))
            labels[key] = label or before[0], group or before[1]
    missing = [key for key in images if not labels.get(key, ("", None))[0]]
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
    for key, (name, size, offset) in images.items():
        yield Entry(f"{shard.name}/{name}", size, labels[key][0], part, labels[key][1], offset)


def _label(
    shard: Path, name: str, data: bytes | None, names: tuple[str, ...] | None
) -> tuple[str, str | None]:
    """Class and group; the class is empty where the file says none."""
    group: str | None = None
    if data is None:
        raise BenchError(f"{shard}: {name} is too long for a class: make it anew")
    try:
        text: object = data.decode("utf8").strip()
        if name.lower().endswith(".json"):
            content = json.loads(data)
            text, group = content.get("label"), content.get("group")
    except (UnicodeDecodeError, ValueError, AttributeError) as error:
        raise BenchError(f"{shard}: {name} holds no class ({error}): make it anew") from error
    label = "" if text is None else str(text).strip()
    if names is not None and label and not label.isdecimal() and label not in names:
        raise BenchError(
            f"{shard}: {name} has class {label!r}, which {INFO} does not name: mend one of them"
        )
    if names is not None and label.isdecimal():
        if int(label) >= len(names):
            raise BenchError(
                f"{shard}: {name} has class {label}, and {INFO} names {len(names)}: mend one of "
                "them"
            )
        label = names[int(label)]
    return label, None if group is None else str(group)
