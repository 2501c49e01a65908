"""Which images a data set is of: told by their content too, and never by times or places."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench.data.cache import open_images
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.sources import fingerprint, remote, storage
from bench.data.sources.shard_writer import write_shards
from bench.data.splitting.hashes import hash_images
from bench.errors import BenchError


def index_of(folder: Path | str) -> ImageIndex:
    remote.status.cache_clear()
    return load_index(find_data(Path(folder), cwd=Path.cwd()))


def replace(path: Path, *, in_place: bool) -> None:
    """Other bytes of the same number, with the time of before."""
    before, data = path.stat(), path.read_bytes()
    other = data[:-40] + bytes(byte ^ 0x55 for byte in data[-40:])
    target = path if in_place else path.with_name("new")
    target.write_bytes(other)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    if not in_place:
        target.replace(path)
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.fixture
def sharded(photos: Path, tmp_path: Path) -> Path:
    index = index_of(photos)
    write_shards(index, tmp_path / "shards", shard_bytes=7 * max(index.file_sizes), seed=0)
    return tmp_path / "shards"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the images whose content is looked at."""
    paths: list[str] = []
    inner = fingerprint._content

    def note(root: Path, entry):
        paths.append(entry.path)
        return inner(root, entry)

    monkeypatch.setattr(fingerprint, "_content", note)
    return paths


@pytest.mark.parametrize("in_place", [True, False])
def test_a_replaced_picture_of_equal_size_is_another_data_set(photos: Path, in_place: bool) -> None:
    first = index_of(photos)
    replace(photos / "blast/003.png", in_place=in_place)
    second = index_of(photos)
    assert second.fingerprint != first.fingerprint
    assert (second.listing, second.file_sizes) == (first.listing, first.file_sizes)


def test_touched_or_copied_it_is_the_same(photos: Path, tmp_path: Path) -> None:
    first = index_of(photos)
    for path in photos.glob("*/*"):
        os.utime(path, (1, 1))
    assert index_of(photos).fingerprint == first.fingerprint
    shutil.copytree(photos, tmp_path / "elsewhere/copy", copy_function=shutil.copyfile)
    assert index_of(tmp_path / "elsewhere/copy").fingerprint == first.fingerprint


def test_a_label_is_of_the_listing_and_not_of_the_sample(photos: Path) -> None:
    first = index_of(photos)
    (photos / "blast").rename(photos / "zzz")
    renamed = index_of(photos)
    assert len({first.fingerprint, renamed.fingerprint}) == 2
    rows = [f"{path},{path[0]},train" for path in renamed.paths[:30]]
    rows += [f"{path},{path[0]},valid" for path in renamed.paths[30:]]
    rows[-1] = rows[-1].replace("valid", "train")
    (photos / "metadata.csv").write_text("\n".join(["path,label,split", *rows]))
    listed = index_of(photos)
    (photos / "metadata.csv").write_text(
        "\n".join(["path,label,split", *rows]).replace("valid", "test")
    )
    moved = index_of(photos)
    assert len({first.fingerprint, renamed.fingerprint, listed.fingerprint, moved.fingerprint}) == 4
    assert renamed.sample == listed.sample == moved.sample != first.sample


def test_both_digests_are_those_of_the_description(photos: Path) -> None:
    index = index_of(photos)

    def blake(data: bytes) -> str:
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    listing = "".join(
        f"{path}\0{(photos / path).stat().st_size}\0{path.split('/')[0]}\0\n"
        for path in index.paths
    )
    sample = "".join(f"{path}\0{blake((photos / path).read_bytes())}\n" for path in index.paths)
    assert (index.listing, index.sample) == (blake(listing.encode()), blake(sample.encode()))
    assert index.fingerprint == blake(f"2\0{index.listing}\0{index.sample}".encode())
    old = index.known_as(1)
    assert (old.fingerprint, old.fingerprint_version) == (index.listing, 1)
    assert index.known_as(2) is index
    assert index.identity() == {
        "fingerprint": index.fingerprint, "fingerprint_version": 2,
        "listing_fingerprint": index.listing,
    }  # fmt: skip


def test_of_many_images_some_are_read_always_the_same_ones(
    photos: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "SAMPLE", 5)
    first = index_of(photos)
    chosen = sorted(read)
    assert len(chosen) == 5
    read.clear()
    assert index_of(photos).fingerprint == first.fingerprint
    assert sorted(read) == chosen
    replace(photos / next(path for path in first.paths if path not in chosen), in_place=False)
    assert index_of(photos).fingerprint == first.fingerprint
    replace(photos / chosen[0], in_place=False)
    assert index_of(photos).fingerprint != first.fingerprint


def test_what_cannot_be_read_has_no_content(photos: Path) -> None:
    os.mkfifo(photos / "blast/pipe.jpg")
    (photos / "blast/endless.jpg").symlink_to("/dev/zero")
    (photos / "blast/nothing.jpg").symlink_to("/nowhere")
    first = index_of(photos)
    assert len(first) == 43
    (photos / "blast/nothing.jpg").unlink()
    (photos / "blast/nothing.jpg").touch()
    assert index_of(photos).fingerprint != first.fingerprint


# --- archives and what is behind a URL -------------------------------------------------------


def in_shard(shard: Path) -> bytes:
    """The shard with one pixel's byte changed, of the same size."""
    data = bytearray(shard.read_bytes())
    place = data.index(b"IDAT") + 60
    data[place] ^= 0x55
    return bytes(data)


def test_shards(sharded: Path, tmp_path: Path) -> None:
    first = index_of(sharded)
    shutil.copytree(sharded, tmp_path / "copy")
    assert index_of(tmp_path / "copy").fingerprint == first.fingerprint
    shard = next(iter(sorted(sharded.glob("*.tar"))))
    before = shard.stat()
    shard.write_bytes(in_shard(shard))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = index_of(sharded)
    assert second.fingerprint != first.fingerprint
    assert second.listing == first.listing


def test_members_of_a_replaced_shard_have_other_stamps(sharded: Path) -> None:
    index, shard = index_of(sharded), next(iter(sorted(sharded.glob("*.tar"))))
    own = [p for p, path in enumerate(index.paths) if path.startswith(shard.name)]
    stamps = [storage.stamp(index.path(p)) for p in range(len(index))]
    replace(shard, in_place=False)
    changed = [p for p in range(len(index)) if storage.stamp(index.path(p)) != stamps[p]]
    assert changed == own


@pytest.fixture
def bucket(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    system = fsspec.filesystem("memory")
    for path in sharded.iterdir():
        system.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    return "wds/memory://bucket/set"


@pytest.mark.parametrize("tells", [True, False])
def test_behind_a_url(
    sharded: Path, bucket: str, read: list[str], monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    if not tells:
        monkeypatch.setattr(remote, "CHANGES", ())
    first = index_of(bucket)
    assert first.fingerprint == index_of(sharded).fingerprint
    read.clear()
    assert index_of(bucket).fingerprint == first.fingerprint
    # What tells of a change need not be read again.
    assert len(read) == (0 if tells else 40)
    hashes = hash_images(first, cache=Path("cache").absolute())
    system = fsspec.filesystem("memory")
    shard = next(iter(sorted(sharded.glob("*.tar"))))
    system.pipe_file(f"/bucket/set/{shard.name}", in_shard(shard))
    second = index_of(bucket)
    assert second.fingerprint != first.fingerprint
    assert second.listing == first.listing
    storage._contents.cache_clear()
    now = hash_images(second, cache=Path("cache").absolute())
    assert (now.contents != hashes.contents).any(axis=1).sum() == 1


def test_a_url_that_cannot_be_read_is_no_other_data_set(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(member):
        raise OSError("memory://bucket/set cannot be read (TimeoutError: too slow)")

    monkeypatch.setattr(storage, "read", fail)
    with pytest.raises(BenchError, match=r"too slow.*try again"):
        index_of(bucket)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# --- caches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [True, False])
def test_no_cache_gives_what_a_file_was(
    photos: Path, tmp_path: Path, draw: Callable[..., Path], in_place: bool
) -> None:
    """Also where the file outside the fingerprint's sample has its size and time of before."""

    def look() -> tuple[np.ndarray, np.ndarray]:
        # As if no image were in the sample.
        index = attrs.evolve(index_of(photos), sample="")
        images = open_images(
            index, range(40), image_size=32, cache=tmp_path / "c", limit=1e9, workers=1
        )
        row = index.paths.index("blast/003.png")
        contents = hash_images(index, cache=tmp_path / "c").contents[row]
        return contents, np.array(images.read(row))

    path = photos / "blast/003.png"
    picture = draw(tmp_path / "other.png", seed=5, size=(40, 48)).read_bytes()
    size = max(len(picture), path.stat().st_size)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    before, (content, pixels) = path.stat(), look()
    target = path if in_place else tmp_path / "new.png"
    target.write_bytes(picture.ljust(size, b"\0"))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    if not in_place:
        target.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, before.st_mtime_ns)
    again, other = look()
    assert not np.array_equal(again, content)
    assert np.abs(other.astype(int) - pixels).mean() > 10
