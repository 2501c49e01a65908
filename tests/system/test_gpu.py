"""Tests of a GPU's state, with a driver that is played."""

from __future__ import annotations

import builtins
import os
import sys
from types import SimpleNamespace

import pynvml
import pytest
import torch

from bench.system import gpu
from bench.system.gpu import gpu_state, memory_in_use


class Driver:
    """Plays nvidia-ml-py: the real module's constants, answers from a table, refusals."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self) -> None:
        for name in gpu.REASONS:
            setattr(self, name, getattr(pynvml, name))
        own = SimpleNamespace(pid=os.getpid(), usedGpuMemory=300_000_000)
        other = SimpleNamespace(pid=1, usedGpuMemory=900_000_000)
        self.answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlSystemGetDriverVersion": "570.86",
            "nvmlDeviceGetHandleByIndex": "by index",
            "nvmlDeviceGetHandleByUUID": "by identifier",
            "nvmlDeviceGetName": b"Tesla T4",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=16_106_127_360),
            "nvmlDeviceGetClockInfo": 1215,
            "nvmlDeviceGetMaxClockInfo": 1590,
            "nvmlDeviceGetTemperature": 71,
            "nvmlDeviceGetComputeRunningProcesses": [own, other],
            "nvmlDeviceGetPowerManagementLimit": 70_000,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x40,
        }
        self.refused: set[str] = set()
        self.asked: list[tuple] = []

    def __getattr__(self, name: str):
        if name not in self.answers:
            raise AttributeError(name)

        def answer(*arguments):
            self.asked.append((name, *arguments))
            if name in self.refused:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return self.answers[name]

        return answer


@pytest.fixture
def driver(monkeypatch) -> Driver:
    played = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", played)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return played


def test_the_played_driver_has_the_real_ones_names(driver):
    for name in driver.answers:
        assert callable(getattr(pynvml, name))


def test_every_reason_of_the_real_module_has_a_name():
    real = {name for name in dir(pynvml) if name.startswith("nvmlClocksEventReason")}
    real -= {"nvmlClocksEventReasonAll", "nvmlClocksEventReasonNone"}
    # An older name of the applications clocks' bit.
    real -= {"nvmlClocksEventReasonUserDefinedClocks"}
    assert set(gpu.REASONS) == real


def test_the_state_is_the_drivers_in_our_units(driver):
    assert gpu_state(2) == {
        "name": "Tesla T4",
        "driver": "570.86",
        "memory_mb": pytest.approx(16106.12736),
        "sm_clock_mhz": 1215,
        "max_sm_clock_mhz": 1590,
        "temperature_c": 71,
        "throttle_reasons": ["software power cap", "hardware thermal slowdown"],
        "other_processes": 1,
        "power_limit_w": 70.0,
    }
    assert ("nvmlDeviceGetHandleByIndex", 2) in driver.asked
    assert driver.asked[-1] == ("nvmlShutdown",)


def test_an_unknown_reason_is_shown_as_a_number(driver):
    driver.answers["nvmlDeviceGetCurrentClocksEventReasons"] = 0x1 | 0x4000
    assert gpu_state()["throttle_reasons"] == ["idle", "0x4000"]
    driver.answers["nvmlDeviceGetCurrentClocksEventReasons"] = 0
    assert gpu_state()["throttle_reasons"] == []


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("nvmlDeviceGetName", ["name"]),
        ("nvmlSystemGetDriverVersion", ["driver"]),
        ("nvmlDeviceGetMemoryInfo", ["memory_mb"]),
        ("nvmlDeviceGetTemperature", ["temperature_c"]),
        ("nvmlDeviceGetPowerManagementLimit", ["power_limit_w"]),
        ("nvmlDeviceGetComputeRunningProcesses", ["other_processes"]),
        ("nvmlDeviceGetCurrentClocksEventReasons", ["throttle_reasons"]),
    ],
)
def test_what_the_driver_refuses_is_none_and_the_rest_stands(driver, query, keys):
    driver.refused.add(query)
    assert [key for key, value in gpu_state().items() if value is None] == keys


def test_without_library_driver_or_device_there_is_no_state(driver, monkeypatch):
    driver.refused.add("nvmlDeviceGetHandleByIndex")
    assert gpu_state() is None
    assert driver.asked[-1] == ("nvmlShutdown",)
    driver.refused.add("nvmlInit")
    assert gpu_state() is None
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "pynvml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "pynvml")
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert gpu_state() is None


def test_the_device_is_pytorchs_not_the_drivers_number(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="ab-12")
    )
    gpu_state(0)
    assert ("nvmlDeviceGetHandleByUUID", "GPU-ab-12") in driver.asked
    assert not any(call[0] == "nvmlDeviceGetHandleByIndex" for call in driver.asked)
    driver.refused.add("nvmlDeviceGetHandleByUUID")
    assert gpu_state(0)["name"] == "Tesla T4"
    assert ("nvmlDeviceGetHandleByIndex", 0) in driver.asked


def test_memory_in_use_is_what_the_driver_lists_for_this_process(driver, monkeypatch):
    device = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (14_000, 16_000))
    assert memory_in_use(device) == (300_000_000, "this process")
    assert ("nvmlDeviceGetHandleByIndex", 1) in driver.asked
    # Another namespace of process numbers, no answer for processes, or none at all.
    own, other = driver.answers["nvmlDeviceGetComputeRunningProcesses"]
    for listed in ([other], [SimpleNamespace(pid=own.pid, usedGpuMemory=None)]):
        driver.answers["nvmlDeviceGetComputeRunningProcesses"] = listed
        assert memory_in_use(device) == (2_000, "the whole GPU")
    driver.refused.add("nvmlInit")
    assert memory_in_use(device) == (2_000, "the whole GPU")

    def refuse(device):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    assert memory_in_use(device) == (None, None)
