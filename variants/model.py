"""Build a variant's model: a timm backbone with attention between its features and its head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from variants._registry import AttentionSpec, Variant, VariantError


class AttentiveClassifier(nn.Module):
    """``forward_features`` → attention → ``forward_head`` of a timm model.

    Pool, dropout and linear classifier stay timm's. Without attention it computes what the timm
    model computes.

    Args:
        backbone: a timm model with ``num_features`` = C channels in its last feature map.
        attention: specs whose blocks map (B, C, H, W) to (B, C, H, W), applied in order.
    """

    def __init__(self, backbone: nn.Module, attention: Sequence[AttentionSpec] = ()) -> None:
        super().__init__()
        channels = backbone.num_features
        if not isinstance(channels, int):
            raise VariantError(
                f"{type(backbone).__name__} has no num_features: pass build= instead"
            )
        self.backbone = backbone
        self.attention = nn.Sequential(*(spec.build(channels) for spec in attention))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised images → (B, C, h, w), the backbone's last feature map."""
        return self.backbone.forward_features(images)  # type: ignore[operator]

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) → (B, classes) logits: attention, pool, dropout, linear classifier."""
        return self.backbone.forward_head(self.attention(features))  # type: ignore[operator]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised images → (B, classes) logits."""
        return self.classify(self.features(images))

    def get_classifier(self) -> nn.Module:
        """Return the linear classifier."""
        return self.backbone.get_classifier()  # type: ignore[operator]


def build_model(
    variant: Variant,
    *,
    num_classes: int,
    dropout: float = 0.0,
    reduction: int | None = None,
) -> nn.Module:
    """Return the model with random weights (weights of the backbone are loaded apart from this).

    Args:
        variant: the declaration.
        num_classes: outputs of the classifier.
        dropout: probability before the classifier.
        reduction: of Coordinate Attention; none: the variant's own.

    Raises:
        VariantError: timm does not know the backbone.
    """
    if variant.build is not None:
        return variant.build(num_classes=num_classes, dropout=dropout, reduction=reduction)
    import timm  # takes seconds, in every process of a timing session

    name = variant.weights_tag or variant.backbone
    try:
        backbone: Any = timm.create_model(
            name, pretrained=False, num_classes=num_classes, drop_rate=dropout
        )
    except RuntimeError as error:
        raise VariantError(
            f"{variant.name}: timm {timm.__version__} has no model {name!r}: "
            "correct the declaration or upgrade timm"
        ) from error
    return AttentiveClassifier(backbone, variant.with_reduction(reduction))
