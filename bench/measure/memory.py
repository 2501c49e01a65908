"""The allocator's setting and the peak memory of this process and of CUDA.

glibc's defaults give large blocks back to the kernel and fault them in again at every step, which
halves eager CPU speed; the setting here keeps them (mallopt(3), M_MMAP_MAX, M_TRIM_THRESHOLD).
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from pathlib import Path
from typing import Any

import torch

ALLOCATOR_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# mallopt takes an int; as an unsigned threshold -1 is the largest: nothing is ever trimmed.
_NEVER = -1


def keep_freed_memory() -> dict[str, Any]:
    """Tell this process' allocator to keep what it frees; the setting, for the record."""
    libc = _glibc()
    if libc is None:
        return {"setting": "default", "reason": "no glibc"}
    done = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return {"setting": "mallopt M_MMAP_MAX=0 M_TRIM_THRESHOLD=-1" if done else "default"}


def allocator_of_environment() -> dict[str, Any]:
    """The allocator setting that this process was started with."""
    found = {name: os.environ[name] for name in ALLOCATOR_ENVIRONMENT if name in os.environ}
    return {"setting": "environment", **found} if found else {"setting": "default"}


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt, libc.malloc_trim  # noqa: B018  (another libc lacks them)
    except (OSError, AttributeError):
        return None
    return libc


def give_back_memory() -> None:
    """Give what is freed back to the system, so that it is there for another process."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


class PeakMemory:
    """Peak memory from construction on: CUDA's allocated bytes, or this process' resident set.

    Freed memory is given back first, so that what an earlier run left behind is not counted.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        give_back_memory()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self.kind = "CUDA allocated"
        else:
            self.kind = "process resident"
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                self.kind = "process resident since start"

    def peak_mb(self) -> float:
        """Peak in MB (10⁶ bytes)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
        except OSError:
            self.kind = "process resident since start"
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def minor_faults() -> int:
    """Page faults of this process so far that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
