"""Files of weights: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save_weights(model: nn.Module, path: Path, about: dict[str, Any]) -> None:
    """Write ``{"model": state_dict, **about}``; an existing file is replaced in one step.

    Args:
        model: whose ``state_dict`` is kept, on the CPU.
        path: the file.
        about: plain values, so that ``torch.load(weights_only=True)`` can read them.
    """
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save({"model": state, **about}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
