"""Tests of the verdict table: every claim has a row, and what is never decided."""

from __future__ import annotations

import attrs

from bench.report.analysis.selection import Selection
from bench.report.claims.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
    VERDICTS,
)
from bench.report.claims.quantities import METRICS
from bench.report.claims.verdicts import JUDGES, RULES, judged_claims, verdict_table
from tests.report.fake_records import CA, CPU, RESNET, V2S, claim, of_guide, timed


def test_every_claim_of_the_guide_has_a_row_with_a_verdict_and_a_reason(sweep):
    for records in (sweep, [], sweep[:1]):
        table = verdict_table(Selection(records))
        judged = judged_claims(Selection(records))
        assert len(table.rows) == len(judged) > 100
        assert {len(row) for row in table.rows} == {len(table.headers)}
        assert all(cell.strip() for row in table.rows for cell in row)
        assert all(verdict.word in VERDICTS for _, verdict in judged)
        assert table.raw is not None
        assert {len(row) for row in table.raw[1]} == {len(table.raw[0])}
        assert f"{len(judged)} claims" in table.caption


def test_without_runs_nothing_but_the_programs_defaults_is_decided():
    judged = judged_claims(Selection([]))
    decided_ones = {c.metric for c, v in judged if v.word in (CONFIRMED, CONTRADICTED, UNDECIDED)}
    assert decided_ones == {"option_default"}


def test_every_metric_has_a_judge():
    assert set(JUDGES) == set(METRICS)


def test_imagenet_shows_the_published_figure_with_its_resolution(sweep):
    found = of_guide(sweep, "why-v2-s/imagenet/EfficientNetV2_S")
    assert (found.word, found.figure) == (NOT_MEASURED, None)
    assert "published: 83.35 % at 300 pixels" in found.reason
    assert "84.33 % at 384 pixels" in found.reason
    assert "384" not in of_guide(sweep, "why-v2-s/imagenet/MobileNetV3_Small").reason


def test_published_figures_decide_nothing(make_record):
    found = of_guide([make_record(RESNET), make_record(V2S)], "prose/inference-25")
    assert "published: " in found.reason
    assert found.word not in (CONFIRMED, CONTRADICTED)


def test_words_are_not_comparable(sweep):
    found = of_guide(sweep, "variants/speed-cpu/EfficientNetV2_S_ECA")
    assert (found.word, "in words" in found.reason) == (NOT_COMPARABLE, True)
    weights = of_guide(sweep, f"v2-s-ca-vs-resnet18-hybrid/pretrained/{CA}")
    assert "in21k_ft_in1k" in weights.reason


def test_own_claims_imply_a_ratio_to_each_other(make_record):
    stated = {"device": "cuda", "device_name": "V100"}
    own = [
        attrs.evolve(claim("inference_speed", value, name, conditions=stated), id=name)
        for name, value in ((V2S, 100), (RESNET, 400))
    ]
    rows = judged_claims(Selection(timed(make_record)), own=own)[-2:]
    assert [c.id for c, _ in rows] == [V2S, RESNET]
    assert rows[0][1].word == NOT_COMPARABLE
    assert f"0.25 ×, is confirmed on {CPU}, 2 threads" in rows[0][1].reason


def test_the_rules_say_what_the_intervals_are():
    assert "Confirmed: the interval" in RULES
    assert "of a difference or ratio of two variants belong to the verdict on the pair" in RULES
