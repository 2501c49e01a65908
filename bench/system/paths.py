"""Where the harness keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from bench import ENVIRONMENT_PREFIX


def cache_folder() -> Path:
    """Where the harness keeps what it can make again; ``PADDY_BENCH_CACHE_DIR`` changes it."""
    own = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    return Path(own).expanduser() if own else user_cache_path("paddy-bench")
