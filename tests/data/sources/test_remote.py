"""Shards behind a URL: listed once, and read in ranges."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bench.cli.main import main
from bench.data.cache import open_images
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.sources import remote, storage
from bench.data.sources.prefixes import absolute, real_folder, url_of
from bench.data.sources.shard_writer import write_shards
from bench.data.sources.storage import read_bytes, stamp
from bench.errors import BenchError


def index_of(folder: Path | str) -> ImageIndex:
    return load_index(find_data(Path(folder), cwd=Path.cwd()))


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path / "cache"))
    remote.status.cache_clear()
    storage._contents.cache_clear()


@pytest.fixture
def sharded(photos: Path, tmp_path: Path) -> Path:
    index = index_of(photos)
    write_shards(index, tmp_path / "shards", shard_bytes=7 * max(index.file_sizes), seed=0)
    return tmp_path / "shards"


@pytest.fixture
def bucket(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shards in a store that is no disk."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    system = fsspec.filesystem("memory")
    for path in sharded.iterdir():
        system.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    return "wds/memory://bucket/set"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3:/bucket/x.tar", "s3://bucket/x.tar"),
        ("https:/host/x", "https://host/x"),
        ("file:/tmp/x", "file:///tmp/x"),
        ("memory:/bucket/x", "memory:///bucket/x"),
        ("/tmp/x", None),
        ("x/s3:/y", None),
        # A drive, not a kind of filesystem.
        ("c:/x", None),
    ],
)
def test_a_path_of_a_url_is_that_url_again(path: str, url: str | None) -> None:
    assert url_of(Path(path)) == url
    assert absolute(Path(path)) == (Path(path) if url else Path(path).absolute())


def test_what_is_behind_a_url_is_what_the_folder_holds(sharded: Path, bucket: str) -> None:
    folder = index_of(sharded)
    for url in (bucket, f"wds/file://{sharded}", f"file://{sharded}"):
        index = index_of(url)
        assert (index.paths, index.labels, index.classes) == (
            folder.paths, folder.labels, folder.classes,
        )  # fmt: skip
        assert index.fingerprint == folder.fingerprint
        assert [read_bytes(index.path(p)) for p in range(40)] == [
            read_bytes(folder.path(p)) for p in range(40)
        ]


def test_pixels_are_the_same(sharded: Path, bucket: str, tmp_path: Path) -> None:
    options = {"image_size": 32, "limit": 1e9, "workers": 2}
    one = open_images(index_of(sharded), range(40), cache=None, **options)
    for cache in (None, tmp_path / "decoded"):
        # In processes of their own, which have no part of this one's memory.
        other = open_images(index_of(f"file://{sharded}"), range(40), cache=cache, **options)
        assert all(np.array_equal(one.read(p), other.read(p)) for p in range(40))


def test_an_archive_is_gone_through_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = MemoryFileSystem._open

    def noted(self, path, *arguments, **keywords):
        opened.append(path)
        return real(self, path, *arguments, **keywords)

    monkeypatch.setattr(MemoryFileSystem, "_open", noted)
    first = index_of(bucket)
    tars = [path for path in opened if path.endswith(".tar")]
    assert len(tars) == len(set(tars)) == len({path.split("/")[0] for path in first.paths})
    opened.clear()
    storage._contents.cache_clear()
    again = index_of(bucket)
    assert again == first
    assert not [path for path in opened if path.endswith(".tar")]


def test_an_archive_that_is_changed_is_gone_through_anew(bucket: str, tmp_path: Path) -> None:
    index = index_of(bucket)
    before = stamp(index.path(0))
    system = fsspec.filesystem("memory")
    shard = index.paths[0].split("/")[0]
    system.pipe_file(f"/bucket/set/{shard}", system.cat_file(f"/bucket/set/{shard}") + bytes(1024))
    kept = list((tmp_path / "cache" / "shards").iterdir())
    remote.status.cache_clear()
    assert stamp(index.path(0)) != before
    assert index_of(bucket).paths == index.paths
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == len(kept) + 1


def test_what_a_server_says_of_a_change_is_heard(bucket: str, monkeypatch) -> None:
    index, said = index_of(bucket), {"size": 10240}
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_, **__: dict(said))
    shard, found = index.root / index.paths[0].split("/")[0], []
    for key in ("Last-Modified", "ETag", "LastModified", "Content-MD5"):
        for value in ("Mon", "Tue"):
            said[key] = value
            remote.status.cache_clear()
            found.append(remote.status(shard))
    assert len(set(found)) == 8


def test_no_list_is_kept_of_what_may_change_unheard(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = MemoryFileSystem.info
    monkeypatch.setattr(
        MemoryFileSystem,
        "info",
        lambda *a, **k: {key: v for key, v in info(*a, **k).items() if key != "created"},
    )
    index = index_of(bucket)
    assert len(index) == 40
    assert stamp(index.path(0))[1] == 0
    assert not (tmp_path / "cache" / "shards").exists()


def test_a_server_that_gives_whole_files_only(bucket: str, monkeypatch) -> None:
    index = index_of(bucket)
    real = MemoryFileSystem.cat_file
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda self, path, **_: real(self, path))
    with pytest.raises(OSError, match=r"\.tar is given whole only, not in parts: copy it"):
        read_bytes(index.path(0))


def test_a_folder_behind_a_url_may_be_called_as_an_archive_is(sharded: Path, tmp_path) -> None:
    folder = tmp_path / "my.tar"
    sharded.rename(folder)
    index = index_of(f"file://{folder}")
    assert len({read_bytes(index.path(p)) for p in range(40)}) == 40


def test_a_list_that_cannot_be_kept_or_read_is_made_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of(bucket)
    for path in (tmp_path / "cache" / "shards").iterdir():
        path.write_text("[[1]]")
    assert index_of(bucket) == index
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path / "file"))
    assert index_of(bucket) == index


def test_who_does_not_list_its_files_is_asked_for_those_that_are_named(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of(bucket)
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_, **__: pytest.fail("asked for a list"))
    assert index_of(bucket) == index
    system = fsspec.filesystem("memory")
    info = json.loads(system.cat_file("/bucket/set/_info.json"))
    info["splits"]["train"]["filenames"] += ["../secret.tar", 3]
    system.pipe_file("/bucket/set/_info.json", json.dumps(info).encode())
    assert index_of(bucket).paths == index.paths


@pytest.mark.slow
def test_a_sweep_trains_on_them(sharded: Path, tiny_plugin: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        f"run --variants Tiny --plugin {tiny_plugin} --data-dir wds/file://{sharded} --epochs 2 "
        "--batch-size 8 --image-size 32 --no-timing --tune off --threads 1 --no-cache "
        "--num-workers 1"
    )
    assert main(line.split()) == 0
    assert main([*line.replace("file://", "").split(), "--results-dir", "other"]) == 0
    found = []
    for root in ("results", "other"):
        (path,) = tmp_path.glob(f"{root}/*/run.json")
        found.append(json.loads(path.read_text()))
    for key in ("ids", "labels", "predictions", "confidences"):
        assert found[0]["validation"][key] == found[1]["validation"][key]
    assert found[0]["data"]["root"] == f"file:{sharded}"


# --- what is wrong ---------------------------------------------------------------------------


def refused(url: str) -> str:
    with pytest.raises(BenchError) as error:
        index_of(real_folder(Path(url)))
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_filesystem_that_nobody_knows_or_has() -> None:
    text = refused("wds/nosuch://bucket/x")
    assert text.startswith("--data-dir nosuch://bucket/x: Protocol not known: nosuch")
    assert "give a URL that fsspec knows" in text


def test_what_a_filesystem_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class DeniedError(Exception):
        pass

    def denied(url: str) -> None:
        raise DeniedError("Authentication\nfailed")

    monkeypatch.setattr(fsspec.core, "url_to_fs", denied)
    assert "--data-dir sftp://host/x: Authentication failed: give a URL" in refused("sftp://host/x")


def test_a_password_is_not_written_down() -> None:
    text = refused("wds/sftp://me:secret@host/x")
    assert "has a password in its URL" in text
    assert "secret" not in text
    assert real_folder(Path("sftp://me@host/x")) == Path("sftp:/me@host/x")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    assert refused("wds/s3://bucket/x") == ("--data-dir s3://bucket/x: Install s3fs to access S3")


def test_a_folder_that_is_not_there_or_not_open(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refused("wds/memory://bucket/other")
    assert "memory:///bucket/other cannot be listed (FileNotFoundError" in text
    assert "you have the permission" in text

    def denied(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", denied)
    assert refused(bucket) == (
        "memory:///bucket/set/_info.json cannot be read (PermissionError: Access Denied): see that "
        "--data-dir is right and that you have the permission"
    )


def test_what_is_cut_short(bucket: str) -> None:
    index = index_of(bucket)
    system = fsspec.filesystem("memory")
    shard = index.paths[0].split("/")[0]
    with pytest.raises(FileNotFoundError):
        read_bytes(index.root / shard / "nobody.png")
    whole = system.cat_file(f"/bucket/set/{shard}")
    system.pipe_file(f"/bucket/set/{shard}", whole[:600])
    with pytest.raises(OSError, match="ends within a member"):
        read_bytes(index.path(0))
    remote.status.cache_clear()
    storage._contents.cache_clear()
    assert "cannot be read as a tar file" in refused(bucket)
