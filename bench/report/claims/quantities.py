"""What a claim can be about: each metric's unit, default tolerance and needed conditions, once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from bench.records.schema import METRICS as SIX_KEYS

Documented = float | tuple[float, float] | str

VALUE, RATIO, DIFFERENCE = "value", "ratio", "difference"
RATIO_UNIT = "×"
RATIO_TOLERANCE = "10 %"
COUNT_TOLERANCE = 0.01


@attrs.frozen
class Metric:
    """One quantity that documents state.

    Attributes:
        unit: of a value; ratios have ``×``, differences of percentages ``points``.
        words: its name in a sentence.
        forms: which of value, ratio and difference can be claimed.
        tolerance: of a single number: "digits" (half a unit of the last digit given, or 1 % where
            that is more), a share such as "10 %", or an absolute number. Ranges have none.
        needs: conditions without which a value means nothing.
        own: whether a user's claims file may state it.
    """

    unit: str
    words: str
    forms: tuple[str, ...] = (VALUE,)
    tolerance: str | float = 0.0
    needs: tuple[str, ...] = ()
    own: bool = True

    def unit_of(self, form: str) -> str:
        """Return the unit of a claim of that form."""
        if form == RATIO:
            return RATIO_UNIT
        return "points" if form == DIFFERENCE and self.unit == "%" else self.unit


_MACHINE = ("device_name", "batch", "image_size", "dtype")
_RECIPE = ("data", "preset")
METRICS: Mapping[str, Metric] = {
    "parameters": Metric("M", "parameters", tolerance="digits"),
    "macs": Metric("GMACs", "multiply-adds of one image", tolerance="digits"),
    "feature_channels": Metric("channels", "channels of the last feature map", tolerance="digits"),
    "size": Metric("MB", "size of the weights in float32", tolerance="digits"),
    "accuracy": Metric("%", "accuracy", (VALUE, DIFFERENCE), 1.0, ("data", "pretrained")),
    "imagenet_accuracy": Metric("%", "ImageNet top-1", (VALUE, DIFFERENCE), 1.0, ("image_size",)),
    "inference_speed": Metric("images/s", "inference speed", (VALUE, RATIO), "10 %", _MACHINE),
    "latency": Metric(
        "ms", "latency at batch 1", (VALUE, RATIO), "10 %", ("device_name", "image_size", "dtype")
    ),
    "training_speed": Metric("images/s", "training speed", (VALUE, RATIO), "10 %", _MACHINE),
    "training_time": Metric("minutes", "minutes of training", tolerance="10 %", needs=("preset",)),
    "gpu_memory": Metric(
        "GB", "GPU memory of the training", tolerance="10 %", needs=("batch", "image_size")
    ),
    "valid_acc": Metric("fraction", "valid_acc", tolerance=0.01, needs=_RECIPE),
    "train_acc": Metric("fraction", "train_acc", tolerance=0.01, needs=_RECIPE),
    "valid_loss": Metric("nats", "valid_loss", tolerance="10 %", needs=_RECIPE),
    "train_loss": Metric("nats", "train_loss", tolerance="10 %", needs=_RECIPE),
    "best_epoch": Metric("epoch", "best_epoch", needs=_RECIPE),
    # A user's file states it as inference_speed, which is timed with an interval.
    "fps": Metric("images/s", "fps", tolerance="10 %", needs=_MACHINE, own=False),
    "option_default": Metric("", "default of the option", own=False),
    "recommendation": Metric("", "recommended setting", own=False),
    "statement": Metric("", "", own=False),
    "words": Metric("", "", own=False),
}

# Rows of the guide's tables name the figure that stands beside them in a cell: the metric of each
# and the conditions that it implies.
OF_CELLS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "parameters_1000": ("parameters", {}),
    "gmacs_224": ("macs", {"image_size": 224}),
    "imagenet": ("imagenet_accuracy", {}),
    "cpu_images_per_s": ("inference_speed", {"device": "cpu"}),
    "gpu_images_per_s": ("inference_speed", {"device": "cuda"}),
    "any_images_per_s": ("inference_speed", {}),
    "train_images_per_s": ("training_speed", {}),
    "valid_accuracy": ("accuracy", {}),
    "gpu_memory_gb": ("gpu_memory", {"device": "cuda"}),
    "use_case": ("words", {}),
    "weights_tag": ("words", {}),
    **{f"metrics_{key}": (key, {}) for key in SIX_KEYS},
}


def as_documented(value: Any) -> Documented:
    """Return a value of TOML, where a range is a list."""
    return tuple(value) if isinstance(value, list) else value


def accepted(
    value: float | tuple[float, float],
    metric: Metric,
    form: str,
    tolerance: float | str | None = None,
) -> tuple[float, float]:
    """Return the bounds within which a measured figure confirms a claim.

    Args:
        value: the number, or low and high.
        tolerance: absolute in the claim's unit, or a share such as "5 %"; None for the default of
            the metric, which a range does not have.
    """
    if isinstance(value, tuple) and tolerance is None:
        return value
    low, high = value if isinstance(value, tuple) else (value, value)
    if tolerance is None:
        tolerance = RATIO_TOLERANCE if form == RATIO else metric.tolerance

    def margin(bound: float) -> float:
        if tolerance == "digits":
            # Of 21 the last digit is 1, of 0.066 it is 0.001.
            exponent = int(Decimal(repr(bound)).as_tuple().exponent)
            return max(10.0 ** min(exponent, 0) / 2, COUNT_TOLERANCE * abs(bound))
        return share_of(tolerance) * abs(bound) if isinstance(tolerance, str) else tolerance

    return low - margin(low), high + margin(high)


def share_of(text: str) -> float:
    """Return the fraction that "5 %" is.

    Raises:
        ValueError: the text is none.
    """
    number, sign, rest = text.partition("%")
    if not sign or rest.strip():
        raise ValueError(text)
    return float(number) / 100
