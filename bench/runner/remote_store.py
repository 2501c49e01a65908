"""Folders of runs on any filesystem that fsspec knows: S3, Google Cloud, SSH, a mounted one."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

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
    system, path = open_url(url, "--gather")
    probe = f"{path.rstrip('/')}/.paddy-bench-{secrets.token_hex(4)}"
    try:
        system.makedirs(path, exist_ok=True)
        system.pipe_file(probe, b"")
        system.rm_file(probe)
    except Exception as error:  # every filesystem has errors of its own
        raise BenchError(
            f"--gather {url} cannot be written to ({type(error).__name__}: {error_line(error)}): "
            "see that the folder is there and that you have the permission"
        ) from error


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
        system, path = open_url(url, "--gather")
        if system.exists(path):
            system.rm(path, recursive=True)


def put(path: Path, url: str) -> None:
    """Copy a file, or what a folder holds, into the folder of a URL; files of one name go.

    Raises:
        Exception: as the filesystem has it.
    """
    system, root = open_url(url, "--gather")
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file() and not one.name.endswith((".part", ".lock")):
            target = f"{root.rstrip('/')}/{one.relative_to(path.parent).as_posix()}"
            system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            system.put_file(str(one), target)


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
        system, root = open_url(self._url, "--gather")
        self._results.mkdir(parents=True, exist_ok=True)
        for note in notes:
            try:
                name = system.cat_file(f"{root.rstrip('/')}/{note}").decode()
            except FileNotFoundError:
                continue
            # It was written by a worker, and must not lead out of the folder.
            if not name or name != Path(name).name or name.startswith("."):
                continue
            own = self._results / name
            try:
                paths = system.ls(f"{root.rstrip('/')}/{name}", detail=False)
            except FileNotFoundError:
                paths = []
            if not paths:
                continue  # lost before the first copy
            own.mkdir(exist_ok=True)
            for path in paths:
                base = path.rsplit("/", 1)[-1]
                if not base.endswith(".part"):
                    system.get_file(path, str(own / base))
            (self._results / note).write_text(name, encoding="utf8")
        self._changed()  # what came from there need not go back

    def keep(self, path: Path) -> None:
        """Copy a file of the folder itself."""
        system, root = open_url(self._url, "--gather")
        system.makedirs(root, exist_ok=True)
        system.put_file(str(path), f"{root.rstrip('/')}/{path.name}")

    def _changed(self) -> list[Path]:
        found = []
        for path in self._results.glob("*/*"):
            if path.parent.name.startswith(NEW) or path.name.endswith(".part"):
                continue
            with contextlib.suppress(OSError):
                about = path.stat()
                stamp = about.st_mtime_ns, about.st_size, about.st_ino
                if self._seen.get(path) != stamp:
                    self._seen[path] = stamp
                    found.append(path)
        # The state first: a record says that there is something to go on from.
        return sorted(found, key=lambda path: path.name == RECORD)

    def _copy(self) -> None:
        system, root = open_url(self._url, "--gather")
        for path in self._changed():
            target = f"{root.rstrip('/')}/{path.parent.name}/{path.name}"
            try:
                system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._copy()
