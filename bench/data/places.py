"""Where the harness keeps what it can make again, and what a path means from anywhere."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from bench import ENVIRONMENT_PREFIX
from bench.data.prefixes import url_of


def cache_folder() -> Path:
    """Where the harness keeps what it can make again; ``PADDY_BENCH_CACHE_DIR`` changes it."""
    own = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    return Path(own).expanduser() if own else user_cache_path("paddy-bench")


def absolute(path: Path) -> Path:
    """The path as it is meant from any folder: one of a URL is that already."""
    return path if url_of(path) is not None else path.absolute()
