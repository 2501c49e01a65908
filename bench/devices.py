"""Which devices ``--device`` and ``--devices`` mean on this machine."""

from __future__ import annotations

import torch

from bench.errors import BenchError
from bench.measure.environment import usable_cores


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
            raise BenchError(f"--devices {asked}: there are {cores} cores: give {cores} or fewer")
        return ["cpu"] * (asked or 1)
    there = torch.cuda.device_count()
    if asked is not None and asked > there:
        raise BenchError(f"--devices {asked}: there are {there} GPUs: give {there} or fewer")
    if (asked or there) == 1:
        return [str(device)]
    return [f"cuda:{number}" for number in range(asked or there)]
