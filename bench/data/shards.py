"""Data sets in tar files (WebDataset shards, timm's ``wds/``): found, and written from a folder."""

from __future__ import annotations

import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bench.data import files
from bench.data.archives import SUFFIX, Member, parts_of, read, walk
from bench.data.layouts import Entry, Found
from bench.data.suffixes import IMAGE_SUFFIXES
from bench.data.tables import PART_NAMES
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.index import ImageIndex

INFO = "_info.json"


def shards_in(root: Path) -> list[Path]:
    """The tar files of a folder, in order."""
    return sorted(path for path in root.glob(f"*{SUFFIX}") if path.is_file())


def key_of(path: str) -> str:
    """The key of a sample: a member's name up to the first dot after its folders.

    It does not have the archive in it, and is the same when the data are sharded anew.

    Args:
        path: of the image, with its archive.
    """
    parts = parts_of(path)
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


def _info(root: Path) -> dict[str, object]:
    try:
        content = json.loads((root / INFO).read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{root / INFO} cannot be read ({error}): mend it, or remove it"
        ) from error
    return content if isinstance(content, dict) else {}


def _samples(shard: Path, names: tuple[str, ...] | None, part: str | None) -> Iterator[Entry]:
    images: dict[str, tuple[str, int]] = {}
    labels: dict[str, tuple[str, str | None]] = {}
    try:
        contents = list(walk(shard))
    except (tarfile.TarError, OSError) as error:
        raise BenchError(f"{shard} cannot be read as a tar file ({error}): make it anew") from error
    for name, offset, size in contents:
        key, suffix = key_of(name), PurePosixPath(name).suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            if key in images:
                raise BenchError(
                    f"{shard}: key {key!r} has two images ({images[key][0]} and {name}): give "
                    "every image a key of its own"
                )
            images[key] = name, size
        elif suffix in (".cls", ".json"):
            data = read(Member(shard, offset, size, 0))
            label, group = _label(shard, name, data, names)
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
    for key, (name, size) in images.items():
        yield Entry(f"{shard.name}/{name}", size, labels[key][0], part, labels[key][1])


def _label(
    shard: Path, name: str, data: bytes, names: tuple[str, ...] | None
) -> tuple[str, str | None]:
    """Class and group; the class is empty where the file says none."""
    group: str | None = None
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


# --- writing ---------------------------------------------------------------------------------


def write_shards(
    index: ImageIndex,
    out: Path,
    *,
    shard_bytes: float,
    seed: int,
    on_progress: Callable[[int], object] = lambda done: None,
) -> list[str]:
    """Write images with their classes into tar files, as WebDataset and timm read them.

    The images of a shard are drawn from all of their part. Files are copied as they are; keys are
    their paths, so that a folder that grows gives the same keys.

    Args:
        index: of a data folder.
        out: made; must be empty.
        shard_bytes: of images in a shard, about.
        seed: of the order.
        on_progress: called with images done.

    Returns:
        The names of the shards.

    Raises:
        BenchError: the folder has something in it, or cannot be written; an image cannot be read.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise BenchError(f"{out} is not empty: give a new folder")
        return _write(index, out, shard_bytes, seed, on_progress)
    except OSError as error:
        raise BenchError(f"{error}: see that it can be read, and that {out} has room") from error


def _write(
    index: ImageIndex,
    out: Path,
    shard_bytes: float,
    seed: int,
    on_progress: Callable[[int], object],
) -> list[str]:
    keys = _keys(index.paths)
    splits: dict[str, dict[str, object]] = {}
    names: list[str] = []
    done = 0
    for part in dict.fromkeys(index.parts):
        positions = [p for p, own in enumerate(index.parts) if own == part]
        random.Random(seed).shuffle(positions)
        files_of, lengths = [], []
        for number, shard in enumerate(_filled(positions, index.file_sizes, shard_bytes)):
            name = f"{part or 'shard'}-{number:06}{SUFFIX}"
            with tarfile.open(out / f"{name}.part", "w") as archive:
                for position in shard:
                    _add(archive, keys[position], index, position)
                    done += 1
                    on_progress(done)
            (out / f"{name}.part").rename(out / name)
            files_of.append(name)
            lengths.append(len(shard))
        # In timm's form; a set without parts is one to be divided.
        split = part or "train"
        splits[split] = {
            "name": split,
            "num_samples": len(positions),
            "filenames": files_of,
            "shard_lengths": lengths,
        }
        names += files_of
    info = {"splits": splits, "classes": list(index.classes)}
    (out / INFO).write_text(json.dumps(info, indent=1, ensure_ascii=False), encoding="utf8")
    return names


def _filled(
    positions: Sequence[int], sizes: Sequence[int], shard_bytes: float
) -> Iterator[list[int]]:
    shard: list[int] = []
    taken = 0.0
    for position in positions:
        if shard and taken + sizes[position] > shard_bytes:
            yield shard
            shard, taken = [], 0.0
        shard.append(position)
        taken += sizes[position]
    if shard:
        yield shard


def _keys(paths: Sequence[str]) -> list[str]:
    """A key for each path: without its suffix, dots and whatever only a path can have."""
    plain = []
    for path in paths:
        parts = parts_of(path)
        name = PurePosixPath(parts[1] if parts else path)
        plain.append(str(name.with_suffix("")).replace(".", "_"))
    twice = {key for key, count in Counter(plain).items() if count > 1}
    suffixed = [
        f"{key}_{PurePosixPath(path).suffix.removeprefix('.')}" if key in twice else key
        for key, path in zip(plain, paths, strict=True)
    ]
    if len(set(suffixed)) < len(suffixed):
        again = next(key for key, count in Counter(suffixed).items() if count > 1)
        both = [path for path, key in zip(paths, suffixed, strict=True) if key == again]
        raise BenchError(
            f"{' and '.join(both[:2])} would have the same key, {again!r}: rename one of them"
        )
    return suffixed


def _add(archive: tarfile.TarFile, key: str, index: ImageIndex, position: int) -> None:
    data = files.read_bytes(index.path(position))
    suffix = PurePosixPath(index.paths[position]).suffix.lower()
    group = index.groups[position] if index.groups else None
    members = [(f"{key}{suffix}", data), (f"{key}.cls", str(index.labels[position]).encode())]
    if group is not None:
        members.append((f"{key}.json", json.dumps({"group": group}).encode()))
    for name, content in members:
        about = tarfile.TarInfo(name)
        about.size, about.mtime, about.mode = len(content), 0, 0o644
        archive.addfile(about, BytesIO(content))
