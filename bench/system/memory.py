"""The allocator's setting and the peak memory of this process and of CUDA.

glibc's defaults give large blocks back to the kernel and fault them in again at every step, which
halves eager CPU speed; the setting here keeps them (mallopt(3), M_MMAP_MAX, M_TRIM_THRESHOLD).
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from bench.system.gpu import memory_in_use

ALLOCATOR_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# mallopt takes an int; as an unsigned threshold -1 is the largest: nothing is ever trimmed.
_NEVER = -1


def keep_freed_memory() -> dict[str, Any]:
    """Make this process' allocator keep what it frees; return the setting, for the record."""
    libc = _glibc()
    if libc is None:
        return {"setting": "default", "reason": "no glibc"}
    done = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return {"setting": "mallopt M_MMAP_MAX=0 M_TRIM_THRESHOLD=-1" if done else "default"}


def allocator_of_environment() -> dict[str, Any]:
    """Return the allocator setting that this process was started with."""
    values = {name: os.environ[name] for name in ALLOCATOR_ENVIRONMENT if name in os.environ}
    return {"setting": "environment" if values else "default", **values}


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
        """Return the peak in MB (10⁶ bytes)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        try:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e6
        except OSError:
            self.kind = "process resident since start"
        # getrusage(2): KiB on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

    def of_gpu(self) -> dict[str, Any] | None:
        """Return peaks on the GPU in MB (10⁶ bytes), or None on a CPU.

        Returns:
            ``allocated_mb`` (by tensors) and ``reserved_mb`` (by PyTorch's caching allocator), as
            ``torch.cuda`` counts them; ``in_use_mb``, as the driver does, with the CUDA context
            and libraries: None where the driver does not tell; ``in_use_of``, whose it is:
            ``this process``, or ``the whole GPU`` where the driver tells no processes apart.
        """
        if self.device.type != "cuda":
            return None
        reserved = torch.cuda.max_memory_reserved(self.device)
        used, whose = memory_in_use(self.device)
        if used is not None:
            # What the allocator has given back since its peak was in use then.
            used += reserved - torch.cuda.memory_reserved(self.device)
        return {
            "allocated_mb": torch.cuda.max_memory_allocated(self.device) / 1e6,
            "reserved_mb": reserved / 1e6,
            "in_use_mb": None if used is None else used / 1e6,
            "in_use_of": whose,
        }


def minor_faults() -> int:
    """Return how many page faults of this process needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
