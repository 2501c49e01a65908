"""MobileNetV3-Small (Howard et al. 2019, arXiv:1905.02244)."""

from __future__ import annotations

from variants._registry import Variant, register

register(
    Variant(
        name="MobileNetV3_Small",
        backbone="mobilenetv3_small_100",
        weights_tag="mobilenetv3_small_100.lamb_in1k",
        channels=576,
        parameters={10: 1_528_106, 1000: 2_542_856},
        use_case="Mobile/Edge",
        paper="arXiv:1905.02244",
    )
)
