"""New files for users: whole or not at all, and never in the place of another."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError


def refuse_existing(path: Path | None, flag: str) -> None:
    """See that a file can be written without losing another.

    Raises:
        BenchError: it is there already, or its folder is not, or cannot be written to.
    """
    if path is None:
        return
    if os.path.lexists(path):
        raise BenchError(f"{flag} {path} is there already: give another name, or remove it")
    if not path.parent.is_dir():
        raise BenchError(f"{flag} {path}: there is no folder {path.parent}: make it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BenchError(f"{flag} {path}: {path.parent} is not writable: give another folder")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write to, beside ``path``, that takes its name when the block ends without error.

    Raises:
        BenchError: somebody else made a file of that name meanwhile.
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        _sync(part)
        try:
            # Unlike a rename, a link never takes the place of a file.
            os.link(part, path)
        except FileExistsError as error:
            raise BenchError(f"{path} is there already: give another name") from error
        except OSError:
            _copy(part, path)  # some file systems know no links
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _copy(part: Path, path: Path) -> None:
    with part.open("rb") as source, path.open("xb") as target:
        try:
            shutil.copyfileobj(source, target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
