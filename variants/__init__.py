"""Variants: declarations of backbone + attention, and the registry that finds them.

Importing this package imports no torch; a variant does so when it is built.
"""

from variants._registry import (
    BASELINES,
    ENTRY_POINT_GROUP,
    Variant,
    VariantError,
    get,
    load_plugin,
    module_of,
    names,
    register,
    select,
)
from variants.attention import BoTLinear, CoordinateAttention, EfficientChannelAttention

__all__ = [
    "BASELINES",
    "ENTRY_POINT_GROUP",
    "BoTLinear",
    "CoordinateAttention",
    "EfficientChannelAttention",
    "Variant",
    "VariantError",
    "get",
    "load_plugin",
    "module_of",
    "names",
    "register",
    "select",
]
