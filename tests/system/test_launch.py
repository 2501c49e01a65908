"""Threads sleep soon in the harness' own processes, and wait as usual in those that are timed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.system import launch
from bench.timing.process import TimingProcess


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (launch.SPIN_VARIABLE, "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_it_is_set_and_taken_out_again() -> None:
    launch.sleep_soon()
    assert os.environ[launch.SPIN_VARIABLE] == launch.SPIN_COUNT
    assert launch.SPIN_VARIABLE not in launch.without_spin_count(os.environ)
    assert set(launch.without_spin_count(os.environ)) == set(os.environ) - {launch.SPIN_VARIABLE}


@pytest.mark.parametrize(
    ("name", "value"), [(launch.SPIN_VARIABLE, "7"), ("OMP_WAIT_POLICY", "active")]
)
def test_what_the_user_has_set_stays(monkeypatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    launch.sleep_soon()
    assert dict(os.environ) == launch.without_spin_count(os.environ) == before


def test_every_command_sets_it() -> None:
    assert main(["list"]) == 0
    assert os.environ[launch.SPIN_VARIABLE] == launch.SPIN_COUNT


def test_it_is_set_before_pytorch_is_there() -> None:
    code = (
        "import sys\n"
        "from bench.cli import main as cli\n"
        "from bench.system import launch\n"
        "assert 'torch' not in sys.modules\n"
        "launch.sleep_soon = cli.sleep_soon = lambda: print('torch' in sys.modules)\n"
        "cli.main(['count', '--variants', 'MobileNetV3_Small'])\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("False", "True")


def test_processes_that_are_timed_wait_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    real = subprocess.Popen

    def start(command: list[str], *, env: dict[str, str], **how: object) -> subprocess.Popen:
        given.append(env)
        return real([sys.executable, "-c", ""], env=env, **how)

    launch.sleep_soon()
    monkeypatch.setattr("bench.timing.process.subprocess.Popen", start)
    TimingProcess({"cases": []}).close()
    assert launch.SPIN_VARIABLE not in given[0]
    assert given[0]["MALLOC_MMAP_MAX_"] == "0"
