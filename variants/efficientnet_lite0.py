"""EfficientNet-Lite0 (arXiv:1905.11946, without squeeze-excite), plain and with CA."""

from __future__ import annotations

from functools import partial

from variants._registry import BASELINES, Variant, register
from variants.attention import CoordinateAttention

variant = partial(
    Variant,
    backbone="tf_efficientnet_lite0",
    weights_tag="tf_efficientnet_lite0.in1k",
    channels=1280,
)

register(
    variant(
        name="EfficientNet_Lite0_CA",
        attention=(CoordinateAttention(reduction=16),),
        parameters={10: 3_693_818, 1000: 4_962_008},
        baseline="EfficientNet_Lite0",
        use_case="Mobile/Edge",
        paper="arXiv:1905.11946, 2103.02907",
    )
)
register(
    variant(
        name="EfficientNet_Lite0",
        parameters={10: 3_383_818, 1000: 4_652_008},
        use_case="Baseline",
        paper="arXiv:1905.11946",
        group=BASELINES,
    )
)
