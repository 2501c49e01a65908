"""Which devices ``--device`` and ``--devices`` mean on this machine."""

from __future__ import annotations

import torch

from bench.errors import BenchError, error_line
from bench.system.digits import counted
from bench.system.environment import usable_cores

# What PyTorch itself and a small model need.
LEAST_FREE_BYTES = 1.5e9


def choose_device(asked: str) -> torch.device:
    """The device of ``--device``; ``auto`` is CUDA where there is one.

    Raises:
        BenchError: CUDA is asked for and there is none.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no GPU or driver is found" if built else "this PyTorch is built without CUDA"
        raise BenchError(f"--device cuda: {why}: use --device cpu or auto")
    return torch.device("cuda", torch.cuda.current_device())


def choose_devices(asked: int | None, device: torch.device) -> list[str]:
    """The devices to train on at once, as PyTorch names them.

    Raises:
        BenchError: more are asked for than there are.
    """
    if device.type == "cpu":
        cores = usable_cores()
        if asked is not None and asked > cores:
            has = counted(cores, "core")
            raise BenchError(f"--devices {asked}: this machine has {has}: give {cores} or fewer")
        return ["cpu"] * (asked or 1)
    there = torch.cuda.device_count()
    if asked is not None and asked > there:
        raise BenchError(f"--devices {asked}: there are {there} GPUs: give {there} or fewer")
    if (asked or there) == 1:
        return [str(device)]
    return [f"cuda:{number}" for number in range(asked or there)]


def probe(device: torch.device) -> None:
    """See that a GPU really computes with this PyTorch, and has memory left.

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
    known = f"PyTorch {torch.__version__} is built for {', '.join(built)}"
    if built and torch.version.hip is None and not runs_on(capability, built):
        raise BenchError(
            f"{name} has compute capability {capability[0]}.{capability[1]}, and {known}: pick "
            "another GPU (on Kaggle T4 x2 instead of P100), install a PyTorch built for this one, "
            "or give --device cpu"
        )
    try:
        images = torch.ones(1, 3, 8, 8, device=device)
        found = torch.nn.functional.conv2d(images, torch.ones(1, 3, 3, 3, device=device)).sum()
        right = found.item() == 36 * 27
    except RuntimeError as error:
        raise BenchError(
            f"{name} fails at its first kernel ({error_line(error, 160)}); {known}: "
            "see that the driver fits, pick another GPU, or give --device cpu"
        ) from error
    if not right:
        raise BenchError(f"{name} computes wrong results: pick another GPU, or give --device cpu")
    free, whole = torch.cuda.mem_get_info(device)
    if free < LEAST_FREE_BYTES:
        raise BenchError(
            f"{name} has {free / 1e9:.1f} of {whole / 1e9:.1f} GB free: end what else uses it "
            "(nvidia-smi names it), or give --device cpu"
        )


def runs_on(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether binaries (``sm_75``: the same major number) or PTX (``compute_70``) fit a GPU.

    Source: CUDA C++ Programming Guide, sections "Binary Compatibility" and "PTX Compatibility".

    Args:
        capability: major and minor number of the GPU.
        built: as of ``torch.cuda.get_arch_list()``; an ``a`` or ``f`` at the end ties binaries to
            one GPU or family.
    """
    for text in built:
        kind, _, digits = text.partition("_")
        exact = digits.endswith(("a", "f"))
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        version = int(digits[:-1]), int(digits[-1])
        same_major = version[0] == capability[0] and version[1] <= capability[1]
        if kind == "sm" and (version == capability if exact else same_major):
            return True
        if kind == "compute" and not exact and version <= capability:
            return True
    return False
