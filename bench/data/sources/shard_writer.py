"""Writes a data folder into tar files, as WebDataset and timm's ``wds/`` read them."""

from __future__ import annotations

import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data.index import ImageIndex
from bench.data.sources import storage
from bench.data.sources.folders import IMAGE_SUFFIXES
from bench.data.sources.shards import INFO, key_of
from bench.data.sources.storage import SUFFIX, parts_of
from bench.errors import BenchError
from bench.imaging.decode import open_image


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
    splits: dict[str, dict[str, Any]] = {}
    done = 0
    for split in dict.fromkeys(index.parts):
        indices = [i for i, other in enumerate(index.parts) if other == split]
        random.Random(seed).shuffle(indices)
        lengths: dict[str, int] = {}
        for number, shard in enumerate(_fill(indices, index.file_sizes, shard_bytes)):
            name = f"{split or 'shard'}-{number:06}{SUFFIX}"
            with tarfile.open(out / f"{name}.part", "w") as archive:
                for i in shard:
                    _add(archive, keys[i], index, i)
                    done += 1
                    on_progress(done)
            (out / f"{name}.part").rename(out / name)
            lengths[name] = len(shard)
        # In timm's form; a set without splits is one to be divided.
        splits[split or "train"] = {
            "name": split or "train",
            "num_samples": len(indices),
            "filenames": list(lengths),
            "shard_lengths": list(lengths.values()),
        }
    info = {"splits": splits, "classes": list(index.classes)}
    (out / INFO).write_text(json.dumps(info, indent=1, ensure_ascii=False), encoding="utf8")
    return [name for split in splits.values() for name in split["filenames"]]


def _fill(indices: Sequence[int], sizes: Sequence[int], shard_bytes: float) -> list[list[int]]:
    """Divide images into shards, each of at least one."""
    shards: list[list[int]] = []
    taken = 0.0
    for index in indices:
        if not shards or taken + sizes[index] > shard_bytes:
            shards.append([])
            taken = 0.0
        shards[-1].append(index)
        taken += sizes[index]
    return shards


def _keys(paths: Sequence[str]) -> list[str]:
    """Return a key for each path: without its suffix, dots and whatever only a path can have."""
    names = [key_of(p) if parts_of(p) else str(PurePosixPath(p).with_suffix("")) for p in paths]
    plain = [name.replace(".", "_") for name in names]
    counts = Counter(plain)
    keys = [
        f"{key}_{PurePosixPath(path).suffix.removeprefix('.')}" if counts[key] > 1 else key
        for key, path in zip(plain, paths, strict=True)
    ]
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None:
        same = [path for path, key in zip(paths, keys, strict=True) if key == twice]
        raise BenchError(
            f"{' and '.join(same[:2])} would have the same key, {twice!r}: rename one of them"
        )
    return keys


def _add(archive: tarfile.TarFile, key: str, index: ImageIndex, i: int) -> None:
    data = storage.read_bytes(index.path(i))
    members = {_suffix(index.paths[i], data): data, ".cls": str(index.labels[i]).encode()}
    if index.groups and index.groups[i] is not None:
        members[".json"] = json.dumps({"group": index.groups[i]}).encode()
    for suffix, content in members.items():
        member = tarfile.TarInfo(f"{key}{suffix}")
        member.size, member.mtime, member.mode = len(content), 0, 0o644
        archive.addfile(member, BytesIO(content))


def _suffix(path: str, data: bytes) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix
    # A row of a table that does not name its image's file.
    try:
        with open_image(BytesIO(data)) as image:
            # Pillow's name for a JPEG with several pictures in it is MPO.
            return f".{image.format}".lower().replace(".mpo", ".jpeg")
    except Exception as error:  # as of every decoder
        raise BenchError(f"{path} is no image that can be read: remove it") from error
