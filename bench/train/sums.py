"""What an epoch adds up, on the device: reading it at each step would wait for a GPU."""

from __future__ import annotations

import torch

from bench.train.state import TrainState

# More steps than an epoch has.
NEVER = 2**62


class Sums:
    """Loss and hits of the epoch at hand, from where its state says it was broken off.

    Args:
        state: of the training.
        device: where losses and logits are.
    """

    def __init__(self, state: TrainState, device: torch.device) -> None:
        self._loss = torch.full((), state.loss_sum, device=device, dtype=torch.float64)
        self._correct = torch.full((), state.correct, device=device, dtype=torch.int64)
        begun = NEVER if state.diverged_at is None else state.diverged_at
        self._diverged = torch.full((), begun, device=device, dtype=torch.int64)

    def add(
        self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, step: int
    ) -> None:
        """Add a step.

        Args:
            loss: () mean over the images.
            logits: (B, classes).
            labels: (B,) int64.
            step: its number in the epoch, from 1.
        """
        self._loss += loss.double() * len(labels)
        self._correct += (logits.argmax(1) == labels).sum()
        self._diverged.clamp_(max=torch.where(loss.isfinite(), NEVER, step))

    def into(self, state: TrainState) -> None:
        """Put them where the epoch can be gone on with from; waits for the device."""
        state.loss_sum, state.correct = self.loss, self.correct
        state.diverged_at = self.diverged_at

    @property
    def loss(self) -> float:
        """Sum over the images; waits for the device."""
        return float(self._loss.item())

    @property
    def correct(self) -> int:
        """Images predicted right; waits for the device."""
        return int(self._correct.item())

    @property
    def diverged_at(self) -> int | None:
        """The first step, from 1, whose loss was not finite; waits for the device."""
        step = int(self._diverged.item())
        return None if step == NEVER else step
