"""paddy-bench: train, count, time and compare image-classification variants.

In Python: ``from bench import run, load, compare`` (:mod:`bench.api`).
"""

from typing import Any

__version__ = "0.2.0"
ENVIRONMENT_PREFIX = "PADDY_BENCH_"
# Of reports; each but the first has a catalogue in bench/report/render/languages.
LANGUAGES = ("en", "vi")


def __getattr__(name: str) -> Any:
    """What :mod:`bench.api` offers, imported when it is first asked for."""
    if name in ("run", "load", "compare"):
        import importlib

        return getattr(importlib.import_module("bench.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
