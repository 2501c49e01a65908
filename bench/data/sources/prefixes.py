"""``--data-dir`` as timm names data sets. Imports nothing heavy.

``wds/FOLDER`` and ``wds/URL`` are shards, ``hfds/FOLDER`` Arrow files, ``hfds/NAME`` is a data set
of Hugging Face's hub.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import BenchError

SHARDS, HUB = "wds/", "hfds/"
# ``beans`` or ``owner/beans``.
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
# A path has no two slashes after each other: that of a URL has lost one.
URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
LOCAL = ("file", "local", "memory")


def real_folder(data_dir: Path) -> Path:
    """Return the folder that ``--data-dir`` means; a URL, or a name on the hub, stays as it is.

    Raises:
        BenchError: it is not there, or has a password in it.
    """
    if data_dir.exists():
        return data_dir
    text = data_dir.as_posix()
    if text.startswith((SHARDS, HUB)):
        _, _, name = text.partition("/")
        # ``wds//data/x`` has lost a slash as well.
        folder = next((path for path in (Path(name), Path("/", name)) if path.exists()), None)
        if folder is not None:
            return folder
        if text.startswith(HUB) and HUB_NAME.fullmatch(name):
            return data_dir
        data_dir = Path(name)
    url = url_of(data_dir)
    if url is None:
        raise BenchError(f"no such data folder: {data_dir}: give --data-dir an existing folder")
    if urlsplit(url).password is not None:
        raise BenchError(
            "--data-dir has a password in its URL, which every record would show: give it to "
            "fsspec by its configuration or the environment"
        )
    return data_dir


def url_of(path: Path | str) -> str | None:
    """Return a path's URL, ``s3:/bucket/x`` → ``s3://bucket/x``; none: it is a path on a disk."""
    text = Path(path).as_posix()
    match = URL.match(text)
    if match is None:
        return None
    scheme, rest = match[0].removesuffix(":/"), text[match.end() :]
    # A path on this machine begins with a slash, the name of a machine does not.
    return f"{scheme}://{'/' if scheme in LOCAL else ''}{rest}"


def is_hub_name(data_dir: Path) -> bool:
    """Return whether a ``--data-dir`` begins with ``hfds/``: no folder of that name is meant."""
    return data_dir.as_posix().startswith(HUB) and not data_dir.exists()


def hub_name(data_dir: Path) -> str:
    """Return ``beans`` for ``hfds/beans``."""
    return data_dir.as_posix().removeprefix(HUB)


def absolute(path: Path) -> Path:
    """Return the path as it is meant from any folder: one of a URL is that already."""
    return path if url_of(path) is not None else path.absolute()
