"""Batch normalisation and dropout over a whole batch of which each process has some rows.

With them a training does the same steps, to rounding, in one process and in several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import distributed
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

from bench.data.loaders import bounds


class WholeBatch(TorchFunctionMode):
    """Within this context ``batch_norm`` and random masks are those of the whole batch.

    A mode, and no other modules in the model: timm's layers and those of a plugin call the same
    functions. Masks are drawn for all rows from PyTorch's default generator, which has the same
    state in every process, and each takes its own; on a CPU they are those of one process.

    Args:
        rank: of this process.
        size: of the team.
        group: of its processes.

    Attributes:
        whole: rows of the whole batch.
    """

    def __init__(self, rank: int, size: int, group: Any) -> None:
        super().__init__()
        self.rank, self.size, self.group = rank, size, group
        self.whole = 0
        self._replaced = {
            F.batch_norm: self._batch_norm,
            F.dropout: self._dropout,
            torch.Tensor.bernoulli_: self._bernoulli,
        }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._replaced.get(func, func)(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if not training:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, False, momentum, eps
            )
        if input.is_cuda:
            # Of no rows it would send zeros of their own type, and the others send float32.
            input = input if input.numel() else input.float()
            return SyncBatchNorm.apply(
                input, weight, bias, running_mean, running_var, eps, momentum, self.group, self.size
            )
        moments = Moments.of_whole_batch(input, self.group, self.size)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(moments.mean.to(running_mean.dtype), momentum)
            unbiased = moments.squares / (moments.total - 1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        return BatchNorm.apply(input, weight, bias, moments, eps, self.group)

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or not 0 < p < 1 or not self._has_own_rows(input):
            return F.dropout(input, p, training, inplace)
        mask = self._own_mask(input, 1 - p).div_(1 - p)
        return input.mul_(mask) if inplace else input * mask

    def _bernoulli(self, input: torch.Tensor, p: Any = 0.5, **kwargs: Any) -> torch.Tensor:
        """Stochastic depth (timm's ``drop_path``) draws one number for each row."""
        if isinstance(p, torch.Tensor) or kwargs or not self._has_own_rows(input):
            return input.bernoulli_(p, **kwargs)
        return input.copy_(self._own_mask(input, p))

    @property
    def _own_rows(self) -> slice:
        return slice(*bounds(self.whole, self.rank, self.size))

    def _has_own_rows(self, input: torch.Tensor) -> bool:
        rows = self._own_rows
        return input.ndim > 0 and len(input) == rows.stop - rows.start

    def _own_mask(self, input: torch.Tensor, keep: float) -> torch.Tensor:
        shape = (self.whole, *input.shape[1:])
        whole = torch.empty(shape, dtype=input.dtype, device=input.device)
        return whole.bernoulli_(keep)[self._own_rows]


class Moments(NamedTuple):
    """Mean (C,), sum of squared deviations (C,) and number of values of each channel, float64."""

    mean: torch.Tensor
    squares: torch.Tensor
    total: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of_whole_batch(cls, input: torch.Tensor, group: Any, size: int) -> Moments:
        """Merge those of each process' rows (B, C, …) without a difference of large sums.

        As Chan et al. (1983), "Algorithms for Computing the Sample Variance", equations 2.1.
        """
        channels = input.shape[1]
        count = input.numel() // channels
        rows = torch.zeros(2 * channels + 1, dtype=torch.float64)
        if count:
            variance, mean = torch.var_mean(input.float(), _axes(input), correction=0)
            rows[:channels], rows[channels:-1], rows[-1] = mean, variance.double() * count, count
        gathered = [torch.empty_like(rows) for _ in range(size)]
        distributed.all_gather(gathered, rows, group=group)
        means, squares, counts = torch.stack(gathered).split([channels, channels, 1], dim=1)
        total = counts.sum()
        if total <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{list(input.shape)}"
            )
        mean = (means * counts).sum(0) / total
        return cls(mean, (squares + counts * (means - mean) ** 2).sum(0), total)


def _axes(input: torch.Tensor) -> list[int]:
    return [axis for axis in range(input.ndim) if axis != 1]


class BatchNorm(torch.autograd.Function):
    """Batch normalisation over the rows of all processes, on a CPU: PyTorch's own needs a GPU."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        moments: Moments,
        eps: float,
        group: Any,
    ) -> torch.Tensor:
        mean, variance = moments.mean.float(), (moments.squares / moments.total).float()
        ctx.save_for_backward(input, weight, mean, torch.rsqrt(variance + eps))
        ctx.group, ctx.count = group, float(moments.total)
        if not input.numel():
            return torch.empty_like(input)
        return F.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        input, weight, mean, scale = ctx.saved_tensors
        shape = [1, -1] + [1] * (input.ndim - 2)
        normalised = (input.float() - mean.view(shape)) * scale.view(shape)
        grad_bias = grad.float().sum(_axes(input))
        grad_weight = (grad * normalised).sum(_axes(input))
        sums = torch.stack([grad_bias, grad_weight]).double()
        distributed.all_reduce(sums, group=ctx.group)
        mean_grad, mean_product = (sums / ctx.count).float()
        factor = scale if weight is None else scale * weight.float()
        grad_input = factor.view(shape) * (
            grad.float() - mean_grad.view(shape) - normalised * mean_product.view(shape)
        )
        return (
            grad_input.to(input.dtype),
            None if weight is None else grad_weight.to(weight.dtype),
            None if weight is None else grad_bias.to(weight.dtype),
            *[None] * 3,
        )
