"""BoTLinear: a bottleneck transformer block whose self-attention costs linearly in H·W."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import nn

VERSION = 2


class LinearAttention2d(nn.Module):
    """Multi-head linear attention over the positions of a feature map.

    With φ(x) = elu(x) + 1, for each position i (Katharopoulos et al. 2020, arXiv:2006.16236,
    eq. 5):

        out_i = φ(q_i) Σ_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j φ(k_j))

    A fixed 2-D sinusoidal encoding (Vaswani et al. 2017, arXiv:1706.03762, section 3.5, on each
    axis) is added to keys and queries, so that values move with the image and attention knows
    where they are. As in Srinivas et al. (2021, arXiv:2101.11605) every head has the same encoding,
    of the head's width: it sees rows and columns. Feature map, sums and quotient are computed in
    float32 whatever the input's type: φ > 0 makes the sums grow with H·W, past what float16
    holds, and a normaliser of small values would vanish in it.

    A state dict that version 1 wrote (``_metadata`` says so) puts the block back to version 1.

    Args:
        channels: d, divisible by ``heads``.
        heads: number of heads; the head width d / heads is divisible by 4 (sine and cosine for
            each axis).
        version: 1: one encoding over all d channels, whose quarters are sin y, sin x, cos y and
            cos x, so that each of four heads sees one axis only (d divisible by 4 is enough). It is
            for weights that were trained with it.
    """

    # PyTorch writes it beside the weights.
    _version = VERSION

    def __init__(self, channels: int, heads: int = 4, version: int = VERSION) -> None:
        super().__init__()
        if version not in (1, VERSION):
            raise ValueError(f"BoTLinear has versions 1 and {VERSION}, not {version}")
        if channels % heads:
            raise ValueError(f"channels must be divisible by heads ({heads}): {channels}")
        encoded = channels if version == 1 else channels // heads
        if encoded % 4:
            raise ValueError(
                f"a head has {channels} / {heads} = {channels // heads} channels, and the position "
                "encoding needs a number divisible by 4 (sine and cosine for each axis): choose "
                "another number of heads"
                if version > 1
                else f"channels must be divisible by 4: {channels}"
            )
        self.heads = heads
        self._version = version
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self._position: torch.Tensor | None = None

    def position(self, like: torch.Tensor) -> torch.Tensor:
        """(1, d, H, W) encoding for a (B, d, H, W) map."""
        _, channels, height, width = like.shape
        cache = self._position
        if cache is None or cache.shape[-2:] != (height, width) or cache.device != like.device:
            copies = 1 if self._version == 1 else self.heads
            with torch.no_grad():
                table = build_sincos2d_pos_embed(
                    [height, width], dim=channels // copies, device=like.device, dtype=torch.float32
                )
            cache = table.T.repeat(copies, 1).reshape(1, channels, height, width)
            self._position = cache
        return cache.to(like.dtype)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        if local_metadata.get("version") == 1 < self._version:
            warnings.warn(
                f"the weights of {prefix.rstrip('.') or 'this block'} are of version 1 of "
                "BoTLinear: its position encoding, of one axis for each head, is used with them",
                stacklevel=2,
            )
            self._version, self._position = 1, None
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, H, W) → (B, d, H, W)."""
        query, key = self._queries_and_keys(x)
        value = self.value(x).reshape(query.shape)
        out = _attend(query, key, value.to(query.dtype))
        return out.to(value.dtype).reshape(x.shape)

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """(B, d, H, W) → (B, heads, N, N) float32, N = H·W: what each position (row) attends to.

        Rows sum to 1. The forward pass never holds this matrix; it is for looking at.
        """
        query, key = _features(*(tensor.float() for tensor in self._queries_and_keys(x)))
        products = query.transpose(-1, -2) @ key
        return products / products.sum(-1, keepdim=True)

    def _queries_and_keys(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, heads, d / heads, N) each, before the feature map, at least float32."""
        batch, channels, height, width = x.shape
        query, key = self.query(x), self.key(x)
        exact = torch.promote_types(query.dtype, torch.float32)
        position = self.position(x).to(exact)
        shape = (batch, self.heads, channels // self.heads, height * width)
        return (
            (query.to(exact) + position).reshape(shape),
            (key.to(exact) + position).reshape(shape),
        )


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """(B, heads, d, N) each, at least float32 → (B, heads, d, N)."""
    on_meta = query.device.type == "meta"  # has no autocast to ask about
    if not on_meta and torch.is_autocast_enabled(query.device.type):
        with torch.autocast(query.device.type, enabled=False):
            return _attend(query, key, value)
    query, key = _features(query, key)
    context = value @ key.transpose(-1, -2)
    normaliser = (query * key.sum(-1, keepdim=True)).sum(-2, keepdim=True)
    return (context @ query) / normaliser


def _features(query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """φ of queries and keys, scaled by factors that cancel in the quotient: no sum vanishes.

    Each feature of the keys is divided by its largest value over the positions, which its queries
    are multiplied by; then each query by its largest feature. So every normaliser is from 1 to d·N,
    whatever the values.
    """
    query, key = _log_feature(query), _log_feature(key)
    # The scale alone: it cancels, and so does its gradient.
    largest = key.detach().amax(-1, keepdim=True)
    query = query + largest
    query = query - query.detach().amax(-2, keepdim=True)
    return query.exp(), (key - largest).exp()


def _log_feature(x: torch.Tensor) -> torch.Tensor:
    """log φ(x), φ(x) = elu(x) + 1: x below zero, log(1 + x) above."""
    return torch.where(x > 0, x.clamp_min(0).log1p(), x)


class BoTLinearBlock(nn.Module):
    """Bottleneck transformer block (Srinivas et al. 2021, arXiv:2101.11605) on linear attention.

    1×1 conv C → C/4, ReLU; linear attention; 1×1 conv C/4 → C; add the input; ReLU.

    MACs for one image, N = H·W positions, d = C/4, h heads (batch norm and the like: none):

        N·C·d + 3·N·d² + 2·N·d²/h + N·d·C     (in; q, k, v; context and its use; out)

    plus N·d element-wise products for the normaliser.

    Args:
        channels: C of the feature map, divisible by 16 · heads.
        heads: heads of the attention.
        version: as of :class:`LinearAttention2d`.
    """

    def __init__(self, channels: int, heads: int = 4, version: int = VERSION) -> None:
        super().__init__()
        width = channels // 4
        self.reduce = nn.Conv2d(channels, width, 1)
        self.attention = LinearAttention2d(width, heads, version)
        self.expand = nn.Conv2d(width, channels, 1)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        return self.act(x + self.expand(self.attention(self.act(self.reduce(x)))))
