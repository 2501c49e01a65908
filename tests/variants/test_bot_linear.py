"""BoTLinear against an independent float64 reference, and its numerical range."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Callable

import pytest
import torch

from variants.blocks.bot_linear import BoTLinearBlock, LinearAttention2d


def encoding(height: int, width: int, head_width: int, heads: int) -> torch.Tensor:
    """(H·W, d): of every head sines and cosines of its row, then of its column.

    On each axis that of Vaswani et al. (2017, section 3.5) for a model of half the head's width:
    PE(pos, 2i) = sin(pos / 10000^(2i / width)), PE(pos, 2i + 1) the cosine. Srinivas et al. (2021)
    give each head the encodings of height and width, the same ones for all heads.
    """
    axis = head_width // 2

    def along(place: int, function: Callable[[float], float]) -> list[float]:
        return [function(place / 10_000 ** (2 * i / axis)) for i in range(axis // 2)]

    rows = [
        [*along(y, math.sin), *along(x, math.sin), *along(y, math.cos), *along(x, math.cos)]
        for y in range(height)
        for x in range(width)
    ]
    return torch.tensor(rows, dtype=torch.float64).repeat(1, heads)


def reference(module: LinearAttention2d, x: torch.Tensor) -> torch.Tensor:
    """Attention of Katharopoulos et al. (2020, eq. 3): each pair of positions, in float64."""
    batch, channels, height, width = x.shape
    tokens, per_head = x.flatten(2).transpose(1, 2), channels // module.heads
    position = encoding(height, width, per_head, module.heads)

    def project(conv: torch.nn.Conv2d) -> torch.Tensor:
        return tokens @ conv.weight.detach().double().flatten(1).T

    def phi(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values > 0, values + 1, torch.exp(values))

    query, key = phi(project(module.query) + position), phi(project(module.key) + position)
    value = project(module.value)
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
    expected = reference(attention, x)
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


@pytest.mark.parametrize("scale", [1.0, 60.0, -60.0])
def test_half_precision_neither_overflows_nor_vanishes(scale: float) -> None:
    """Queries and keys of ±60 at 64 × 64 positions: the sums pass 65,504, φ falls to 1e-26."""
    torch.manual_seed(0)
    module = LinearAttention2d(16, heads=2)
    with torch.no_grad():
        for conv in (module.query, module.key):
            conv.weight.copy_(torch.eye(16)[..., None, None])
    x = torch.full((1, 16, 64, 64), scale)
    expected = reference(module, x.double())
    for dtype in (torch.float16, torch.bfloat16):
        with torch.no_grad():
            out = copy.deepcopy(module).to(dtype)(x.to(dtype))
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
    from bench.models.complexity import count_macs

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = BoTLinearBlock(64, heads=4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.block(images[:, :1].expand(-1, 64, -1, -1))

    n, c, d, h = 14 * 14, 64, 16, 4
    expected = n * c * d + 3 * n * d * d + 2 * n * d * d // h + n * d * c
    assert count_macs(Model(), 14)["gmacs_matrix"] * 1e9 == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(
    ("channels", "heads", "said"),
    [
        (18, 4, "divisible by heads"),
        (32, 5, "divisible by heads"),
        (16, 8, "16 / 8 = 2 channels.*divisible by 4"),
        (24, 4, "24 / 4 = 6 channels.*another number of heads"),
    ],
)
def test_channels_that_do_not_divide(channels: int, heads: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LinearAttention2d(channels, heads)


# --- what a head sees of the positions -------------------------------------------------------


@pytest.mark.parametrize("channels", [16, 32, 128, 320])
def test_every_head_tells_rows_and_columns_apart(channels: int) -> None:
    module = LinearAttention2d(channels, heads=4)
    for head in module.position(torch.zeros(1, channels, 7, 9))[0].chunk(4):
        for axis, places in ((1, 7), (2, 9)):
            # Along the other axis some channels stay as they are: they are of this axis alone.
            along = head.movedim(axis, -1)
            own = along[(along == along[:, :1]).all(1).all(1)][:, 0]
            assert len(own) == channels // 4 // 2
            assert len(torch.unique(own, dim=1)[0]) == places


def test_in_version_1_a_head_saw_one_axis() -> None:
    module = LinearAttention2d(32, heads=4, version=1)
    seen = []
    for head in module.position(torch.zeros(1, 32, 5, 6))[0].chunk(4):
        seen.append((head.std(1).max() > 0.1).item() - (head.std(2).max() > 0.1).item())
    assert seen == [1, -1, 1, -1]
    y = torch.arange(5.0)[:, None].expand(5, 6)
    position = module.position(torch.zeros(1, 32, 5, 6))[0]
    torch.testing.assert_close(position[0], y.sin())
    torch.testing.assert_close(position[8], torch.arange(6.0).expand(5, 6).sin())


def test_weights_of_version_1_bring_its_encoding_along(tmp_path) -> None:
    torch.manual_seed(0)
    early, now = BoTLinearBlock(64, version=1), BoTLinearBlock(64)
    x = torch.randn(2, 64, 5, 5)
    stored = io.BytesIO()
    torch.save(early.state_dict(), stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    now(x)  # what is kept between calls must not outlive the version
    with pytest.warns(UserWarning, match="weights of attention are of version 1 of BoTLinear"):
        now.load_state_dict(state)
    assert torch.equal(now(x), early(x))
    other = BoTLinearBlock(64, version=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.load_state_dict(state)
        # Names and tensors alone say nothing of a version.
        fresh = BoTLinearBlock(64)
        fresh.load_state_dict(dict(state))
    assert torch.equal(other(x), early(x))
    assert not torch.allclose(fresh(x), early(x), atol=1e-4)
    fresh.load_state_dict(BoTLinearBlock(64).state_dict())
    assert fresh.attention.state_dict()._metadata[""]["version"] == 2
    assert other.attention.state_dict()._metadata[""]["version"] == 1


def test_versions_that_never_were() -> None:
    with pytest.raises(ValueError, match="versions 1 and 2, not 3"):
        LinearAttention2d(32, version=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_queries_and_keys_of_opposite_features_do_not_vanish(dtype: torch.dtype) -> None:
    """φ(q) · φ(k) is about e^-200 for every pair: the quotient is the mean of the values."""
    module = LinearAttention2d(16, heads=2)
    with torch.no_grad():
        for conv, sign in ((module.query, 1.0), (module.key, -1.0)):
            # One half of a head's features is 0 where that of the other is -200.
            signs = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0] * 2)
            signs = signs if sign > 0 else 1 - signs
            conv.weight.zero_()
            conv.weight[:, 0, 0, 0] = -signs
        module.value.weight.copy_(torch.eye(16)[..., None, None])
    x = torch.randn(1, 16, 4, 4)
    x[:, 0] = 200.0
    expected = reference(module, x.double())
    with torch.no_grad():
        out = module.to(dtype)(x.to(dtype))
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.02)
