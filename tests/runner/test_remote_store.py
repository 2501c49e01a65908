"""Folders of runs on another filesystem."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from bench.errors import BenchError
from bench.records import write_record
from bench.runner import remote_store
from bench.runner.context import Run
from bench.runner.queue import note_folder, note_of, noted
from bench.runner.remote_store import Mirror, check_url, clear, put, working
from tests.records.test_store import record as make_record

URL = "memory://sweeps/one"
ONE, OTHER = (Run(seed, None, parts=None) for seed in (0, 1))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def empty() -> None:
    fsspec.filesystem("memory").store.clear()


def run_in(results: Path, name: str, sweep: str) -> Path:
    folder = results / name
    folder.mkdir(parents=True)
    record = make_record()
    record["sweep"]["id"], record["variant"]["name"] = sweep, "Tiny"
    record["data"]["fold"] = None
    write_record(folder, record)
    (folder / "last.pt").write_bytes(name.encode())
    return folder


def test_a_url_is_tried_before_anything_is_trained(tmp_path: Path) -> None:
    check_url(URL)
    check_url(f"file://{tmp_path}/new/folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(BenchError, match=r"nosuch://x: .* give a URL that fsspec knows"):
        check_url("nosuch://x")
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"cannot be written to \(.*see that the folder is there"):
        check_url(f"file://{tmp_path}/file/inner")


def test_a_run_is_put_with_its_folder(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "results", "Tiny_1", "a")
    (folder / "half.part").touch()
    put(folder, URL)
    system = fsspec.filesystem("memory")
    names = {path.rsplit("/", 1)[-1] for path in system.ls("/sweeps/one/Tiny_1", detail=False)}
    assert names == {"run.json", "last.pt"}


def test_what_a_lost_worker_had_is_fetched_by_the_next(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(remote_store, "LOOK_S", 0.01)
    first, second = tmp_path / "first", tmp_path / "second"
    with Mirror(first, URL) as one:
        folder = run_in(first, "Tiny_1", "a")
        run_in(first, "Tiny_2", "a")
        note_folder(first, "task-a-0", "Tiny", folder)
        one.keep(first / note_of("task-a-0", "Tiny"))
    again = Mirror(second, URL)
    again.fetch([note_of("task-a-0", "Tiny"), note_of("task-a-1", "Tiny")])
    assert {path.name for path in second.glob("[!.]*")} == {"Tiny_1"}
    assert (second / "Tiny_1" / "last.pt").read_bytes() == b"Tiny_1"
    found, record = noted(second, "task-a-0", "Tiny", "a", ONE) or (None, {})
    assert found == second / "Tiny_1"
    assert record["sweep"]["id"] == "a"
    # It is that run and no other.
    for sweep, variant, run in (("b", "Tiny", ONE), ("a", "Other", ONE), ("a", "Tiny", OTHER)):
        assert noted(second, "task-a-0", variant, sweep, run) is None
    # What was not changed since is not copied back.
    assert again._changed() == []
    (second / "Tiny_1" / "last.pt").write_bytes(b"later")
    assert [path.name for path in again._changed()] == ["last.pt"]


@pytest.mark.parametrize("name", ["../outside", ".hidden", "a/b", ""])
def test_a_note_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    fsspec.filesystem("memory").pipe_file("/sweeps/one/.task-a-0-Tiny", name.encode())
    Mirror(tmp_path / "results", URL).fetch([".task-a-0-Tiny"])
    assert list((tmp_path / "results").iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "results"]


def test_a_note_of_a_run_that_was_lost_before_its_first_copy(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/sweeps/one/.task-a-0-Tiny", b"Tiny_1")
    Mirror(tmp_path / "results", URL).fetch([".task-a-0-Tiny"])
    assert list((tmp_path / "results").iterdir()) == []


def test_what_a_task_goes_on_from_is_removed_when_it_has_ended() -> None:
    url = working(URL, "task-a-seed-0")
    assert url == f"{URL}/.working/task-a-seed-0"
    system = fsspec.filesystem("memory")
    system.pipe_file("/sweeps/one/.working/task-a-seed-0/Tiny_1/last.pt", b"state")
    clear(url)
    assert not system.exists("/sweeps/one/.working/task-a-seed-0")
    clear(url)  # nothing is there
    clear("nosuch://x")


def test_a_copy_that_fails_is_said_and_tried_again(tmp_path: Path, monkeypatch, caplog) -> None:
    run_in(tmp_path / "results", "Tiny_1", "a")
    system = fsspec.filesystem("memory")
    copied = system.put_file

    def full(*args: object, **options: object) -> None:
        raise OSError("the bucket is full")

    monkeypatch.setattr(type(system), "put_file", full)
    one = Mirror(tmp_path / "results", URL)
    one._copy()
    assert len(caplog.messages) == 2
    assert "the bucket is full" in caplog.messages[0]
    monkeypatch.setattr(type(system), "put_file", lambda self, *args: copied(*args))
    one._copy()
    assert len(caplog.messages) == 2
    assert system.exists("/sweeps/one/Tiny_1/last.pt")


def test_what_a_filesystem_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class DeniedError(Exception):
        pass

    def denied(url: str) -> None:
        raise DeniedError("Authentication\nfailed")

    monkeypatch.setattr(fsspec.core, "url_to_fs", denied)
    with pytest.raises(BenchError, match=r"^--gather sftp://h/x: Authentication failed: give a"):
        check_url("sftp://h/x")
