"""Writes a data folder into tar files, as WebDataset and timm's ``wds/`` read them."""

from __future__ import annotations

import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

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
        name = key_of(path) if parts else str(PurePosixPath(path).with_suffix(""))
        plain.append(name.replace(".", "_"))
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
    data = storage.read_bytes(index.path(position))
    suffix = _suffix(index.paths[position], data)
    group = index.groups[position] if index.groups else None
    members = [(f"{key}{suffix}", data), (f"{key}.cls", str(index.labels[position]).encode())]
    if group is not None:
        members.append((f"{key}.json", json.dumps({"group": group}).encode()))
    for name, content in members:
        about = tarfile.TarInfo(name)
        about.size, about.mtime, about.mode = len(content), 0, 0o644
        archive.addfile(about, BytesIO(content))


def _suffix(path: str, data: bytes) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix
    # A row of a table that does not name its image's file.
    try:
        with open_image(BytesIO(data)) as image:
            # Pillow's name for a JPEG with several pictures in it.
            name = {"MPO": "jpeg"}.get(str(image.format), str(image.format))
            return f".{name}".lower()
    except Exception as error:  # as of every decoder
        raise BenchError(f"{path} is no image that can be read: remove it") from error
