"""Two tiny variants that were really trained, once for all tests of a module."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from bench.cli.main import main
from tests.conftest import TINY_PLUGIN, write_photos

OPTIONS = (
    "--epochs 2 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-2 "
    "--no-timing --tune off --device cpu --threads 1"
)
COUNTS = {"blast": 16, "hispa": 14, "normal": 10}


@attrs.frozen
class Trained:
    """Where the runs, their images and the declarations of their variants are."""

    results: Path
    photos: Path
    plugin: Path
    tiny: str
    tiny_ca: str


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Nothing of the user's for what a module does once; registry and variables return."""
    from variants import _registry

    _registry.load()
    before = dict(_registry._variants), dict(_registry._modules)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("PADDY_BENCH_")]:
                patch.delenv(name)
            patch.setenv("PADDY_BENCH_CACHE_DIR", str(root / "cache"))
            patch.setenv("HF_HUB_OFFLINE", "1")
            patch.setenv("GOMP_SPINCOUNT", "")
            patch.chdir(root)
            yield
    finally:
        for known, kept in zip((_registry._variants, _registry._modules), before, strict=True):
            known.clear()
            known.update(kept)
        for name in [name for name in sys.modules if name.startswith("paddy_bench_plugin_")]:
            del sys.modules[name]


@contextlib.contextmanager
def training(root: Path, names: str, options: str) -> Iterator[Trained]:
    """Tiny variants, trained on three classes in an empty folder that goes with the block."""
    plugin = root / "tiny_variants.py"
    plugin.write_text(TINY_PLUGIN)
    photos = write_photos(root / "photos", COUNTS)
    with alone(root):
        line = f"--variants {names} --plugin {plugin} --data-dir {photos} {options}"
        assert main(["run", *line.split()]) == 0
    runs = sorted(path.name for path in (root / "results").iterdir() if path.is_dir())
    yield Trained(root / "results", photos, plugin, runs[0], runs[-1])
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Tiny and Tiny_CA, trained for two epochs on three classes."""
    with training(tmp_path_factory.mktemp("trained"), "Tiny,Tiny_CA", OPTIONS) as found:
        yield found


@pytest.fixture
def use(trained: Trained, registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``use("predict", …)`` runs a command in an empty folder; its exit code."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(command: str, *arguments: object) -> int:
        given = list(map(str, arguments))
        known = ["--plugin", str(trained.plugin)]
        if "--results-dir" not in given:
            known += ["--results-dir", str(trained.results)]
        # What is compared to the last digits is computed by one kind of device.
        if "--device" not in given and command != "export":
            known += ["--device", "cpu"]
        return main([command, *given, *known])

    return run
