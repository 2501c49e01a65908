"""Dropout that a training makes weaker and stronger while it goes on."""

from __future__ import annotations

from torch import nn


class Dropout:
    """The dropout probabilities of a model, as they were when this was made.

    Both of timm's ways are known: modules of :class:`torch.nn.Dropout`, and models that keep a
    ``drop_rate`` and call the function with it.

    Args:
        model: any.
    """

    def __init__(self, model: nn.Module) -> None:
        self._rates = [
            (module, name, rate)
            for module in model.modules()
            for name in ("p", "drop_rate")
            if isinstance(rate := _rate(module, name), float) and rate > 0
        ]

    def scale(self, strength: float) -> None:
        """Set every probability to a share of what it was.

        Args:
            strength: the share, 0..1.
        """
        for module, name, rate in self._rates:
            setattr(module, name, rate * strength)


def _rate(module: nn.Module, name: str) -> object:
    if isinstance(getattr(type(module), name, None), property):
        return None  # computed from what is scaled itself, or fixed
    # Other modules have a ``p`` that means something else (a norm's exponent, a pooling's).
    if name == "p" and not isinstance(module, nn.modules.dropout._DropoutNd):
        return None
    return getattr(module, name, None)
