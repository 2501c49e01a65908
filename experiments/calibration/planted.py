"""The plugin of the real sessions: two identical small models, and one with 10 % more work."""

from __future__ import annotations

from torch import nn

from experiments.calibration.blocks import BLOCKS, EXTRA_BLOCKS, Blocks
from variants import Variant, register


def _planted(name: str, blocks: int) -> None:
    def build(num_classes: int, dropout: float, reduction: int | None) -> nn.Module:
        return Blocks(blocks, num_classes)

    register(Variant(name=name, backbone="planted", build=build, use_case="Calibration"))


_planted("Twin_1", BLOCKS)
_planted("Twin_2", BLOCKS)
_planted("Slower", BLOCKS + EXTRA_BLOCKS)
