"""ResNet18 (He et al. 2015, arXiv:1512.03385), plain and with CA followed by BoTLinear."""

from __future__ import annotations

from functools import partial

from variants._registry import BASELINES, Variant, register
from variants.attention import BoTLinear, CoordinateAttention

variant = partial(Variant, backbone="resnet18", weights_tag="resnet18.tv_in1k", channels=512)

register(
    variant(
        name="ResNet18_Hybrid",
        attention=(CoordinateAttention(reduction=32), BoTLinear(heads=4)),
        version=2,
        earlier={1: (CoordinateAttention(reduction=32), BoTLinear(heads=4, version=1))},
        parameters={10: 11_388_154, 1000: 11_896_024},
        baseline="ResNet18",
        use_case="Accuracy with a classic backbone",
        paper="arXiv:1512.03385, 2103.02907, 2101.11605, 2006.16236",
    )
)
register(
    variant(
        name="ResNet18",
        parameters={10: 11_181_642, 1000: 11_689_512},
        use_case="Baseline",
        paper="arXiv:1512.03385",
        group=BASELINES,
    )
)
