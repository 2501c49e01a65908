from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.data.index import Location, load_index
from bench.data.splitting import hashes
from bench.data.splitting.hashes import Hashes, hash_images

Draw = Callable[..., Path]


@pytest.fixture
def root(folders: Callable[..., Path]) -> Path:
    return folders({"a": 3, "b": 2})


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read and hashed, not taken from the cache."""
    names: list[str] = []
    inner = hashes._hash

    def count(path: Path):
        names.append(f"{path.parent.name}/{path.name}")
        return inner(path)

    monkeypatch.setattr(hashes, "_hash", count)
    return names


def look(root: Path, cache: Path | None) -> Hashes:
    return hash_images(load_index(Location(root, "class-folders")), cache=cache, workers=2)


def same(one: Hashes, other: Hashes) -> bool:
    names = ("contents", "hashes", "thumbnails", "decoded")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_shapes(root: Path) -> None:
    (root / "a/broken.jpg").write_bytes(b"no picture")
    (root / "a/empty.jpg").touch()
    found = look(root, None)
    assert found.contents.shape == (7, 16)
    assert found.hashes.shape == (7, 8)
    assert found.thumbnails.shape == (7, 16, 16, 3)
    assert found.decoded.tolist() == [True] * 3 + [False] * 2 + [True] * 2
    assert found.contents.any(axis=1).tolist() == [True] * 4 + [False] + [True] * 2


def test_what_is_in_the_cache_is_not_read_again(
    root: Path, tmp_path: Path, hashed: list[str]
) -> None:
    cache = tmp_path / "cache"
    first = look(root, cache)
    assert len(hashed) == 5
    hashed.clear()
    assert same(look(root, cache), first)
    assert hashed == []
    assert same(look(root, None), first)
    assert len(hashed) == 5


def test_a_changed_file_is_read_again(
    root: Path, tmp_path: Path, hashed: list[str], draw: Draw
) -> None:
    cache = tmp_path / "cache"
    first = look(root, cache)
    hashed.clear()
    before = (root / "a/001.png").stat()
    draw(root / "a/001.png", seed=99)
    draw(root / "b/new.png", seed=98)
    os.utime(root / "a/001.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = look(root, cache)
    assert sorted(hashed) == ["a/001.png", "b/new.png"]
    assert not np.array_equal(first.hashes[1], second.hashes[1])
    assert np.array_equal(first.hashes[:1], second.hashes[:1])
    hashed.clear()
    assert same(look(root, cache), second)
    assert hashed == []


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04cut short"])
def test_a_damaged_cache_is_made_again(
    root: Path, tmp_path: Path, hashed: list[str], content: bytes
) -> None:
    cache = tmp_path / "cache"
    first = look(root, cache)
    (file,) = (cache / "copies").iterdir()
    file.write_bytes(content)
    hashed.clear()
    assert same(look(root, cache), first)
    assert len(hashed) == 5
    hashed.clear()
    look(root, cache)
    assert hashed == []


def test_a_cache_that_cannot_be_written_is_passed_over(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert same(look(root, tmp_path / "file"), look(root, None))


def test_a_file_that_could_not_be_read_is_tried_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert not look(root, tmp_path / "cache").decoded.any()
    assert look(root, tmp_path / "cache").decoded.all()


def test_two_data_folders_have_a_cache_each(
    folders: Callable[..., Path], tmp_path: Path, hashed: list[str]
) -> None:
    one, other = folders({"a": 1, "b": 1}, "one"), folders({"a": 1, "c": 1}, "other")
    look(one, tmp_path / "cache")
    look(other, tmp_path / "cache")
    hashed.clear()
    look(one, tmp_path / "cache")
    look(other, tmp_path / "cache")
    assert hashed == []


def test_progress_and_interruption(root: Path, tmp_path: Path) -> None:
    index = load_index(Location(root, "class-folders"))
    seen: list[tuple[int, int]] = []
    hash_images(index, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(6)]

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_images(index, cache=tmp_path / "cache", on_progress=stop)


def test_what_never_comes_to_an_end_is_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "zeros.jpg").symlink_to("/dev/zero")
    read: list[str] = []
    real = Path.read_bytes

    def spy(path: Path) -> bytes:
        read.append(path.name)
        return b"" if path.name in ("pipe.jpg", "zeros.jpg") else real(path)

    monkeypatch.setattr(Path, "read_bytes", spy)
    found = look(root, None)
    assert len(read) == len(found.decoded) - 2 == 5
    assert not {"pipe.jpg", "zeros.jpg"} & set(read)
    assert found.decoded.sum() == 5
