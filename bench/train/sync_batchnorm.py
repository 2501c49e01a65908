"""Batch normalisation and dropout over a whole batch of which each process has some rows.

With them a training does the same steps, to rounding, in one process and in several.
"""

from __future__ import annotations

from typing import Any

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

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is torch.Tensor.bernoulli_:
            return self._bernoulli(*args, **kwargs)
        return func(*args, **kwargs)

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
    ) -> torch.Tensor:
        if not training:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, False, momentum, eps
            )
        found: torch.Tensor
        if input.is_cuda:
            # Of no rows it would send zeros of their own type, and the others send float32.
            input = input if input.numel() else input.float()
            found = SyncBatchNorm.apply(
                input, weight, bias, running_mean, running_var, eps, momentum, self.group, self.size
            )
        else:
            found = BatchNorm.apply(
                input, weight, bias, running_mean, running_var, momentum, eps, self.group, self.size
            )
        return found

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or not 0 < p < 1 or not self._has_own_rows(input):
            return F.dropout(input, p, training, inplace)
        mask = self._own(input, 1 - p).div_(1 - p)
        return input.mul_(mask) if inplace else input * mask

    def _bernoulli(self, input: torch.Tensor, p: Any = 0.5, **kwargs: Any) -> torch.Tensor:
        """Stochastic depth (timm's ``drop_path``) draws one number for each row."""
        if isinstance(p, torch.Tensor) or kwargs or not self._has_own_rows(input):
            return input.bernoulli_(p, **kwargs)
        return input.copy_(self._own(input, p))

    def _has_own_rows(self, input: torch.Tensor) -> bool:
        start, stop = bounds(self.whole, self.rank, self.size)
        return input.ndim > 0 and len(input) == stop - start

    def _own(self, input: torch.Tensor, keep: float) -> torch.Tensor:
        start, stop = bounds(self.whole, self.rank, self.size)
        shape = (self.whole, *input.shape[1:])
        whole = torch.empty(shape, dtype=input.dtype, device=input.device)
        return whole.bernoulli_(keep)[start:stop]


class BatchNorm(torch.autograd.Function):
    """Batch normalisation over the rows of all processes, on a CPU: PyTorch's own needs a GPU.

    Mean and variance of each process' rows are merged as by Chan et al. (1983), "Algorithms for
    Computing the Sample Variance", equations 2.1: no difference of large sums.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        momentum: float,
        eps: float,
        group: Any,
        size: int,
    ) -> torch.Tensor:
        channels = input.shape[1]
        axes = [axis for axis in range(input.ndim) if axis != 1]
        count = input.numel() // channels
        own = torch.zeros(2 * channels + 1, dtype=torch.float64)
        if count:
            variance, mean = torch.var_mean(input.float(), axes, correction=0)
            own[:channels], own[channels:-1], own[-1] = mean, variance.double() * count, count
        found = [torch.empty_like(own) for _ in range(size)]
        distributed.all_gather(found, own, group=group)
        table = torch.stack(found)
        means, squares, counts = table[:, :channels], table[:, channels:-1], table[:, -1:]
        total = counts.sum()
        if total <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{list(input.shape)}"
            )
        mean = (means * counts).sum(0) / total
        squared = (squares + counts * (means - mean) ** 2).sum(0)
        variance = squared / total
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((squared / (total - 1)).to(running_var.dtype), momentum)
        mean, variance = mean.float(), variance.float()
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(input, weight, mean, scale)
        ctx.group, ctx.total, ctx.axes = group, float(total), axes
        if not count:
            return torch.empty_like(input)
        return F.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        input, weight, mean, scale = ctx.saved_tensors
        shape = [1, -1] + [1] * (input.ndim - 2)
        normalised = (input.float() - mean.view(shape)) * scale.view(shape)
        grad_bias = grad.float().sum(ctx.axes)
        grad_weight = (grad * normalised).sum(ctx.axes)
        both = torch.stack([grad_bias, grad_weight]).double()
        distributed.all_reduce(both, group=ctx.group)
        mean_grad, mean_product = (both / ctx.total).float()
        factor = scale if weight is None else scale * weight.float()
        grad_input = factor.view(shape) * (
            grad.float() - mean_grad.view(shape) - normalised * mean_product.view(shape)
        )
        return (
            grad_input.to(input.dtype),
            None if weight is None else grad_weight.to(weight.dtype),
            None if weight is None else grad_bias.to(weight.dtype),
            None, None, None, None, None, None,
        )  # fmt: skip
