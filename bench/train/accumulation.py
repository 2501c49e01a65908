"""Steps in parts: where a batch does not fit in memory, its gradients are summed over parts of it.

The effective batch stays what was asked for; only BatchNorm sees the smaller parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import torch

Result = TypeVar("Result")
# BatchNorm cannot train on one image.
FEWEST = 2


@attrs.define
class Accumulation:
    """Into how many parts each batch is divided: the same for all that share this object.

    Attributes:
        parts: a power of two.
        notes: when and why it was raised, one line each.
    """

    parts: int = 1
    notes: list[str] = attrs.field(factory=list)

    def run(
        self, step: Callable[..., Result], batch_size: int, *, of: str, clear: Callable[[], None]
    ) -> Result:
        """Do a step; where memory does not suffice, again in twice as many parts.

        Args:
            step: called with ``parts``.
            batch_size: images of the whole step.
            of: what is trained, for the notes.
            clear: called before it is tried again.

        Raises:
            Exception: the step's own, where parts would be below two images.
        """
        while True:
            # A last batch may be smaller.
            parts = min(self.parts, max(1, batch_size // FEWEST))
            try:
                return step(parts=parts)
            except Exception as error:
                if not out_of_memory(error) or batch_size // (2 * parts) < FEWEST:
                    raise
            # Outside the handler: the error holds on to the tensors of the failed step.
            clear()
            self.parts *= 2
            self.notes.append(
                f"{of} did not fit in memory: each batch of {batch_size} is trained in "
                f"{self.parts} parts (gradient accumulation), here and in all later runs"
            )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "not enough memory" in text or "can't allocate memory" in text
    )


def shares(labels: torch.Tensor, weight: torch.Tensor | None, parts: int) -> list[Any]:
    """What each part's mean loss counts in the mean over all of them; they sum to 1.

    Args:
        labels: (B,) int64.
        weight: (classes,) of the loss, or none.
        parts: into how many parts ``torch.tensor_split`` divides them.
    """
    if weight is None:
        return [len(part) / len(labels) for part in labels.tensor_split(parts)]
    whole = weight[labels].sum()
    return [weight[part].sum() / whole for part in labels.tensor_split(parts)]
