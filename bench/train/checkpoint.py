"""Files of weights: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def copied(value: Any) -> Any:
    """Nested dicts and lists with a copy of each tensor, on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    return value


def load_weights(path: Path, device: torch.device, *, mapped: bool = False) -> dict[str, Any]:
    """What a file of weights holds: ``model`` (name → tensor), and what it says about them.

    Args:
        path: the file.
        device: of the tensors.
        mapped: read a tensor where it is first used, which spares a copy: for a file that nobody
            else writes to.

    Raises:
        Exception: it cannot be read, or it is no such file: PyTorch has many errors for that.
    """
    found: dict[str, Any] = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    return found


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
        candidate: file of a better epoch's weights; what is of another epoch, or damaged, is
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
        # Mapped: only its small values are read.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(found["epoch"])
    except (OSError, MemoryError):
        raise
    except Exception:
        return None
