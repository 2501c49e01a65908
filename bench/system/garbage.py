"""Python's collector of cyclic garbage, kept out of where millions of objects are made to stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Do not look for cycles within the block: looking through a million objects takes a second."""
    gc.disable()
    try:
        yield
    finally:
        # What has stayed is old: as young objects it would be looked through at once.
        thaw = gc.get_freeze_count() == 0
        gc.freeze()
        gc.enable()
        if thaw:
            gc.unfreeze()
