"""What a number depends on besides the model: machine, versions, threads, commit."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import bench


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown CPU"


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(device: torch.device, allocator: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run on ``device``, as JSON types."""
    on_cuda = device.type == "cuda"
    commit, dirty = _git_state(Path(__file__).resolve().parents[2])
    return {
        "paddy_bench": bench.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "torchvision", "timm", "fvcore", "numpy")},
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if on_cuda else cpu_model(),
        "cpu_model": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "platform": f"{platform.system()} {platform.machine()}",
        "allocator": allocator,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError):
        return None


@functools.cache
def _git_state(tree: Path) -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the source tree, or nothing where it is an installed package.

    Asked once: the code of this process is what it was when it started, whatever is committed
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
