"""Whether torchrun has started this process as one of several; known without importing PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bench.errors import BenchError


def started_together(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun has started for one training; 1 where it has not.

    Raises:
        BenchError: its variables are no numbers.
    """
    return _number(environment, "WORLD_SIZE", 1) if "RANK" in environment else 1


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise BenchError(
            f"{name}={text!r} is no number: start with torchrun, or unset RANK and WORLD_SIZE"
        ) from None
