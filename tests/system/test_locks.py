"""One sweep, one process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system.locks import HeldError, held, locked

HOLD = """
import sys, time
from pathlib import Path
from bench.system.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_is_held_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / ".sweep-a.lock"
    assert not held(path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert held(path)
        with pytest.raises(HeldError), locked(path):
            pytest.fail("let in")
        assert path.exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert not held(path)
    with locked(path):
        assert held(path)
    assert not path.exists()


def test_an_error_lets_go_of_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "x"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_drive_that_numbers_its_files_anew_each_time_lets_one_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstat, numbers = os.fstat, itertools.count(-1, -1)

    def renumbered(handle: int) -> os.stat_result:
        found = list(fstat(handle))
        found[1] = next(numbers)
        return os.stat_result(found)

    monkeypatch.setattr("bench.system.locks.os.fstat", renumbered)
    with locked(tmp_path / "x"):
        assert (tmp_path / "x").exists()
    assert not (tmp_path / "x").exists()
