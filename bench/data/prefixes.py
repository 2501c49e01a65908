"""``--data-dir`` as timm names data sets: ``wds/FOLDER`` for shards. Imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import BenchError

SHARDS = "wds/"
# A path has no two slashes after each other: that of a URL has lost one.
URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def real_folder(data_dir: Path) -> Path:
    """The folder that ``--data-dir`` means.

    Raises:
        BenchError: it is not there, or it is a URL.
    """
    text = data_dir.as_posix()
    if not data_dir.exists() and text.startswith(SHARDS):
        text = text.removeprefix(SHARDS)
        # ``wds//data/x`` has lost a slash as well.
        data_dir = next((p for p in (Path(text), Path("/", text)) if p.exists()), Path(text))
    if URL.match(text):
        raise BenchError(
            f"--data-dir {data_dir}: shards are read where they are mounted: mount that place, or "
            "copy the shards, and give the folder"
        )
    if not data_dir.exists():
        raise BenchError(f"no such data folder: {data_dir}: give --data-dir an existing folder")
    return data_dir
