"""Write files whole or not at all: checksummed JSON, and new files that replace nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bench.errors import BenchError

SEAL = "checksum"
# How a checksum of the text before it begins, and what comes after that text.
KIND = "text-"
END = re.compile(rb',?\n "checksum": "text-([0-9a-f]{32})"\n\}\n?\Z')
MOST_END = 100


class Damaged(ValueError):
    """Why a file cannot be trusted, in a few words."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinities become null.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    _replace(path, _text(_finite(value)) + "\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write as :func:`write_json`, with a checksum of the text before it."""
    content = _finite(_unsealed(value))
    body = _text(content).removesuffix("}").rstrip("\n")
    comma = "," if content else ""
    _replace(path, f'{body}{comma}\n "{SEAL}": "{KIND}{_digest(body.encode())}"\n}}\n')


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the content of a file without its checksum.

    Raises:
        OSError: it cannot be read.
        Damaged: it is no whole JSON object, or its checksum is wrong.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise Damaged("it is damaged: no whole JSON") from error
    if not isinstance(content, dict):
        raise Damaged("it is damaged: no JSON object")
    problem = broken_seal(content, data)
    if problem is not None:
        raise Damaged(f"it is damaged: {problem}")
    return _unsealed(content)


def _unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in content.items() if key != SEAL}


def broken_seal(content: Mapping[str, Any], data: bytes) -> str | None:
    """Return what is wrong with the checksum of a file, in a few words; None: nothing.

    Args:
        content: as it was parsed.
        data: its bytes.
    """
    seal = content.get(SEAL)
    if seal is None:
        return "its checksum is missing"
    if str(seal).startswith(KIND):
        end = END.search(data, max(0, len(data) - MOST_END))
        right = end is not None and _digest(data[: end.start()]) == end[1].decode()
    else:
        right = seal == _canonical(content)
    return None if right else "its checksum is wrong"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    """Return the checksum of earlier files, whatever the order of their keys and their spaces.

    Writing the text again takes ten times as long as hashing what was read.
    """
    return _digest(json.dumps(_unsealed(content), sort_keys=True, separators=(",", ":")).encode())


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once the block and the disk are done with it.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    part = _part(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    # With the process's number: two processes may write the same file.
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _replace(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def refuse_existing(path: Path | None, flag: str) -> None:
    """Check that a file can be written without losing another.

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
    """Give a file to write to that takes the name ``path`` when the block ends without error.

    Raises:
        BenchError: another process made a file of that name meanwhile.
        OSError: it cannot be written.
    """
    part = _part(path)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never takes the place of a file.
            os.link(part, path)
        except FileExistsError as error:
            raise BenchError(f"{path} is there already: give another name") from error
        except OSError:
            _copy(part, path)  # some file systems know no links
    finally:
        part.unlink(missing_ok=True)


def _copy(part: Path, path: Path) -> None:
    with part.open("rb") as source, path.open("xb") as target:
        try:
            shutil.copyfileobj(source, target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
