from __future__ import annotations

import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.measure import environment as env
from bench.measure import memory
from bench.measure.memory import PeakMemory

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@LINUX
def test_peak_memory_sees_a_block_that_was_freed_again() -> None:
    peak = PeakMemory(torch.device("cpu"))
    before = peak.peak_mb()
    block = torch.ones(25_000_000)
    del block
    assert 90 < peak.peak_mb() - before < 130
    assert peak.kind == "process resident"


@LINUX
def test_megabytes_are_a_million_bytes() -> None:
    block = torch.ones(50_000_000)
    peak = PeakMemory(torch.device("cpu")).peak_mb()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert peak == pytest.approx(pages * resource.getpagesize() / 1e6, rel=0.005)
    del block


@LINUX
def test_peak_memory_starts_anew() -> None:
    block = torch.ones(50_000_000)
    high = PeakMemory(torch.device("cpu")).peak_mb()
    del block
    assert PeakMemory(torch.device("cpu")).peak_mb() < high - 150


def test_peak_memory_falls_back_to_getrusage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    peak = PeakMemory(torch.device("cpu"))
    assert peak.peak_mb() > 50
    assert peak.kind == "process resident since start"


def test_the_allocators_setting_is_told() -> None:
    code = (
        "from bench.measure import memory;"
        "print(memory.keep_freed_memory()['setting'], memory.allocator_of_environment())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mallopt M_MMAP_MAX=0" in done.stdout or not sys.platform.startswith("linux")
    assert "{'setting': 'default'}" in done.stdout


def test_the_allocators_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in memory.ALLOCATOR_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    found = memory.allocator_of_environment()
    assert found["setting"] == "environment"
    assert found["MALLOC_MMAP_MAX_"] == "0"


def test_without_glibc_the_default_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    assert memory.keep_freed_memory() == {"setting": "default", "reason": "no glibc"}

    def refuse(name: str):
        raise OSError

    monkeypatch.undo()
    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    assert memory.keep_freed_memory()["setting"] == "default"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_memory_of_cuda() -> None:
    peak = PeakMemory(torch.device("cuda"))
    torch.ones(25_000_000, device="cuda")
    assert peak.peak_mb() == pytest.approx(100, abs=10)


def test_the_environment_names_machine_and_versions() -> None:
    found = env.environment(torch.device("cpu"), {"setting": "default"})
    assert found["torch"] == metadata.version("torch")
    assert found["timm"] == metadata.version("timm")
    assert found["cpu_model"]
    assert found["device_name"] == found["cpu_model"]
    assert found["cores"] >= 1
    assert found["threads"] == torch.get_num_threads()
    assert found["cuda"] is None
    assert found["allocator"] == {"setting": "default"}
    assert set(found) >= {"python", "platform", "git_commit", "git_dirty", "tf32", "memory_gb"}


def test_the_commit_is_told_where_there_is_a_checkout(tmp_path: Path) -> None:
    def state() -> tuple[str | None, bool | None]:
        env._git_state.cache_clear()
        return env._git_state(tmp_path)

    assert state() == (None, None)
    (tmp_path / ".git").mkdir()
    assert state() == (None, None)
    (tmp_path / ".git").rmdir()
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "file").write_text("a")
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit, dirty = state()
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "file").write_text("b")
    assert env._git_state(tmp_path) == (commit, False)
    assert state() == (commit, True)


def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: "nothing here")
    assert env.cpu_model()
    assert env._version("no-such-package") is None
