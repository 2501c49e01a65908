"""Files of weights: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
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


def keep_candidate(candidate: Path, best: Path, epoch: int) -> None:
    """Make a better epoch's weights the best ones, where they are of that epoch.

    Args:
        candidate: file that :func:`save_weights` wrote; what is of another epoch, or damaged, is
            removed: it belongs to an epoch that a kill has undone.
        best: file of the best weights.
        epoch: the best one.
    """
    if not candidate.exists():
        return
    with contextlib.suppress(Exception):
        if torch.load(candidate, map_location="cpu", weights_only=True)["epoch"] == epoch:
            candidate.replace(best)
            return
    candidate.unlink(missing_ok=True)
