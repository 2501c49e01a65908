"""Count parameters, model size, activations and MACs.

Two independent counters, since each leaves something out.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

MATRIX_OPERATORS = ("conv", "linear", "matmul", "einsum", "bmm", "addmm")
RESNET18_GMACS = (1.81, 1.82)


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights, frozen ones included, buffers excluded."""
    return sum(parameter.numel() for parameter in model.parameters())


def size_mb(model: nn.Module) -> float:
    """Return the bytes of weights and buffers in their own types, in MB (10⁶ bytes)."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


@dataclass(frozen=True)
class Counted:
    """What each counter found in one forward pass, by operator.

    Attributes:
        fvcore: multiply-adds (what fvcore calls flops).
        flop_counter: ``FlopCounterMode``'s flops: two for a multiply-add.
        skipped: calls that fvcore does not count.
    """

    fvcore: Counter[str]
    flop_counter: Counter[str]
    skipped: Counter[str]

    def __add__(self, other: Counted) -> Counted:
        """Add those of two models, one after the other."""
        return Counted(
            self.fvcore + other.fvcore,
            self.flop_counter + other.flop_counter,
            self.skipped + other.skipped,
        )

    def as_macs(self, image_size: int) -> dict[str, Any]:
        """Return what :func:`count_macs` says."""
        gmacs = {name: n / 1e9 for name, n in self.fvcore.items()}
        matrix = sum(self.fvcore[name] for name in MATRIX_OPERATORS)
        return {
            "image_size": image_size,
            "gmacs": self.fvcore.total() / 1e9,
            "gmacs_flop_counter": self.flop_counter.total() / 2e9,
            "gmacs_matrix": matrix / 1e9,
            "fvcore_by_operator": gmacs,
            "flop_counter_by_operator": {name: n / 2e9 for name, n in self.flop_counter.items()},
            "uncounted_fvcore": dict(self.skipped),
            "uncounted_flop_counter": {
                name: n for name, n in gmacs.items() if name not in MATRIX_OPERATORS
            },
        }


def count_macs(model: nn.Module, image_size: int) -> dict[str, Any]:
    """Count multiply-adds of one image in eval mode, in units of 10⁹.

    ``gmacs`` is fvcore's total (it calls one multiply-add one "flop" and counts batch norm and
    adaptive pooling too). ``gmacs_flop_counter`` is PyTorch's ``FlopCounterMode`` ÷ 2, matrix and
    convolution work only; ``gmacs_matrix`` is fvcore's part for the same work. What a counter
    skipped is listed with its number of calls.

    Args:
        model: takes (1, 3, S, S) float images.
        image_size: S in pixels.
    """
    return count_operators(model, (1, 3, image_size, image_size)).as_macs(image_size)


def count_operators(model: nn.Module, shape: Sequence[int]) -> Counted:
    """Count a forward pass in eval mode.

    The model computes it once for each counter, with one thread: so little work gains nothing from
    more, and on a busy machine threads that wait for one another take a hundred times as long.

    Args:
        model: takes one float tensor.
        shape: of the tensor.
    """
    was_training = model.training
    model.eval()
    weight = next(model.parameters(), None)
    inputs = torch.zeros(*shape, device="cpu" if weight is None else weight.device)
    try:
        with _one_thread():
            with torch.inference_mode(), _flop_counter() as counter:
                model(inputs)
            fvcore, skipped = _fvcore(model, inputs)
    finally:
        model.train(was_training)
    flops = counter.get_flop_counts()["Global"]
    by_operator = Counter({str(operator): int(n) for operator, n in flops.items()})
    return Counted(fvcore, by_operator, skipped)


def _flop_counter() -> Any:
    # Without Triton it warns of kernels written in it, which no model can have then.
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Whole(nn.Module):
    """A model without visible parts.

    fvcore keeps books on every part, nearly half of its time; only the sum is asked for.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.__dict__["model"] = model  # what is registered would be a part

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.__dict__["model"](images)

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:  # type: ignore[override]
        """Return the weights, which a trace takes as inputs."""
        return self.__dict__["model"].state_dict(*arguments, **keywords)


def _fvcore(model: nn.Module, image: torch.Tensor) -> tuple[Counter[str], Counter[str]]:
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # fvcore traces with torch.jit, which is deprecated
        analysis = FlopCountAnalysis(_Whole(model).eval(), image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.ancestor_mode("caller")  # the same sum without a search for owners
        by_operator = Counter({name: int(n) for name, n in analysis.by_operator().items()})
        return by_operator, Counter(analysis.unsupported_ops())


def counters_disagree(macs: Mapping[str, Any], tolerance: float = 1e-3) -> bool:
    """Whether the two counters differ by more than ``tolerance`` in matrix and convolution work."""
    ours, theirs = macs["gmacs_matrix"], macs["gmacs_flop_counter"]
    return abs(ours - theirs) > tolerance * max(ours, theirs)


def saved_bytes(model: nn.Module, image_size: int) -> int:
    """Return the bytes of activations that autograd saves for each image of a batch.

    Tensors that share storage count once, parameters not at all. What an operator needs for a
    moment, and what the allocator rounds up, is not in it.

    Args:
        model: on the meta device, images (B, 3, S, S) → logits.
        image_size: S in pixels.
    """
    # Two sizes, so that what does not grow with the batch drops out.
    return (_saved(model, image_size, 4) - _saved(model, image_size, 2)) // 2


def _saved(model: nn.Module, image_size: int, batch: int) -> int:
    counted = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    held = []  # alive until all are counted: a storage that is freed leaves its address to others
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in counted:
            counted.add(storage._cdata)
            held.append(tensor)
            total += storage.nbytes()
        return tensor

    model.train()
    images = torch.empty(batch, 3, image_size, image_size, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images)
    return total
