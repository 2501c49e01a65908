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
    """The folder that ``--data-dir`` means; a URL, or a data set's name on the hub, stays as it is.

    Raises:
        BenchError: it is not there, or has a password in it.
    """
    text = data_dir.as_posix()
    prefix = next((one for one in (SHARDS, HUB) if text.startswith(one)), None)
    if not data_dir.exists() and prefix is not None:
        text = text.removeprefix(prefix)
        # ``wds//data/x`` has lost a slash as well.
        found = next((p for p in (Path(text), Path("/", text)) if p.exists()), None)
        if found is None and prefix == HUB and HUB_NAME.fullmatch(text):
            return data_dir
        data_dir = found or Path(text)
    url = None if data_dir.exists() else url_of(data_dir)
    if url is not None and urlsplit(url).password is not None:
        raise BenchError(
            "--data-dir has a password in its URL, which every record would show: give it to "
            "fsspec by its configuration or the environment"
        )
    if not data_dir.exists() and url is None:
        raise BenchError(f"no such data folder: {data_dir}: give --data-dir an existing folder")
    return data_dir


def url_of(path: Path | str) -> str | None:
    """The URL that a path is of, ``s3:/bucket/x`` → ``s3://bucket/x``; none: of no one."""
    text = Path(path).as_posix()
    match = URL.match(text)
    if match is None:
        return None
    scheme, rest = match[0].removesuffix(":/"), text[match.end() :]
    # A path on this machine begins with a slash, the name of a machine does not.
    return f"{scheme}://{'/' if scheme in LOCAL else ''}{rest}"


def is_hub_name(data_dir: Path) -> bool:
    """Whether a ``--data-dir`` begins with ``hfds/``: no folder of that name is meant."""
    return data_dir.as_posix().startswith(HUB) and not data_dir.exists()


def hub_name(data_dir: Path) -> str:
    """``hfds/beans`` → ``beans``."""
    return data_dir.as_posix().removeprefix(HUB)


def absolute(path: Path) -> Path:
    """The path as it is meant from any folder: one of a URL is that already."""
    return path if url_of(path) is not None else path.absolute()
