"""What a training step keeps in memory for its backward pass, counted without computing it."""

from __future__ import annotations

import torch
from torch import nn


def saved_bytes(model: nn.Module, image_size: int) -> int:
    """Bytes of activations that autograd saves for each image of a batch.

    Tensors that share storage count once, parameters not at all. What an operator needs for a
    moment, and what the allocator rounds up, is not in it.

    Args:
        model: on the meta device, images (B, 3, S, S) → logits.
        image_size: S in pixels.
    """
    # Two sizes, so that what does not grow with the batch drops out.
    return (_saved(model, image_size, 4) - _saved(model, image_size, 2)) // 2


def _saved(model: nn.Module, image_size: int, batch: int) -> int:
    known = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    held = []  # alive until all are counted: a storage that is freed leaves its address to others
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            held.append(tensor)
            total += storage.nbytes()
        return tensor

    model.train()
    images = torch.empty(batch, 3, image_size, image_size, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images)
    return total
