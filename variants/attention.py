"""Attention specs: frozen data that imports torch only when its block is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class CoordinateAttention:
    """Coordinate Attention (Hou et al. 2021, arXiv:2103.02907, eq. 4-8), timm's ``CoordAttn``.

    The bottleneck has ``max(8, C // reduction)`` channels; convolutions carry a bias.
    """

    reduction: int = 32

    def bottleneck(self, channels: int) -> int:
        """Return the channels between the pooling and the two gates."""
        return max(8, channels // self.reduction)

    def build(self, channels: int) -> nn.Module:
        """(B, C, H, W) → (B, C, H, W)."""
        from timm.layers.coord_attn import CoordAttn

        return CoordAttn(channels, rd_channels=self.bottleneck(channels), bias=True)

    def parameters(self, channels: int) -> int:
        """C·m + m (first conv) + 2m (norm) + 2(m·C + C) (one conv for each axis)."""
        m = self.bottleneck(channels)
        return channels * m + m + 2 * m + 2 * (m * channels + channels)

    def describe(self) -> str:
        """Return a few words for tables."""
        return f"CA, reduction {self.reduction}"

    def attention_map(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) input of the block → (B, H, W): what its two gates leave of each position.

        The mean over channels of the product of the gates along height and width (eq. 9), 0..1.
        """
        gates: list[torch.Tensor] = []
        convs: Any = (block.conv_h, block.conv_w)
        handles = [
            conv.register_forward_hook(lambda _, __, out: gates.append(block.gate(out)))  # type: ignore[operator]
            for conv in convs
        ]
        try:
            block(x)
        finally:
            for handle in handles:
                handle.remove()
        along_height, along_width = gates
        return (along_height * along_width).mean(1)


@dataclass(frozen=True)
class EfficientChannelAttention:
    """Efficient Channel Attention (Wang et al. 2020, arXiv:1910.03151), timm's ``EcaModule``."""

    def kernel_size(self, channels: int) -> int:
        """Adaptive kernel, eq. 12: |log2(C)/2 + 1/2| made odd."""
        t = int(abs(math.log2(channels) + 1) / 2)
        return max(t if t % 2 else t + 1, 3)

    def build(self, channels: int) -> nn.Module:
        """(B, C, H, W) → (B, C, H, W)."""
        from timm.layers import EcaModule

        return EcaModule(channels=channels)

    def parameters(self, channels: int) -> int:
        """One weight for each tap of the kernel."""
        return self.kernel_size(channels)

    def describe(self) -> str:
        """Return a few words for tables."""
        return "ECA, adaptive kernel"


@dataclass(frozen=True)
class BoTLinear:
    """Bottleneck transformer block with linear attention (arXiv:2101.11605, 2006.16236).

    In version 1 each of four heads saw one axis of the position encoding only.
    """

    heads: int = 4
    version: int = 2

    def build(self, channels: int) -> nn.Module:
        """(B, C, H, W) → (B, C, H, W)."""
        from variants.blocks.bot_linear import BoTLinearBlock

        return BoTLinearBlock(channels, heads=self.heads, version=self.version)

    def parameters(self, channels: int) -> int:
        """C·d + d (in) + 3d² (q, k, v) + d·C + C (out), d = C/4."""
        d = channels // 4
        return channels * d + d + 3 * d * d + d * channels + channels

    def describe(self) -> str:
        """Return a few words for tables."""
        early = " (version 1: one axis for each head)" if self.version == 1 else ""
        return f"BoTLinear, {self.heads} heads{early}"

    def attention_map(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) input of the block → (B, H, W): how much attention each position receives.

        The mean over heads and querying positions, times H·W: 1 everywhere were it uniform.
        """
        bottleneck: Any = block
        weights = bottleneck.attention.weights(bottleneck.act(bottleneck.reduce(x)))
        height, width = x.shape[-2:]
        return weights.mean((1, 2)).unflatten(1, (height, width)) * (height * width)
