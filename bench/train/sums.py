"""What an epoch adds up, on the device: reading it at each step would wait for a GPU."""

from __future__ import annotations

import torch

from bench.train.distributed import ProcessGroup
from bench.train.state import TrainState

# More steps than an epoch has.
NEVER = 2**62


class RunningLoss:
    """Loss and hits of the epoch at hand, from where its state says it was broken off.

    Args:
        state: of the training.
        device: where losses and logits are.
        team: whose processes each have some rows of a batch.
    """

    def __init__(
        self, state: TrainState, device: torch.device, team: ProcessGroup | None = None
    ) -> None:
        self._team = team or ProcessGroup()
        if not self._team.leads:
            state = TrainState()  # what was added up before is counted once
        self._loss = torch.full((), state.loss_sum, device=device, dtype=torch.float64)
        self._correct = torch.full((), state.correct, device=device, dtype=torch.int64)
        begun = NEVER if state.diverged_at is None else state.diverged_at
        self._diverged = torch.full((), begun, device=device, dtype=torch.int64)

    def add(
        self,
        loss: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        step: int,
        images: int | None = None,
    ) -> None:
        """Add a step.

        Args:
            loss: () mean over the images; of one process of several its share in that mean.
            logits: (B, classes).
            labels: (B,) int64.
            step: its number in the epoch, from 1.
            images: of the whole batch; none: B.
        """
        self._loss += loss.double() * (len(labels) if images is None else images)
        self._correct += (logits.argmax(1) == labels).sum()
        self._diverged.clamp_(max=torch.where(loss.isfinite(), NEVER, step))

    def total(self) -> tuple[float, int, int | None]:
        """Of all processes, waiting for the device.

        Returns:
            Sum of the losses over the images; images predicted right; the first step, from 1, whose
            loss was not finite, or none.
        """
        mine = self._loss.item(), int(self._correct.item()), int(self._diverged.item())
        losses, correct, first = zip(*self._team.everywhere(mine), strict=True)
        diverged = min(first)
        return sum(losses), sum(correct), None if diverged == NEVER else diverged

    def into(self, state: TrainState) -> None:
        """Put them where the epoch can be gone on with from; waits for the device."""
        state.loss_sum, state.correct, state.diverged_at = self.total()
