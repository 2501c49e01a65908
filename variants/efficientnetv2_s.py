"""EfficientNetV2-S (Tan and Le 2021, arXiv:2104.00298), plain and with four attentions."""

from __future__ import annotations

from functools import partial

from variants._registry import BASELINES, Variant, register
from variants.attention import BoTLinear, CoordinateAttention, EfficientChannelAttention

variant = partial(
    Variant,
    backbone="tf_efficientnetv2_s",
    weights_tag="tf_efficientnetv2_s.in21k_ft_in1k",
    channels=1280,
)

register(
    variant(
        name="EfficientNetV2_S_CA",
        attention=(CoordinateAttention(reduction=32),),
        parameters={10: 20_346_578, 1000: 21_614_768},
        baseline="EfficientNetV2_S",
        use_case="Production",
        paper="arXiv:2104.00298, 2103.02907",
    )
)
register(
    variant(
        name="EfficientNetV2_S_ECA",
        attention=(EfficientChannelAttention(),),
        parameters={10: 20_190_303, 1000: 21_458_493},
        baseline="EfficientNetV2_S",
        use_case="Real-time",
        paper="arXiv:2104.00298, 1910.03151",
    )
)
register(
    variant(
        name="EfficientNetV2_S_BoTLinear",
        attention=(BoTLinear(heads=4),),
        version=2,
        earlier={1: (BoTLinear(heads=4, version=1),)},
        parameters={10: 21_318_298, 1000: 22_586_488},
        baseline="EfficientNetV2_S",
        use_case="Competition",
        paper="arXiv:2104.00298, 2101.11605, 2006.16236",
    )
)
register(
    variant(
        name="EfficientNetV2_S_Hybrid",
        attention=(CoordinateAttention(reduction=32), BoTLinear(heads=4)),
        version=2,
        earlier={1: (CoordinateAttention(reduction=32), BoTLinear(heads=4, version=1))},
        parameters={10: 21_474_578, 1000: 22_742_768},
        baseline="EfficientNetV2_S",
        use_case="Max accuracy",
        paper="arXiv:2104.00298, 2103.02907, 2101.11605, 2006.16236",
    )
)
register(
    variant(
        name="EfficientNetV2_S",
        parameters={10: 20_190_298, 1000: 21_458_488},
        use_case="Baseline",
        paper="arXiv:2104.00298",
        group=BASELINES,
    )
)
