"""What a GPU must show before anything is trained on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.system import devices
from bench.system.devices import probe, runs_on

KAGGLE = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("capability", "built", "expected"),
    [
        ((6, 0), KAGGLE, False),  # P100
        ((7, 5), KAGGLE, True),  # T4
        ((8, 9), KAGGLE, True),  # binaries of sm_86 and sm_80
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_70", "compute_80"], True),  # PTX is compiled for newer ones
        ((7, 5), ["compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((12, 1), ["sm_120"], True),
        ((12, 0), ["compute_90a"], False),
        ((9, 0), ["gfx90a"], False),
    ],
)
def test_what_binaries_fit(capability: tuple[int, int], built: list[str], expected: bool) -> None:
    assert runs_on(capability, built) is expected


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU that is not there; its answers can be changed."""
    says: dict[str, Any] = {"capability": (7, 5), "free": 14e9, "conv": None}
    cuda = devices.torch.cuda
    monkeypatch.setattr(cuda, "get_device_name", lambda device: "Tesla X")
    monkeypatch.setattr(cuda, "get_device_capability", lambda device: says["capability"])
    monkeypatch.setattr(cuda, "get_arch_list", lambda: KAGGLE)
    monkeypatch.setattr(cuda, "mem_get_info", lambda device: (says["free"], 15e9))
    ones = torch.ones
    monkeypatch.setattr(devices.torch, "ones", lambda *shape, device: ones(*shape))
    conv = torch.nn.functional.conv2d
    monkeypatch.setattr(
        devices.torch.nn.functional,
        "conv2d",
        lambda *tensors: says["conv"]() if says["conv"] else conv(*tensors),
    )
    return says


def no_kernel() -> None:
    raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capability": (6, 0)}, r"compute capability 6\.0, and PyTorch .*T4 x2 instead of P100"),
        ({"conv": no_kernel}, r"fails at its first kernel \(CUDA error: no kernel image is"),
        ({"conv": lambda: torch.zeros(())}, "computes wrong results"),
        ({"free": 1e9}, r"has 1\.0 of 15\.0 GB free: end what else uses it"),
    ],
)
def test_a_gpu_that_will_not_do(gpu: dict[str, Any], change: dict[str, Any], message: str) -> None:
    gpu |= change
    with pytest.raises(BenchError, match=message) as refused:
        probe(torch.device("cuda", 0))
    assert "\n" not in str(refused.value)


def test_a_gpu_that_will_do(gpu: dict[str, Any]) -> None:
    probe(torch.device("cuda", 0))


def test_a_cpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda device: pytest.fail("asked"))
    probe(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_gpu() -> None:
    probe(torch.device("cuda", 0))
