"""BoTLinear against an independent float64 reference, and its numerical range."""

from __future__ import annotations

import math

import pytest
import torch

from variants.blocks.bot_linear import BoTLinearBlock, LinearAttention2d


def sincos(height: int, width: int, channels: int) -> torch.Tensor:
    """(H·W, d): per axis d/4 sines and d/4 cosines with wavelengths 2π … 2π·10⁴."""
    quarter = channels // 4
    rows = []
    for y in range(height):
        for x in range(width):
            ys = [math.sin(y / 10_000 ** (band / quarter)) for band in range(quarter)]
            xs = [math.sin(x / 10_000 ** (band / quarter)) for band in range(quarter)]
            cos_y = [math.cos(y / 10_000 ** (band / quarter)) for band in range(quarter)]
            cos_x = [math.cos(x / 10_000 ** (band / quarter)) for band in range(quarter)]
            rows.append((ys, xs, cos_y, cos_x))
    return torch.tensor([[*ys, *xs, *cy, *cx] for ys, xs, cy, cx in rows], dtype=torch.float64)


def reference(module: LinearAttention2d, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Explicit N×N attention with the kernel φ(q)·φ(k), every entry written out in float64."""
    batch, channels, height, width = x.shape
    tokens = x.flatten(2).transpose(1, 2)

    def project(conv: torch.nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
        return values @ conv.weight.detach().double().flatten(1).T

    def phi(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values > 0, values + 1, torch.exp(values))

    query = phi(project(module.query, tokens) + position)
    key = phi(project(module.key, tokens) + position)
    value = project(module.value, tokens)
    per_head = channels // module.heads
    out = torch.zeros_like(value)
    for head in range(module.heads):
        own = slice(head * per_head, (head + 1) * per_head)
        similarity = torch.einsum("bid,bjd->bij", query[..., own], key[..., own])
        weights = similarity / similarity.sum(-1, keepdim=True)
        out[..., own] = torch.einsum("bij,bjd->bid", weights, value[..., own])
    return out.transpose(1, 2).reshape(batch, channels, height, width)


@pytest.fixture
def attention() -> LinearAttention2d:
    torch.manual_seed(0)
    return LinearAttention2d(32, heads=4)


@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (8, 8), (10, 10), (3, 5), (1, 1)])
def test_equals_the_explicit_attention(attention, shape: tuple[int, int]) -> None:
    x = torch.randn(2, 32, *shape, dtype=torch.float64)
    expected = reference(attention, x, sincos(*shape, 32))
    with torch.no_grad():
        exact = attention.double()(x)
        torch.testing.assert_close(exact, expected, rtol=1e-6, atol=1e-6)
        single = attention.float()(x.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


def test_without_positions_it_commutes_with_permutations(attention, monkeypatch) -> None:
    monkeypatch.setattr(attention, "position", lambda like: torch.zeros_like(like[:1]))
    x = torch.randn(2, 32, 5, 5)
    order = torch.randperm(25)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    with torch.no_grad():
        expected = attention(x).flatten(2)[..., order]
        torch.testing.assert_close(attention(shuffled).flatten(2), expected, rtol=1e-4, atol=1e-5)


def test_with_positions_it_does_not(attention) -> None:
    x = torch.randn(2, 32, 5, 5)
    order = torch.arange(24, -1, -1)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    with torch.no_grad():
        expected = attention(x).flatten(2)[..., order]
        assert not torch.allclose(attention(shuffled).flatten(2), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 60.0, -60.0])
def test_half_precision_neither_overflows_nor_vanishes(dtype: torch.dtype, scale: float) -> None:
    """Queries and keys of ±60 at 64 × 64 positions: the sums pass 65,504, φ falls to 1e-26."""
    torch.manual_seed(0)
    module = LinearAttention2d(16, heads=2)
    with torch.no_grad():
        for conv in (module.query, module.key):
            conv.weight.copy_(torch.eye(16)[..., None, None])
    x = torch.full((1, 16, 64, 64), scale)
    expected = reference(module, x.double(), sincos(64, 64, 16))
    with torch.no_grad():
        out = module.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()
    assert out.abs().max() > 0
    torch.testing.assert_close(out.double(), expected, rtol=0.05, atol=0.05 * abs(scale))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_the_sums_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block = BoTLinearBlock(64)
    x = torch.randn(1, 64, 8, 8) * 30
    with torch.no_grad():
        expected = block(x)
        with torch.autocast("cpu", dtype=dtype):
            out = block(x)
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.5)


def test_gradients_are_finite_where_the_feature_map_is_tiny() -> None:
    module = LinearAttention2d(16, heads=2)
    x = torch.full((1, 16, 4, 4), -50.0, requires_grad=True)
    module(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("pixels", [192, 224, 256, 300])
def test_sizes_of_feature_maps(pixels: int) -> None:
    side = math.ceil(pixels / 32)
    block = BoTLinearBlock(64).eval()
    x = torch.randn(1, 64, side, side)
    assert block(x).shape == x.shape
    assert block(torch.randn(2, 64, 7, 7)).shape == (2, 64, 7, 7)


def test_the_block_is_a_residual_bottleneck_with_relu() -> None:
    torch.manual_seed(0)
    block = BoTLinearBlock(64, heads=4)
    assert block.reduce.out_channels == 16
    assert block.reduce.bias is not None
    assert block.expand.bias is not None
    assert all(c.bias is None for c in (block.attention.query, block.attention.key))
    assert block.attention.value.bias is None
    x = torch.randn(1, 64, 4, 4)
    inner = block.attention(torch.relu(block.reduce(x)))
    torch.testing.assert_close(block(x), torch.relu(x + block.expand(inner)))


def test_macs_equal_the_docstrings_closed_form() -> None:
    from bench.measure.complexity import count_macs

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = BoTLinearBlock(64, heads=4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.block(images[:, :1].expand(-1, 64, -1, -1))

    n, c, d, h = 14 * 14, 64, 16, 4
    expected = n * c * d + 3 * n * d * d + 2 * n * d * d // h + n * d * c
    assert count_macs(Model(), 14)["gmacs_matrix"] * 1e9 == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(("channels", "heads"), [(18, 3), (32, 5)])
def test_channels_that_do_not_divide(channels: int, heads: int) -> None:
    with pytest.raises(ValueError, match="divisible"):
        LinearAttention2d(channels, heads)
