from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from bench.system import environment, memory
from bench.system.memory import PeakMemory

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
        "from bench.system import memory;"
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


class Cuda:
    """Plays torch.cuda's counters, in bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counters = {
            "max_memory_allocated": 5_000_000, "max_memory_reserved": 9_000_000,
            "memory_reserved": 7_000_000,
        }  # fmt: skip
        for name, value in counters.items():
            monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)


def test_a_gpus_memory_is_allocated_reserved_and_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(monkeypatch)
    monkeypatch.setattr(memory, "memory_in_use", lambda device: (400_000_000, "this process"))
    found = PeakMemory(torch.device("cuda", 0)).of_gpu()
    # The allocator gave 2 MB back after its peak: they were in use then.
    assert found == {
        "allocated_mb": 5.0, "reserved_mb": 9.0, "in_use_mb": 402.0, "in_use_of": "this process",
    }  # fmt: skip
    monkeypatch.setattr(memory, "memory_in_use", lambda device: (None, None))
    found = PeakMemory(torch.device("cuda", 0)).of_gpu()
    assert (found["reserved_mb"], found["in_use_mb"], found["in_use_of"]) == (9.0, None, None)
    assert PeakMemory(torch.device("cpu")).of_gpu() is None


def test_getrusage_counts_kib_on_linux_and_bytes_on_macos(monkeypatch) -> None:
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    used = SimpleNamespace(ru_maxrss=2_000_000)
    monkeypatch.setattr(memory.resource, "getrusage", lambda who: used)
    for platform_name, megabytes in (("linux", 2048.0), ("darwin", 2.0)):
        monkeypatch.setattr(memory.sys, "platform", platform_name)
        assert PeakMemory(torch.device("cpu")).peak_mb() == megabytes


def test_the_environment_names_machine_and_versions() -> None:
    found = environment.environment(torch.device("cpu"), {"setting": "default"})
    assert found["torch"] == metadata.version("torch")
    assert found["timm"] == metadata.version("timm")
    assert found["cpu_model"]
    assert found["device_name"] == found["cpu_model"]
    assert found["cores"] >= 1
    assert found["threads"] == torch.get_num_threads()
    assert found["cuda"] is None
    assert found["allocator"] == {"setting": "default"}
    assert set(found) >= {"python", "platform", "git_commit", "git_dirty", "tf32", "memory_gb"}
    assert found["scipy"] == metadata.version("scipy")
    assert found["pandas"] == metadata.version("pandas")
    assert found["gpu"] is None
    assert found["load_after"] is None
    assert 0 < found["memory_available_gb"] <= found["memory_gb"]


def test_the_environment_tells_machine_threads_and_command(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(environment, "others_load", lambda: 0.25)
    found = environment.environment(torch.device("cpu"), {}, command="python -m bench run")
    assert found["command"] == "python -m bench run"
    assert found["load_before"] == 0.25
    assert found["thread_settings"] == {
        "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": None, "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": None,
    }  # fmt: skip
    assert len(found["machine"]) == 8
    assert platform.node() not in found["machine"]
    monkeypatch.setattr(platform, "node", lambda: "another host")
    assert environment.machine() != found["machine"]
    assert environment.machine() == environment.machine()


def test_cores_are_those_that_the_process_may_use(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1}, raising=False)
    assert environment.affinity() == [1, 3]
    assert environment.usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert environment.affinity() is None
    assert environment.usable_cores() == os.cpu_count()


def test_the_governor_is_read_where_it_is_readable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(environment, "GOVERNORS", tmp_path)
    assert environment.governor() is None
    for core, name in enumerate(("powersave", "performance", "powersave")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    assert environment.governor() == "performance, powersave"
    (tmp_path / "cpu1" / "cpufreq" / "scaling_governor").unlink()
    (tmp_path / "cpu1" / "cpufreq" / "scaling_governor").mkdir()
    assert environment.governor() is None


# --- load ------------------------------------------------------------------------------------


class Machine:
    """Plays psutil: a machine of 4 cores whose counters are set by hand."""

    Error = psutil.Error

    def __init__(self) -> None:
        self.user = self.iowait = self.guest = self.steal = 0.0
        self.idle, self.own, self.child, self.now = 1000.0, 5.0, 0.0, 0.0

    def cpu_count(self) -> int:
        return 4

    def cpu_times(self):
        Times = namedtuple("Times", "user idle iowait steal guest")
        return Times(self.user, self.idle, self.iowait, self.steal, self.guest)

    def Process(self):
        gone = SimpleNamespace(cpu_times=self._gone)
        child = SimpleNamespace(cpu_times=lambda: (self.child, 0.0, 0.0, 0.0))
        return SimpleNamespace(
            cpu_times=lambda: (self.own, 0.0, 0.0, 0.0, 99.0),
            children=lambda recursive: [child, gone] if recursive else [],
        )

    def _gone(self):
        raise psutil.NoSuchProcess(7)


@pytest.fixture
def played(monkeypatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(environment, "psutil", machine)
    monkeypatch.setattr(environment.time, "monotonic", lambda: machine.now)
    return machine


def test_load_is_what_others_used(played: Machine) -> None:
    meter = environment.LoadMeter()
    meter.start()
    # 10 s of 4 cores: 12 s used, of which 3 by this process and 1 by its child.
    played.now, played.user, played.idle = 10.0, 12.0, 1028.0
    played.own, played.child = 8.0, 1.0
    assert meter.stop() == pytest.approx(8 / 40)
    meter.start()
    # A disk's wait is idle time, a guest's time is in the user's, a hypervisor's is others'.
    played.now, played.user, played.iowait, played.guest, played.steal = 20, 16, 36, 4, 2
    assert meter.stop() == pytest.approx(6 / 40)


def test_load_stays_between_0_and_1_and_may_be_unknown(played: Machine, monkeypatch) -> None:
    meter = environment.LoadMeter()
    assert meter.stop() is None
    meter.start()
    assert meter.stop() is None
    played.now, played.own = 1.0, 9.0
    assert meter.stop() == 0.0
    played.user = 100.0
    assert meter.stop() == 1.0
    played.user = played.idle = 0.0
    meter.start()
    played.now = 2.0
    assert meter.stop() is None

    def refuse():
        raise OSError

    monkeypatch.setattr(played, "cpu_times", refuse)
    assert meter.stop() is None


def test_others_load_reaches_back_to_the_last_call_and_repeats_it_soon_after(
    played: Machine, monkeypatch
) -> None:
    slept = []
    monkeypatch.setattr(environment.time, "sleep", slept.append)
    monkeypatch.setattr(environment, "_since_last", environment.LoadMeter())
    monkeypatch.setattr(environment, "_found_last", None)
    environment._since_last.start()
    played.now, played.user = 10.0, 8.0
    assert environment.others_load() == pytest.approx(8 / 40)
    played.now = 10.1
    assert environment.others_load(0.3) == pytest.approx(8 / 40)
    played.now = 20.0
    assert environment.others_load(0.3) == 0.0
    assert slept == []


def test_the_first_call_sleeps_for_what_is_missing(played: Machine, monkeypatch) -> None:
    slept = []
    monkeypatch.setattr(environment.time, "sleep", slept.append)
    monkeypatch.setattr(environment, "_since_last", environment.LoadMeter())
    monkeypatch.setattr(environment, "_found_last", None)
    environment._since_last.start()
    played.now = 0.1
    environment.others_load(0.3)
    assert slept == [pytest.approx(0.2)]


def test_a_childs_work_is_this_process_own() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before, own = environment._family_seconds(), time.process_time()
        deadline = time.monotonic() + 60
        # More than this process itself can have used meanwhile.
        while environment._family_seconds() - before < time.process_time() - own + 0.1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()


def test_the_commit_is_told_where_there_is_a_checkout(tmp_path: Path) -> None:
    def state() -> tuple[str | None, bool | None]:
        environment._git_state.cache_clear()
        return environment._git_state(tmp_path)

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
    assert environment._git_state(tmp_path) == (commit, False)
    assert state() == (commit, True)


def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: "nothing here")
    assert environment.cpu_model()
    assert environment._version("no-such-package") is None


def test_freed_memory_is_never_given_back(monkeypatch) -> None:
    asked: list[tuple[int, int]] = []
    libc = SimpleNamespace(mallopt=lambda option, value: asked.append((option, value)) or 1)
    monkeypatch.setattr(memory, "_glibc", lambda: libc)
    found = memory.keep_freed_memory()
    # mallopt(3): M_MMAP_MAX (-4) 0 maps nothing; M_TRIM_THRESHOLD (-1) of -1 trims nothing.
    assert asked == [(-4, 0), (-1, -1)]
    assert found == {"setting": "mallopt M_MMAP_MAX=0 M_TRIM_THRESHOLD=-1"}
