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

    Raises:
        OSError: it cannot be written; the previous one is as it was.
    """
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    save_whole({"model": state, **about}, path)


def save_whole(content: dict[str, Any], path: Path) -> None:
    """``torch.save``; an existing file is replaced in one step, once the disk has the new one.

    Raises:
        OSError: it cannot be written; the previous one is as it was.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except RuntimeError as error:
        # PyTorch's writer tells of a full disk by an error of its own.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        text = " ".join(str(error).split())[:200]
        raise OSError(f"{path} could not be written ({text})") from error
    finally:
        part.unlink(missing_ok=True)


def keep_candidate(candidate: Path, best: Path, epoch: int) -> None:
    """Make a better epoch's weights the best ones, where they are of that epoch.

    Args:
        candidate: file that :func:`save_weights` wrote; what is of another epoch, or damaged, is
            removed: it belongs to an epoch that a kill has undone.
        best: file of the best weights.
        epoch: the best one.

    Raises:
        OSError: the file cannot be read or moved; it stays.
    """
    if candidate.exists() and _epoch_of(candidate) == epoch:
        candidate.replace(best)
    candidate.unlink(missing_ok=True)


def _epoch_of(path: Path) -> int | None:
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"])
    except (OSError, MemoryError):
        raise
    except Exception:
        return None
