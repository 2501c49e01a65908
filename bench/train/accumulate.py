"""Steps in parts: where a batch does not fit in memory, its gradients are summed over parts of it.

The effective batch stays what was asked for; only BatchNorm sees the smaller parts. Its statistics,
and so the results, depend on the number of parts: the record says it, and a sweep keeps it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import torch
from torch import nn

from bench.train.optim import Optimization

Result = TypeVar("Result")
# BatchNorm cannot train on one image.
FEWEST = 2


@attrs.define
class Accumulation:
    """Into how many parts each batch is divided: the same for all that share this object.

    Attributes:
        parts: a power of two.
        notes: when and why it was raised, one line each.
        shared: path whose suffixes tell processes that train at once, and a sweep that goes on (see
            :func:`shared_file`); none: nobody is told.
    """

    parts: int = 1
    notes: list[str] = attrs.field(factory=list)
    shared: Path | None = None

    def look(self) -> None:
        """Take over what another process has found, before a run begins."""
        parts = max([self.parts, *(int(path.suffix[1:]) for path in self._files())])
        if parts > self.parts:
            self.parts = parts
            self.notes.append(
                f"another run did not fit in memory: each batch is trained in {parts} parts "
                "(gradient accumulation)"
            )

    def parts_of(self, batch_size: int) -> int:
        """Return into how many parts a batch is divided; a last one may be smaller."""
        return min(self.parts, max(1, batch_size // FEWEST))

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
        before, notes = self.parts, len(self.notes)
        while True:
            parts = self.parts_of(batch_size)
            try:
                result = step(parts=parts)
            except Exception as error:
                if not out_of_memory(error) or batch_size // (2 * parts) < FEWEST:
                    # What fits in no parts says nothing of the others.
                    self.parts = before
                    del self.notes[notes:]
                    raise
            else:
                if self.parts != before:
                    self.tell()
                return result
            # Outside the handler: the error holds on to the tensors of the failed step.
            clear()
            self.parts *= 2
            self.notes.append(
                f"{of} did not fit in memory: each batch of {batch_size} is trained in "
                f"{self.parts} parts (gradient accumulation), here and in all later runs"
            )

    def facts(self, model: nn.Module, batch_size: int, *, frozen: bool) -> dict[str, int | None]:
        """What a record says: parts of a batch, and the fewest images that BatchNorm sees in one.

        Args:
            model: that was trained.
            batch_size: images of a whole batch.
            frozen: whether its backbone is.
        """
        trained = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            and (not frozen or any(p.requires_grad for p in module.parameters()))
            for module in model.modules()
        )
        return {
            "accumulation_parts": self.parts,
            "batch_norm_images": batch_size // self.parts_of(batch_size) if trained else None,
        }

    def tell(self) -> None:
        """Write a file whose suffix is the number: two processes cannot overwrite each other's."""
        if self.shared is not None and self.parts > 1:
            with contextlib.suppress(OSError):
                self.shared.with_suffix(f".{self.parts}").touch()

    def forget(self) -> None:
        """Remove what was told: all runs have ended."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if self.shared is None:
            return []
        paths = self.shared.parent.glob(f"{self.shared.name}.*")
        return [path for path in paths if path.suffix[1:].isdigit()]


def shared_file(results_dir: Path, sweep: str) -> Path:
    """``shared`` of the runs of a sweep: beside their records, since a sweep may go on later."""
    return results_dir / f".sweep-{sweep}-parts"


class Buffers:
    """Buffers as they were before a step: the running statistics of BatchNorm.

    A step that fails for want of memory has moved some of them, and would move them once more when
    it is tried again. Those of frozen modules stay as they are anyway.

    Args:
        model: on its device, in its memory format, with what is frozen frozen.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module) -> None:
        # Only tensors of one type are copied by one kernel.
        groups: dict[Any, list[torch.Tensor]] = {}
        for module in model.modules():
            parameters = list(module.parameters(recurse=False))
            if not parameters or any(parameter.requires_grad for parameter in parameters):
                for buffer in module.buffers(recurse=False):
                    groups.setdefault((buffer.device, buffer.dtype), []).append(buffer)
        self._pairs = [(group, [buffer.clone() for buffer in group]) for group in groups.values()]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy them as they are now; a few kernels on a GPU, without waiting for it."""
        for buffers, copies in self._pairs:
            torch._foreach_copy_(copies, buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back as they were kept."""
        for buffers, copies in self._pairs:
            torch._foreach_copy_(buffers, copies)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice, on a GPU or the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "not enough memory" in text or "can't allocate memory" in text
    )


def accumulate(
    optim: Optimization, images: torch.Tensor, labels: torch.Tensor, parts: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the gradients of a batch over parts of it; its detached loss () and logits."""
    losses, logits = [], []
    for part, truth, share in zip(
        images.tensor_split(parts),
        labels.tensor_split(parts),
        shares(labels, optim.criterion.weight, parts),
        strict=True,
    ):
        loss, output = optim.loss(part, truth)
        optim.scaler.scale(loss * share).backward()
        losses.append(loss.detach() * share)
        logits.append(output.detach())
    return torch.stack(losses).sum(), torch.cat(logits)


def shares(labels: torch.Tensor, weight: torch.Tensor | None, parts: int) -> list[Any]:
    """Return what each part's mean loss counts in the mean over all of them; they sum to 1.

    Args:
        labels: (B,) int64.
        weight: (classes,) of the loss, or none.
        parts: into how many parts ``torch.tensor_split`` divides them.
    """
    if weight is None:
        return [len(part) / len(labels) for part in labels.tensor_split(parts)]
    whole = weight[labels].sum()
    return [weight[part].sum() / whole for part in labels.tensor_split(parts)]
