"""A GPU's state as its driver tells it: name, clocks, temperature, what slows it down."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch

# Bits of nvmlDeviceGetCurrentClocksEventReasons; the numbers of the driver's header nvml.h.
REASONS = {
    "nvmlClocksEventReasonGpuIdle": "idle",
    "nvmlClocksEventReasonApplicationsClocksSetting": "applications clocks setting",
    "nvmlClocksEventReasonSwPowerCap": "software power cap",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSyncBoost": "sync boost",
    "nvmlClocksEventReasonSwThermalSlowdown": "software thermal slowdown",
    "nvmlClocksEventReasonHwThermalSlowdown": "hardware thermal slowdown",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "hardware power brake",
    "nvmlClocksEventReasonDisplayClockSetting": "display clock setting",
}


def gpu_state(index: int = 0) -> dict[str, Any] | None:
    """Return a GPU's state by nvidia-ml-py, or None without the driver's library or the GPU.

    A query that the driver refuses is None in the result; the others stand.

    Args:
        index: the device's number in PyTorch.

    Returns:
        ``name``, ``driver``, ``memory_mb`` (10⁶ bytes), ``sm_clock_mhz``, ``max_sm_clock_mhz``,
        ``temperature_c``, ``throttle_reasons`` (names), ``other_processes``, ``power_limit_w``.
    """
    return _of_driver(index, _state)


def memory_in_use(device: torch.device) -> tuple[int | None, str | None]:
    """Return bytes of a GPU's memory that the driver counts as used now, and whose they are.

    ``this process``: what nvidia-smi lists for it. In a container the driver's process numbers are
    the host's, and on Windows it does not tell processes apart: there it is ``the whole GPU``, with
    what other programs use. None and None where the driver does not answer.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    used = _of_driver(index, _process_memory)
    if used is not None:
        return used, "this process"
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:
        return None, None
    return total - free, "the whole GPU"


def _of_driver(index: int, read: Callable[[Callable[..., Any], Any], Any]) -> Any:
    """Return what is read by queries of the driver and the GPU's handle, or None without them."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    ask = functools.partial(_ask, pynvml)
    try:
        handle = _handle(ask, index)
        return None if handle is None else read(ask, handle)
    finally:
        ask("Shutdown")


def _ask(nvml: Any, query: str, *arguments: Any) -> Any:
    """Return what the driver answers to ``nvml<query>``, or None where it refuses."""
    try:
        return getattr(nvml, f"nvml{query}")(*arguments)
    except nvml.NVMLError:
        return None


def _process_memory(ask: Callable[..., Any], handle: Any) -> int | None:
    processes = ask("DeviceGetComputeRunningProcesses", handle) or []
    used = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
    return sum(used) if used and None not in used else None


def _handle(ask: Callable[..., Any], index: int) -> Any:
    # PyTorch and the driver may number GPUs differently; the identifier is the same in both.
    if torch.cuda.is_available() and index < torch.cuda.device_count():
        identifier = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        handle = ask("DeviceGetHandleByUUID", identifier)
        if handle is not None:
            return handle
    return ask("DeviceGetHandleByIndex", index)


def _state(ask: Callable[..., Any], handle: Any) -> dict[str, Any]:
    import pynvml

    memory = ask("DeviceGetMemoryInfo", handle)
    limit = ask("DeviceGetPowerManagementLimit", handle)
    processes = ask("DeviceGetComputeRunningProcesses", handle)
    others = [process for process in processes or [] if process.pid != os.getpid()]
    return {
        "name": _text(ask("DeviceGetName", handle)),
        "driver": _text(ask("SystemGetDriverVersion")),
        "memory_mb": None if memory is None else memory.total / 1e6,
        "sm_clock_mhz": ask("DeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM),
        "max_sm_clock_mhz": ask("DeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM),
        "temperature_c": ask("DeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU),
        "throttle_reasons": _reasons(ask("DeviceGetCurrentClocksEventReasons", handle)),
        "other_processes": None if processes is None else len(others),
        "power_limit_w": None if limit is None else limit / 1000,
    }


def _reasons(bits: int | None) -> list[str] | None:
    """Return names of what holds the clocks down now; a bit without a name as a number."""
    import pynvml

    if bits is None:
        return None
    names = []
    for constant, name in REASONS.items():
        bit = getattr(pynvml, constant)
        if bits & bit:
            names.append(name)
            bits &= ~bit
    return [*names, hex(bits)] if bits else names


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
