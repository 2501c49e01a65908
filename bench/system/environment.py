"""What a number depends on besides the model: machine, load, versions, threads, commit."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

import bench
from bench.system.gpu import gpu_state

PACKAGES = ("torch", "torchvision", "timm", "fvcore", "numpy", "scipy", "pandas", "pillow")
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
GOVERNORS = Path("/sys/devices/system/cpu")


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = affinity()
    return (os.cpu_count() or 1) if cores is None else len(cores)


def affinity() -> list[int] | None:
    """Return the cores that this process may use, by number; None where that is unknown."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def governor() -> str | None:
    """Return how the cores' clocks are set, such as "performance"; None where unreadable."""
    paths = GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor")
    try:
        names = {path.read_text(encoding="utf8").strip() for path in paths}
    except OSError:
        return None
    return ", ".join(sorted(names)) or None


def machine() -> str:
    """Return eight hex digits that tell machines apart without giving away the host's name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def environment(
    device: torch.device, allocator: dict[str, Any], *, command: str = ""
) -> dict[str, Any]:
    """Return the environment of a run on ``device``, as JSON types.

    ``load_before`` is what others used since the load was last measured; the writer of the record
    fills in ``load_after`` with :func:`others_load` when the run has ended.

    Args:
        allocator: setting of the allocator, from :mod:`bench.system.memory`.
        command: the command line that started the run.
    """
    on_cuda = device.type == "cuda"
    commit, dirty = _git_state(Path(__file__).resolve().parents[2])
    memory = psutil.virtual_memory()
    return {
        "paddy_bench": bench.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if on_cuda else cpu_model(),
        "machine": machine(),
        "cpu_model": cpu_model(),
        "cores": usable_cores(),
        "affinity": affinity(),
        "threads": torch.get_num_threads(),
        "thread_settings": {name: os.environ.get(name) for name in THREAD_SETTINGS},
        "governor": governor(),
        "memory_gb": memory.total / 1e9,
        "memory_available_gb": memory.available / 1e9,
        "load_before": others_load(),
        "load_after": None,
        "gpu": gpu_state(device.index or 0) if on_cuda else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "allocator": allocator,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "tf32": tf32_state(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "git_commit": commit,
        "git_dirty": dirty,
        "command": command,
    }


def tf32_state() -> dict[str, bool]:
    """Return whether CUDA may round float32 factors to TF32; by default it may in convolutions."""
    return {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "convolution": torch.backends.cudnn.allow_tf32,
    }


# --- load ------------------------------------------------------------------------------------


class LoadMeter:
    """Share of the machine's CPU time that others used between ``start`` and ``stop``.

    Others are all but this process and its children; what a hypervisor took counts as theirs.
    """

    def __init__(self) -> None:
        self._began: tuple[float, float, float] | None = None

    def start(self) -> None:
        """Start or restart the measurement."""
        self._began = self._read()

    def age(self) -> float:
        """Return seconds since ``start``; 0 where the system does not tell."""
        return time.monotonic() - self._began[0] if self._began else 0.0

    def stop(self) -> float | None:
        """Return the share 0..1 since ``start``; None where unknown or no time has passed."""
        before, after = self._began, self._read()
        if before is None or after is None:
            return None
        wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
        whole = wall * (psutil.cpu_count() or 1)
        if whole <= 0:
            return None
        return min(1.0, max(0.0, (busy - own) / whole))

    def _read(self) -> tuple[float, float, float] | None:
        """Return seconds: the clock, the machine's busy time, the time of this process' family."""
        try:
            times = psutil.cpu_times()
            # Linux counts a guest's time in the user's already.
            twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
            idle = times.idle + getattr(times, "iowait", 0.0)
            total = sum(times) - twice
            # A sandbox that hides the counters shows zeros.
            if total <= 0:
                return None
            return time.monotonic(), total - idle, _family_seconds()
        except (psutil.Error, OSError, NotImplementedError):
            return None


def _family_seconds() -> float:
    """Return the CPU time of this process, of its children, and of those that have ended."""
    process = psutil.Process()
    seconds = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])
        except psutil.Error:
            continue
    return seconds


_since_last = LoadMeter()
_since_last.start()
_found_last: float | None = None


def others_load(seconds: float = 0.3) -> float | None:
    """Return others' share 0..1 of the machine's CPU time since the last call, or the import.

    Where that is less than ``seconds`` ago, the answer is that of the last call: it is of a longer
    time, which is better evidence, and ends now. Only the first call sleeps for what is missing.
    """
    global _found_last
    missing = seconds - _since_last.age()
    if missing > 0:
        if _found_last is not None:
            return _found_last
        time.sleep(missing)
    _found_last = _since_last.stop()
    _since_last.start()
    return _found_last


# --- versions and commit ---------------------------------------------------------------------


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_state(tree: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirtiness of the source tree, or nothing for an installed package.

    Cached: the code of this process is what it was when it started, whatever is committed
    while a sweep runs.
    """
    if not (tree / ".git").exists():
        return None, None
    try:
        commit = _git(tree, "rev-parse", "HEAD").strip()
        return commit, bool(_git(tree, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(tree: Path, *arguments: str) -> str:
    command = ["git", "-C", str(tree), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
