"""Claims and runs for the tests of verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.analysis.selection import Selection
from bench.report.claims.judging import Verdict
from bench.report.claims.quantities import METRICS
from bench.report.claims.statements import Claim
from bench.report.claims.verdicts import judge, judged_claims
from tests.report.sessions import set_predictions, timed_together

CPU = "AMD EPYC 7B13"
V2S, RESNET, CA = "EfficientNetV2_S", "ResNet18", "EfficientNetV2_S_CA"


def claim(metric: str, value: Any, variant: str = CA, **more: Any) -> Claim:
    form = more.get("form", "value")
    unit = METRICS[metric].unit_of(form)
    return Claim("c", variant, metric, value, unit, "a model card", **more)


def decided(records, one: Claim) -> Verdict:
    return judge(one, Selection(records))


def of_guide(records, identifier: str) -> Verdict:
    return next(v for c, v in judged_claims(Selection(records)) if c.id == identifier)


def timed(make_record, seconds: Mapping[str, float] | None = None, **more: Any):
    return timed_together(make_record, seconds or {RESNET: 0.01, V2S: 0.04}, **more)


PADDY = {"data": "paddy-10", "pretrained": True}


def trained(make_record, name: str, right: int, images: int = 4000, **more: Any):
    record = make_record(name, **more)
    record["training"]["initial_weights"] = "tf_efficientnetv2_s.in21k_ft_in1k"
    hits = [index < right for index in range(images)]
    return set_predictions(record, hits)
