"""Shared by all tests: a cache of their own, tiny photographs, a tiny variant."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.system.launch import sleep_soon
from tests.support.fake_timing import FakeTimingProcess

# Before PyTorch is imported: threads that wait for each other would fill the cores of a machine
# that runs several tests at once.
sleep_soon()

# Threads that wait for each other are slow on a busy machine, and the tests' models are tiny.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY_PLUGIN = """\
from variants import BASELINES, CoordinateAttention, Variant, register

register(
    Variant(
        name="Tiny_CA",
        backbone="test_efficientnet",
        attention=(CoordinateAttention(reduction=32),),
        channels=256,
        baseline="Tiny",
        use_case="Tests",
    )
)
register(Variant(name="Tiny", backbone="test_efficientnet", channels=256, group=BASELINES))
"""
PHOTOS = {"blast": 16, "hispa": 14, "normal": 10}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what :func:`_is_wanted` does not name, and sort by file.

    Files with slow tests come first, so that no worker is left with one of them at the end.
    """
    left_out = [item for item in items if not _is_wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    wanted = [item for item in items if item not in left_out]
    items[:] = sorted(wanted, key=lambda item: item.path not in slow)


def _is_wanted(item: pytest.Item) -> bool:
    """Benchmarks run by ``make benchmark`` alone, heavy grids where the variable CI is set."""
    if item.path.is_relative_to(Path(__file__).parent / "benchmarks"):
        return bool(item.config.getoption("benchmark_only", False))
    return bool(os.environ.get("CI")) or item.get_closest_marker("ci") is None


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    """No PADDY_BENCH_ variable of the user's, and a cache folder for this test alone."""
    for name in list(os.environ):
        if name.startswith("PADDY_BENCH_") and name != "PADDY_BENCH_RICE3":
            monkeypatch.delenv(name)
    cache = tmp_path_factory.mktemp("cache", numbered=True)
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # A sweep that ran before in this process took as many threads as there are cores.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    # What a command sets for its process goes with the test.
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")


@pytest.fixture(autouse=True)
def no_training_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's figure is a third of a tiny sweep: an empty one, but for the mark ``draws``."""
    if not request.node.get_closest_marker("draws"):
        monkeypatch.setattr("bench.runner.outcome.training_plot", _empty_plot)


def _empty_plot(epochs: object, path: Path, title: str) -> Path:
    Image.new("L", (1, 1)).save(path)
    return path


@pytest.fixture
def registry() -> Iterator[None]:
    """Puts the registry back as it was."""
    from variants import _registry

    _registry.load()
    before = dict(_registry._variants), dict(_registry._modules)
    yield
    for known, kept in zip((_registry._variants, _registry._modules), before, strict=True):
        known.clear()
        known.update(kept)
    for name in [name for name in sys.modules if name.startswith("paddy_bench_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def tiny_plugin(tmp_path: Path, registry: None) -> Path:
    """A plugin file with two variants that train in a second."""
    path = tmp_path / "tiny_variants.py"
    path.write_text(TINY_PLUGIN)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write_photos(root: Path, counts: dict[str, int], size: tuple[int, int] = (40, 48)) -> Path:
    """Pictures that tell their classes apart by colour, one folder for each class."""
    for number, (name, count) in enumerate(sorted(counts.items())):
        (root / name).mkdir(parents=True)
        for place in range(count):
            rng = np.random.default_rng(1000 * number + place)
            pixels = rng.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
            pixels[..., number % 3] += 120
            Image.fromarray(pixels).save(root / name / f"{place:03}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 16, 14 and 10 pictures of 40×48 pixels."""
    return write_photos(tmp_path / "photos", PHOTOS)


@pytest.fixture
def make_photos(tmp_path: Path) -> Callable[..., Path]:
    """``make_photos({"a": 5, "b": 4})`` → a folder of pictures."""
    return lambda counts, name="own": write_photos(tmp_path / name, counts)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look into."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[FakeTimingProcess]:
    """Timing processes that answer at once, 0.01 s an image where nothing else is planted."""
    from bench.timing import session

    FakeTimingProcess.log, FakeTimingProcess.waiting, FakeTimingProcess.most_waiting = [], 0, 0
    (
        FakeTimingProcess.seconds,
        FakeTimingProcess.failures,
        FakeTimingProcess.full_above,
        FakeTimingProcess.images,
    ) = {}, {}, {}, []
    FakeTimingProcess.groups, FakeTimingProcess.jobs, FakeTimingProcess.broken_modes = [], [], {}
    monkeypatch.setattr(session, "TimingProcess", FakeTimingProcess)
    monkeypatch.setattr(session, "measure_together", FakeTimingProcess.together)
    return FakeTimingProcess
