"""Rows of decoded pixels in one file on disk, with a byte for each row that says it is there.

Several processes may build and read it at once: a row has the same bytes whoever writes it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

PIXELS = "pixels.npy"
DONE = "done"


class PixelFile:
    """N rows of (S, S, 3) uint8 in a folder of their own; rows that nobody wrote take no disk.

    Pickling hands on where the file is, not its pixels: a process opens it again.

    Args:
        folder: holds ``pixels.npy`` and ``done``, both of the right size.
        rows: N.
        size: S in pixels.

    Attributes:
        pixels: (N, S, S, 3) uint8, mapped read-only; none: the file is there no more.

    Raises:
        OSError: there is no such file.
        ValueError: it is not what this program wrote.
    """

    pixels: np.ndarray | None

    def __init__(self, folder: Path, rows: int, size: int) -> None:
        self.folder, self.rows, self.size = folder, rows, size
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pixels": None, "_done": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with contextlib.suppress(OSError, ValueError):
            self._open()
        if self.identity != state["identity"]:
            # Another file of this name may lack rows that the first one had.
            self.pixels = None

    def _open(self) -> None:
        header, shape = _header(self.rows, self.size), (self.rows, self.size, self.size, 3)
        with open_both(self.folder, os.O_RDONLY) as (pixels, done):
            status = os.fstat(pixels)
            if status.st_size != len(header) + self.rows * self.row_bytes:
                raise ValueError(f"{PIXELS} has another size")
            if os.pread(pixels, len(header), 0) != header:
                raise ValueError(f"{PIXELS} has another head")
            if os.fstat(done).st_size != self.rows:
                raise ValueError(f"{DONE} has another size")
            with open(pixels, "rb", closefd=False) as file:
                mapped = np.memmap(file, np.uint8, "r", offset=len(header), shape=shape)
            with open(done, "rb", closefd=False) as file:
                self._done = np.memmap(file, np.uint8, "r", shape=(self.rows,))
        # A plain array: taking a row from a memmap costs as much as preparing a small picture.
        self.pixels = mapped.view(np.ndarray)
        self.identity = (status.st_dev, status.st_ino)

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row."""
        return self.size**2 * 3

    def done(self) -> np.ndarray:
        """Return (N,) bool: the rows that are on disk now."""
        return np.array(self._done) == 1

    def touch(self) -> None:
        """Note that the file is in use: the longest unused one makes room first."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / DONE)


class RowWriter:
    """Writes rows of a file, from any thread. After a failure it writes no more.

    Rows are not written through the map: on a full disk that ends the process with a signal,
    whereas a write is an ``OSError``.

    Attributes:
        error: what failed first.
    """

    def __init__(self, file: PixelFile) -> None:
        self.error: OSError | None = None
        self._start = len(_header(file.rows, file.size))
        self._row_bytes = file.row_bytes
        self._written: set[int] = set()
        self._stack = contextlib.ExitStack()
        try:
            self._pixels, self._done = self._stack.enter_context(
                open_both(file.folder, os.O_WRONLY)
            )
            status = os.fstat(self._pixels)
            if (status.st_dev, status.st_ino) != file.identity:
                raise OSError("another process replaced it")
        except OSError as error:
            self.error = error

    def write(self, row: int, pixels: np.ndarray) -> None:
        """Write the (S, S, 3) uint8 pixels of a row."""
        if self.error is not None:
            return
        data = np.ascontiguousarray(pixels).data.cast("B")
        offset = self._start + row * self._row_bytes
        try:
            while data:
                count = os.pwrite(self._pixels, data, offset)
                data, offset = data[count:], offset + count
        except OSError as error:
            self.error = self.error or error
        else:
            self._written.add(row)

    def mark(self, rows: Iterable[int]) -> None:
        """Say of those rows that were written that they are there, once the disk has them.

        After a crash, a row without its mark is decoded again; a mark without its row would be a
        black picture.
        """
        written = sorted(self._written.intersection(rows))
        try:
            if written:
                # macOS has no fdatasync.
                getattr(os, "fdatasync", os.fsync)(self._pixels)
            for row in written:
                os.pwrite(self._done, b"\x01", row)
        except OSError as error:
            self.error = self.error or error

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


@contextlib.contextmanager
def open_both(folder: Path, flags: int) -> Iterator[tuple[int, int]]:
    """Yield handles of the two files, of one folder even if another process replaces it."""
    with contextlib.ExitStack() as stack:
        parent = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, parent)
        handles = []
        for name in (PIXELS, DONE):
            handles.append(os.open(name, flags, dir_fd=parent))
            stack.callback(os.close, handles[-1])
        yield handles[0], handles[1]


# --- making and removing ---------------------------------------------------------------------


def open_or_make(folder: Path, rows: int, size: int) -> PixelFile:
    """Return the file in a folder; made, without any row, if there is none or it is damaged.

    Raises:
        OSError: it cannot be made.
    """
    if folder.exists():
        try:
            return PixelFile(folder, rows, size)
        except (OSError, ValueError):
            remove(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with (new / PIXELS).open("wb") as file:
            start = file.write(_header(rows, size))
            file.truncate(start + rows * size**2 * 3)
        (new / DONE).write_bytes(bytes(rows))
        # Where another process was first, this fails and theirs is as good.
        with contextlib.suppress(OSError):
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    try:
        return PixelFile(folder, rows, size)
    except ValueError as error:
        raise OSError("a damaged file is in the way") from error


def remove(folder: Path) -> None:
    """Remove a folder, at once for every other process; what is mapped stays readable."""
    away = folder.with_name(f".{folder.name}-{os.getpid()}-old")
    with contextlib.suppress(OSError):
        folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)


def _header(rows: int, size: int) -> bytes:
    """Return the head of a .npy file of (N, S, S, 3) uint8."""
    stream = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size, 3)}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()
