"""A GPU's state as its driver tells it: name, clocks, temperature, what slows it down."""

from __future__ import annotations

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
    """State of a GPU through nvidia-ml-py, or None without the driver's library or the GPU.

    A query that the driver refuses is None in the result; the others stand.

    Args:
        index: the device's number in PyTorch.

    Returns:
        ``name``, ``driver``, ``memory_mb`` (10⁶ bytes), ``sm_clock_mhz``, ``max_sm_clock_mhz``,
        ``temperature_c``, ``throttle_reasons`` (names), ``other_processes``, ``power_limit_w``.
    """
    return _of_driver(index, _state)


def memory_in_use(device: torch.device) -> tuple[int | None, str | None]:
    """Bytes of a GPU's memory that the driver counts as used now, and whose they are.

    ``this process``: what nvidia-smi lists for it. In a container the driver's process numbers are
    the host's, and on Windows it does not tell processes apart: there it is ``the whole GPU``, with
    what other programs use. None and None where the driver does not answer.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    own = _of_driver(index, _own_memory)
    if own is not None:
        return own, "this process"
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:
        return None, None
    return total - free, "the whole GPU"


def _of_driver(index: int, found: Callable[[Any, Any], Any]) -> Any:
    """What is found with the driver's library and the GPU's handle, or None without them."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handle = _handle(pynvml, index)
        return None if handle is None else found(pynvml, handle)
    finally:
        _asked(pynvml, pynvml.nvmlShutdown)


def _own_memory(nvml: Any, handle: Any) -> int | None:
    processes = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    used = [p.usedGpuMemory for p in processes if p.pid == os.getpid()]
    return sum(used) if used and None not in used else None


def _asked(nvml: Any, query: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver answers, or None where it refuses."""
    try:
        return query(*arguments)
    except nvml.NVMLError:
        return None


def _handle(nvml: Any, index: int) -> Any:
    # PyTorch and the driver may number GPUs differently; the identifier is the same in both.
    if torch.cuda.is_available() and index < torch.cuda.device_count():
        identifier = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        handle = _asked(nvml, nvml.nvmlDeviceGetHandleByUUID, identifier)
        if handle is not None:
            return handle
    return _asked(nvml, nvml.nvmlDeviceGetHandleByIndex, index)


def _state(nvml: Any, handle: Any) -> dict[str, Any]:
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    limit = _asked(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)
    processes = _asked(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle)
    others = [p for p in processes or [] if p.pid != os.getpid()]
    return {
        "name": _text(_asked(nvml, nvml.nvmlDeviceGetName, handle)),
        "driver": _text(_asked(nvml, nvml.nvmlSystemGetDriverVersion)),
        "memory_mb": None if memory is None else memory.total / 1e6,
        "sm_clock_mhz": _asked(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        "max_sm_clock_mhz": _asked(
            nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM
        ),
        "temperature_c": _asked(
            nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
        ),
        "throttle_reasons": _reasons(nvml, handle),
        "other_processes": None if processes is None else len(others),
        "power_limit_w": None if limit is None else limit / 1000,
    }


def _reasons(nvml: Any, handle: Any) -> list[str] | None:
    """Names of what holds the clocks down now; a bit without a name is given as a number."""
    bits = _asked(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if bits is None:
        return None
    names = []
    for constant, name in REASONS.items():
        bit = getattr(nvml, constant)
        if bits & bit:
            names.append(name)
            bits &= ~bit
    return [*names, hex(bits)] if bits else names


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
