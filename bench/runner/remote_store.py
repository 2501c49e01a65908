"""Folders of runs on any filesystem that fsspec knows: S3, Google Cloud, SSH, a mounted one."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.sources.remote import open_url
from bench.errors import BenchError, error_line
from bench.records.store import NEW, RECORD

logger = logging.getLogger(__name__)

# How often a folder is looked at for what has changed.
LOOK_S = 2.0


def check_url(url: str) -> None:
    """See that a folder can be written to.

    Raises:
        BenchError: it cannot.
    """
    system, path = _open(url)
    probe = f"{path}/.paddy-bench-{secrets.token_hex(4)}"
    try:
        system.makedirs(path, exist_ok=True)
        system.pipe_file(probe, b"")
        system.rm_file(probe)
    except Exception as error:  # every filesystem has errors of its own
        raise BenchError(
            f"--gather {url} cannot be written to ({type(error).__name__}: {error_line(error)}): "
            "see that the folder is there and that you have the permission"
        ) from error


def _open(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and the path there without a slash at its end."""
    system, path = open_url(url, "--gather")
    return system, path.rstrip("/")


def working(url: str, task: str) -> str:
    """Where a worker keeps what its task goes on from: two tasks may call a run the same.

    Args:
        url: of the folder that gathers the runs.
        task: its name.
    """
    return f"{url.rstrip('/')}/.working/{task}"


def clear(url: str) -> None:
    """Remove a folder, where it is there and can be removed."""
    with contextlib.suppress(Exception):
        system, path = _open(url)
        if system.exists(path):
            system.rm(path, recursive=True)


def put(path: Path, url: str) -> None:
    """Copy a file, or what a folder holds, into the folder of a URL; files of one name go.

    Raises:
        Exception: as the filesystem has it.
    """
    system, root = _open(url)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and not file.name.endswith((".part", ".lock")):
            target = f"{root}/{file.relative_to(path.parent).as_posix()}"
            system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            system.put_file(str(file), target)


class Mirror:
    """Keeps a folder of runs on another filesystem while they are trained; a context manager.

    Args:
        results: the folder.
        url: of the one that holds the copies.
    """

    def __init__(self, results: Path, url: str) -> None:
        self._results, self._url = results, url
        self._seen: dict[Path, tuple[int, ...]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def fetch(self, notes: Sequence[str]) -> None:
        """Get the runs that another worker has begun.

        Args:
            notes: names of the files that say in which folder
                (:func:`bench.runner.queue.note_folder`).
        """
        system, root = _open(self._url)
        self._results.mkdir(parents=True, exist_ok=True)
        for note in notes:
            try:
                name = system.cat_file(f"{root}/{note}").decode()
                # It was written by a worker, and must not lead out of the folder.
                if not name or name != Path(name).name or name.startswith("."):
                    continue
                paths = system.ls(f"{root}/{name}", detail=False)
            except FileNotFoundError:
                continue
            if not paths:
                continue  # lost before the first copy
            folder = self._results / name
            folder.mkdir(exist_ok=True)
            for path in paths:
                base = path.rsplit("/", 1)[-1]
                if not base.endswith(".part"):
                    system.get_file(path, str(folder / base))
            (self._results / note).write_text(name, encoding="utf8")
        self._changed()  # what came from there need not go back

    def keep(self, path: Path) -> None:
        """Copy a file of the folder itself."""
        system, root = _open(self._url)
        system.makedirs(root, exist_ok=True)
        system.put_file(str(path), f"{root}/{path.name}")

    def _changed(self) -> list[Path]:
        changed = []
        for path in self._results.glob("*/*"):
            if path.parent.name.startswith(NEW) or path.name.endswith(".part"):
                continue
            with contextlib.suppress(OSError):
                status = path.stat()
                stamp = status.st_mtime_ns, status.st_size, status.st_ino
                if self._seen.get(path) != stamp:
                    self._seen[path] = stamp
                    changed.append(path)
        # The state first: a record says that there is something to go on from.
        return sorted(changed, key=lambda path: path.name == RECORD)

    def _copy(self) -> None:
        system, root = _open(self._url)
        for path in self._changed():
            folder = f"{root}/{path.parent.name}"
            target = f"{folder}/{path.name}"
            try:
                system.makedirs(folder, exist_ok=True)
                # Whole or not at all, as far as the filesystem can.
                system.put_file(str(path), f"{target}.part")
                system.mv(f"{target}.part", target)
            except FileNotFoundError:
                continue  # replaced meanwhile
            except Exception as error:
                self._seen.pop(path, None)
                logger.warning(f"{target} could not be written: {error}")

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._copy()

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._copy()
