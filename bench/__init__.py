"""paddy-bench: train, count, time and compare image-classification variants.

In Python: ``from bench import run, load, compare`` (:mod:`bench.api`).
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__version__ = "0.2.0"
ENVIRONMENT_PREFIX = "PADDY_BENCH_"
# Of reports; each but the first has a catalogue in bench/report/render/languages.
LANGUAGES = ("en", "vi")
# Old paths of modules that scripts import; to be removed in 0.4.
MOVED = {"bench.build": "bench.models.build", "bench.train.weights": "bench.models.weights"}


class _MovedModules:
    """Import a module of :data:`MOVED` from where it is now.

    No subclass of ``importlib.abc.Loader``: its import takes 13 ms, a sixth of ``--help``.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(fullname, loader) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import has put the old path's specification in its place.
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
    sys.meta_path.append(_MovedModules())


def __getattr__(name: str) -> Any:
    """Import :mod:`bench.api` when one of its functions is first used."""
    if name in ("run", "load", "compare"):
        return getattr(importlib.import_module("bench.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
