"""Builds a variant's model for a config: the one place where declarations become modules.

What a timing process does not need is imported where it is used: every process pays for it.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from variants.model import AttentiveClassifier, build_model

REFERENCE_CLASSES = 1000


def build(variant: variants.Variant, num_classes: int, config: RunConfig) -> tuple[nn.Module, str]:
    """Return the model with its initial weights, drawn from the config's seed; and what those are.

    Raises:
        BenchError: the pretrained weights that are asked for cannot be had or do not fit.
    """
    torch.manual_seed(config.seed)
    model = _random(variant, num_classes, config)
    if config.weights is None and not config.pretrained:
        return model, "random"
    from bench.models import weights

    if config.weights is not None:
        return model, weights.load_file(backbone_of(variant, model), config.weights, tag(variant))
    return model, weights.load_hub(backbone_of(variant, model), tag(variant))


def _random(variant: variants.Variant, num_classes: int, config: RunConfig) -> nn.Module:
    return build_model(
        variant, num_classes=num_classes, dropout=config.dropout, reduction=config.reduction
    )


def on_meta(variant: variants.Variant, num_classes: int, config: RunConfig) -> nn.Module:
    """Return the model without storage: shapes only, in a fraction of a second."""
    with torch.device("meta"):
        return _random(variant, num_classes, config)


def tag(variant: variants.Variant) -> str:
    """Return the timm name of a variant's pretrained weights."""
    return variant.weights_tag or variant.backbone


def backbone_of(variant: variants.Variant, model: nn.Module) -> nn.Module:
    """Return the timm model inside, which pretrained weights belong to.

    Raises:
        BenchError: a variant with a ``build`` function of its own has no ``backbone`` attribute.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise BenchError(
            f"{variant.name} has no .backbone to load weights into: give its model that "
            "attribute, or train it with --no-pretrained and without --weights"
        )
    return backbone


def normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the backbone's pretrained config; ImageNet's where it has none."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(getattr(model, "backbone", model))
    return tuple(config["mean"]), tuple(config["std"])


# Counts of this process. The variant stands in the value, so that its id is not given away again.
_counted: dict[tuple[Any, ...], tuple[variants.Variant, dict[str, Any]]] = {}


def count(
    variant: variants.Variant, num_classes: int, config: RunConfig, image_sizes: list[int]
) -> dict[str, Any]:
    """Return the ``counts`` of a record: parameters, size and MACs of the model with this head.

    Runs of one variant that differ in seed or fold only are counted once in a process. Nothing is
    kept on disk: a count never outlives the code that it is of.
    """
    key = (id(variant), num_classes, config.dropout, config.reduction, *image_sizes)
    if key not in _counted:
        _counted[key] = variant, _count(variant, num_classes, config, image_sizes)
    return copy.deepcopy(_counted[key][1])


def _count(
    variant: variants.Variant, num_classes: int, config: RunConfig, image_sizes: list[int]
) -> dict[str, Any]:
    from bench.models import complexity

    model = _to_count(variant, num_classes, config, image_sizes)
    attention = getattr(model, "attention", None)
    counts = {
        "num_classes": num_classes,
        "parameters": complexity.count_parameters(model),
        "parameters_declared": variant.declared_parameters(num_classes, config.reduction),
        "attention_parameters": (
            complexity.count_parameters(attention) if isinstance(attention, nn.Module) else None
        ),
        "size_mb": complexity.size_mb(model),
        "macs": [_macs(model, variant, num_classes, size) for size in image_sizes],
        "gate_resnet18_gmacs": counter_gate(),
    }
    # Last: the model gets another head.
    wide = _with_classes(model, variant, REFERENCE_CLASSES, config)
    counts["parameters_1000_classes"] = complexity.count_parameters(wide)
    if variant.build is None and isinstance(model, AttentiveClassifier):
        _bodies[tag(variant), num_classes] = _with_classes(
            model, variant, num_classes, config
        ).backbone.to("meta")
    return counts


# Backbones counted in this process, each with the shape of its last feature map; and they
# themselves, without their weights.
_plain: dict[tuple[Any, ...], tuple[Any, torch.Size]] = {}
_bodies: dict[tuple[Any, ...], Any] = {}


def _to_count(
    variant: variants.Variant, num_classes: int, config: RunConfig, image_sizes: list[int]
) -> nn.Module:
    """Return the model; where its backbone has been counted already, that is without weights."""
    key = tag(variant), num_classes
    counted = all((*key, size) in _plain for size in image_sizes)
    if variant.build is None and counted and key in _bodies:
        return AttentiveClassifier(_bodies[key], variant.with_reduction(config.reduction))
    return _random(variant, num_classes, config)


def _macs(
    model: nn.Module, variant: variants.Variant, num_classes: int, image_size: int
) -> dict[str, Any]:
    """As :func:`bench.models.complexity.count_macs`.

    What variants of one backbone share is counted once: the plain backbone with its head, to which
    the attention's count on the last feature map is added. It is the count of the whole, operator
    by operator, which the tests see to for every variant.
    """
    from bench.models import complexity

    # A model of a variant's own is not that of the backbone that it names.
    if variant.build is not None or type(model) is not AttentiveClassifier:
        return complexity.count_macs(model, image_size)
    key = tag(variant), num_classes, image_size
    if key not in _plain:
        plain = AttentiveClassifier(model.backbone)
        shapes: list[torch.Size] = []

        def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            shapes.append(output.shape)
            hook.remove()  # a counter that traces would find the hook's work in its trace

        hook = plain.attention.register_forward_hook(note)
        counted = complexity.count_operators(plain, (1, 3, image_size, image_size))
        _plain[key] = counted, shapes[0]
    counted, shape = _plain[key]
    if len(model.attention):
        counted += complexity.count_operators(model.attention, tuple(map(int, shape)))
    return counted.as_macs(image_size)


def _with_classes(
    model: nn.Module, variant: variants.Variant, num_classes: int, config: RunConfig
) -> nn.Module:
    """Return the model with another head: timm exchanges that of its own; others are built anew."""
    if variant.build is None:
        model.backbone.reset_classifier(num_classes)  # type: ignore[operator, union-attr]
        return model
    try:
        return on_meta(variant, num_classes, config)
    except Exception:  # what reads values while it is built needs memory
        return _random(variant, num_classes, config)


@functools.cache
def counter_gate() -> float:
    """GMACs of plain ResNet18 at 224 pixels: what shows that the counter itself can be believed.

    Raises:
        RuntimeError: the known answer, :data:`bench.models.complexity.RESNET18_GMACS`, is missed.
    """
    from bench.models import complexity

    model = build_model(variants.get("ResNet18"), num_classes=10)
    gmacs = complexity.count_macs(model, 224)["gmacs"]
    low, high = complexity.RESNET18_GMACS
    if not low <= gmacs <= high:
        raise RuntimeError(
            f"the MAC counter gives {gmacs:.4f} GMACs for ResNet18 at 224 pixels, not "
            f"{low}-{high}: no count of this fvcore and PyTorch can be believed"
        )
    return gmacs


def describe(variant: variants.Variant, config: RunConfig) -> dict[str, Any]:
    """Return the ``variant`` of a record."""
    return {
        "name": variant.name,
        "version": variant.version,
        "backbone": variant.backbone,
        "weights_tag": variant.weights_tag,
        "attention": [spec.describe() for spec in variant.with_reduction(config.reduction)],
        "baseline": variant.baseline,
        "group": variant.group,
        "use_case": variant.use_case,
        "paper": variant.paper,
        "module": variants.module_of(variant),
    }


def load_plugins(paths: list[Path]) -> None:
    """Run the plugin files that the user named.

    Raises:
        BenchError: one fails to import or registers a taken name.
    """
    for path in paths:
        try:
            variants.load_plugin(path)
        except variants.VariantError as error:
            raise BenchError(str(error)) from error
