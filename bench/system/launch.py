"""Tell how this process was started, without importing PyTorch.

Threads of GNU OpenMP, which PyTorch computes with on Linux, spin for about 5 ms before they sleep
(libgomp's ``GOMP_SPINCOUNT`` of 300,000), on the cores that are to prepare the next batch. With
2,000 (about 0.05 ms, longer than from one operator to the next) preparing an image beside
MobileNetV3-Small fell from 0.31 to 0.18 ms on two cores, and a step on a fixed batch took as long
as before; with 0 it took a third longer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from bench.errors import BenchError


def started_together(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes torchrun has started for one training; 1 where it has not.

    Raises:
        BenchError: its variable is no number.
    """
    text = environment.get("WORLD_SIZE", "1") if "RANK" in environment else "1"
    try:
        return int(text)
    except ValueError:
        raise BenchError(
            f"WORLD_SIZE={text!r} is no number: start with torchrun, or unset RANK and WORLD_SIZE"
        ) from None


SPIN_VARIABLE, SPIN_COUNT = "GOMP_SPINCOUNT", "2000"


def sleep_soon() -> None:
    """Set it for this process, before PyTorch is imported; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_VARIABLE, SPIN_COUNT)


def without_spin_count(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for timed processes: threads wait in them as in a user's program."""
    setting = (SPIN_VARIABLE, SPIN_COUNT)
    return {name: value for name, value in environment.items() if (name, value) != setting}
