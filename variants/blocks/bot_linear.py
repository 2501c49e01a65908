"""BoTLinear: a bottleneck transformer block whose self-attention costs linearly in H·W."""

from __future__ import annotations

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import nn


class LinearAttention2d(nn.Module):
    """Multi-head linear attention over the positions of a feature map.

    With φ(x) = elu(x) + 1, for each position i (Katharopoulos et al. 2020, arXiv:2006.16236,
    eq. 5):

        out_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j φ(k_j))

    A fixed 2-D sinusoidal encoding is added to keys and queries, so that values move with the
    image and attention knows where they are. Feature map, sums and quotient are computed in
    float32 whatever the input's type: φ > 0 makes the sums grow with H·W, past what float16
    holds, and a normaliser of small values would vanish in it.

    Args:
        channels: d, divisible by ``heads`` and by 4 (sine and cosine for each axis).
        heads: number of heads; the head width is d / heads.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if channels % heads or channels % 4:
            raise ValueError(f"channels must be divisible by heads ({heads}) and by 4: {channels}")
        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self._position: torch.Tensor | None = None

    def position(self, like: torch.Tensor) -> torch.Tensor:
        """(1, d, H, W) encoding for a (B, d, H, W) map."""
        _, channels, height, width = like.shape
        known = self._position
        if known is None or known.shape[-2:] != (height, width) or known.device != like.device:
            with torch.no_grad():
                table = build_sincos2d_pos_embed(
                    [height, width], dim=channels, device=like.device, dtype=torch.float32
                )
            known = table.T.reshape(1, channels, height, width)
            self._position = known
        return known.to(like.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, H, W) → (B, d, H, W)."""
        query, key = self._queries_and_keys(x)
        value = self.value(x).reshape(query.shape)
        exact = torch.promote_types(x.dtype, torch.float32)
        out = _attend(query.to(exact), key.to(exact), value.to(exact))
        return out.to(value.dtype).reshape(x.shape)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, H, W) → (B, heads, N, N) float32, N = H·W: what each position (row) attends to.

        Rows sum to 1. The forward pass never holds this matrix; it is for looking at.
        """
        query, key = (found.float() for found in self._queries_and_keys(x))
        query, key = _feature_map(query, (-2,)), _feature_map(key, (-2, -1))
        products = query.transpose(-1, -2) @ key
        return products / products.sum(-1, keepdim=True).clamp_min(torch.finfo(query.dtype).tiny)

    def _queries_and_keys(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, heads, d / heads, N) each, before the feature map."""
        batch, channels, height, width = x.shape
        position = self.position(x)
        shape = (batch, self.heads, channels // self.heads, height * width)
        return (
            (self.query(x) + position).reshape(shape),
            (self.key(x) + position).reshape(shape),
        )


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """(B, heads, d, N) each, at least float32 → (B, heads, d, N)."""
    on_meta = query.device.type == "meta"  # has no autocast to ask about
    if not on_meta and torch.is_autocast_enabled(query.device.type):
        with torch.autocast(query.device.type, enabled=False):
            return _attend(query, key, value)
    query, key = _feature_map(query, (-2,)), _feature_map(key, (-2, -1))
    context = value @ key.transpose(-1, -2)
    normaliser = (query * key.sum(-1, keepdim=True)).sum(-2, keepdim=True)
    return (context @ query) / normaliser.clamp_min(torch.finfo(query.dtype).tiny)


def _feature_map(x: torch.Tensor, scaled_over: tuple[int, ...]) -> torch.Tensor:
    """φ(x) = elu(x) + 1, divided by its maximum over some dimensions.

    A factor common to a query's features, or to all keys of a head, cancels in the quotient. In
    logarithms (log φ is x below zero, log(1 + x) above) neither large nor tiny values are lost.
    """
    logarithm = torch.where(x > 0, x.clamp_min(0).log1p(), x)
    return (logarithm - logarithm.detach().amax(scaled_over, keepdim=True)).exp()


class BoTLinearBlock(nn.Module):
    """Bottleneck transformer block (Srinivas et al. 2021, arXiv:2101.11605) on linear attention.

    1×1 conv C → C/4, ReLU; linear attention; 1×1 conv C/4 → C; add the input; ReLU.

    MACs for one image, N = H·W positions, d = C/4, h heads (batch norm and the like: none):

        N·C·d + 3·N·d² + 2·N·d²/h + N·d·C     (in; q, k, v; context and its use; out)

    plus N·d element-wise products for the normaliser.

    Args:
        channels: C of the feature map, divisible by 16.
        heads: heads of the attention.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        width = channels // 4
        self.reduce = nn.Conv2d(channels, width, 1)
        self.attention = LinearAttention2d(width, heads)
        self.expand = nn.Conv2d(width, channels, 1)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        return self.act(x + self.expand(self.attention(self.act(self.reduce(x)))))
