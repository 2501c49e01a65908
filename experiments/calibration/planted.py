"""The plugin of the real sessions: two identical small models, and one with 10 % more work.

The work is in proportion to the number of blocks: every block is the same convolution on the same
feature map.
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.calibration.timed import BLOCKS, EXTRA_BLOCKS
from variants import Variant, register

WIDTH = 64
SIDE = 28


class Blocks(nn.Module):
    """``blocks`` equal 3×3 convolutions on a WIDTH × SIDE × SIDE map, then a linear classifier."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 1)
        self.pool = nn.AdaptiveAvgPool2d(SIDE)
        self.blocks = nn.Sequential(*(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(blocks)))
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) → (B, classes)."""
        features = self.blocks(self.stem(self.pool(images)))
        return self.head(features.mean((2, 3)))

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.head


def _planted(name: str, blocks: int) -> None:
    def build(num_classes: int, dropout: float, reduction: int | None) -> nn.Module:
        return Blocks(blocks, num_classes)

    register(Variant(name=name, backbone="planted", build=build, use_case="Calibration"))


_planted("Twin_1", BLOCKS)
_planted("Twin_2", BLOCKS)
_planted("Slower", BLOCKS + EXTRA_BLOCKS)
