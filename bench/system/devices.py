"""Which devices ``--device`` and ``--devices`` mean on this machine."""

from __future__ import annotations

import re

import torch

from bench.errors import BenchError, error_line
from bench.system.digits import counted
from bench.system.environment import usable_cores

# What PyTorch itself and a small model need.
LEAST_FREE_BYTES = 1.5e9


def choose_device(name: str) -> torch.device:
    """Return the device of ``--device``; ``auto`` is CUDA where there is one.

    Raises:
        BenchError: CUDA is asked for and there is none.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        reason = "no GPU or driver is found" if built else "this PyTorch is built without CUDA"
        raise BenchError(f"--device cuda: {reason}: use --device cpu or auto")
    return torch.device("cuda", torch.cuda.current_device())


def choose_devices(number: int | None, device: torch.device) -> list[str]:
    """Return the devices to train on at once, as PyTorch names them.

    Raises:
        BenchError: more are asked for than there are.
    """
    if device.type == "cpu":
        number, available = number or 1, usable_cores()
        has = f"this machine has {counted(available, 'core')}"
    else:
        available = torch.cuda.device_count()
        number, has = number or available, f"there are {available} GPUs"
    if number > available:
        raise BenchError(f"--devices {number}: {has}: give {available} or fewer")
    if device.type == "cpu" or number == 1:
        return [str(device)] * number
    return [f"cuda:{index}" for index in range(number)]


def probe(device: torch.device) -> None:
    """Check that a GPU really computes with this PyTorch, and has memory left.

    A GPU that is older than the installed PyTorch was built for (Kaggle's P100) is reported as
    available, and fails at the first kernel.

    Raises:
        BenchError: it does not; with what to pick instead.
    """
    if device.type != "cuda":
        return
    name = torch.cuda.get_device_name(device)
    capability = torch.cuda.get_device_capability(device)
    built = torch.cuda.get_arch_list()
    support = f"PyTorch {torch.__version__} is built for {', '.join(built)}"
    if built and torch.version.hip is None and not runs_on(capability, built):
        raise BenchError(
            f"{name} has compute capability {capability[0]}.{capability[1]}, and {support}: pick "
            "another GPU (on Kaggle T4 x2 instead of P100), install a PyTorch built for this one, "
            "or give --device cpu"
        )
    try:
        images = torch.ones(1, 3, 8, 8, device=device)
        sums = torch.nn.functional.conv2d(images, torch.ones(1, 3, 3, 3, device=device))
        correct = sums.sum().item() == 36 * 27
    except RuntimeError as error:
        raise BenchError(
            f"{name} fails at its first kernel ({error_line(error, 160)}); {support}: "
            "see that the driver fits, pick another GPU, or give --device cpu"
        ) from error
    if not correct:
        raise BenchError(f"{name} computes wrong results: pick another GPU, or give --device cpu")
    free, whole = torch.cuda.mem_get_info(device)
    if free < LEAST_FREE_BYTES:
        raise BenchError(
            f"{name} has {free / 1e9:.1f} of {whole / 1e9:.1f} GB free: end what else uses it "
            "(nvidia-smi names it), or give --device cpu"
        )


def runs_on(capability: tuple[int, int], built: list[str]) -> bool:
    """Return whether binaries (``sm_75``: the same major number) or PTX (``compute_70``) fit a GPU.

    Source: CUDA C++ Programming Guide, sections "Binary Compatibility" and "PTX Compatibility".

    Args:
        capability: major and minor number of the GPU.
        built: as of ``torch.cuda.get_arch_list()``; an ``a`` or ``f`` at the end ties binaries to
            one GPU or family.
    """
    for text in built:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", text)
        if match is None:
            continue
        version = int(match[2]), int(match[3])
        binary = match[1] == "sm"
        if match[4]:
            fits = binary and version == capability
        else:
            fits = version <= capability and (not binary or version[0] == capability[0])
        if fits:
            return True
    return False
