"""A sweep's own folder goes with it, and those of killed sweeps with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import paths
from bench.system.paths import scratch_folder

HOLD = """
import sys, time
from bench.system.paths import scratch_folder
with scratch_folder() as folder:
    (folder / "1.features").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def cache() -> Path:
    return Path(os.environ["PADDY_BENCH_CACHE_DIR"])


def age(folder: Path, seconds: float) -> None:
    moment = folder.stat().st_mtime - seconds
    os.utime(folder, (moment, moment))


def test_the_folder_is_gone_at_the_end_however_the_sweep_ends(cache: Path) -> None:
    def interrupted() -> None:
        with scratch_folder() as folder:
            assert folder.parent == cache
            (folder / "1.features").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(cache.iterdir()) == []


def test_a_living_sweeps_folder_stays_and_a_killed_ones_goes(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        theirs = Path(held.stdout.readline().strip())
        age(theirs, 2 * paths.LEAST_ORPHAN_AGE_S)
        with scratch_folder():
            assert (theirs / "1.features").exists()
        held.send_signal(signal.SIGKILL)
        held.wait()
    assert theirs.exists()
    with scratch_folder() as ours:
        assert not theirs.exists()
        assert ours.exists()


def test_a_folder_that_was_just_made_is_not_taken_for_an_orphan(cache: Path) -> None:
    young = cache / "features-young"
    young.mkdir()
    with scratch_folder():
        assert young.exists()


def test_a_cache_that_cannot_be_made_leaves_the_systems_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with scratch_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()
