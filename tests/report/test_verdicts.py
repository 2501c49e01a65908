"""Tests of the verdicts: each on planted records whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from bench.presets import get_preset
from bench.report.claimed import Claim
from bench.report.claims import load_claims
from bench.report.judging import (
    CONFIRMED,
    CONTRADICTED,
    NOT_COMPARABLE,
    NOT_MEASURED,
    UNDECIDED,
    VERDICTS,
    Evidence,
    Verdict,
)
from bench.report.quantities import METRICS
from bench.report.selection import Selection
from bench.report.verdicts import JUDGES, judge, judged_claims, verdict_table
from tests.report.sessions import MAIN, TRAIN, set_predictions, timed_together

CPU = "AMD EPYC 7B13"
V2S, RESNET, CA = "EfficientNetV2_S", "ResNet18", "EfficientNetV2_S_CA"


def claim(metric: str, value: Any, variant: str = CA, **more: Any) -> Claim:
    form = more.get("form", "value")
    unit = METRICS[metric].unit_of(form)
    return Claim("c", variant, metric, value, unit, "a model card", **more)


def decided(records, one: Claim) -> Verdict:
    return judge(one, Evidence(Selection(records), load_claims()))


def of_guide(records, identifier: str) -> Verdict:
    return next(v for c, v in judged_claims(Selection(records)) if c.id == identifier)


def timed(make_record, seconds: Mapping[str, float] | None = None, **more: Any):
    return timed_together(make_record, seconds or {RESNET: 0.01, V2S: 0.04}, **more)


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


# --- counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "word"),
    [
        ("why-v2-s/params/ResNet18", CONFIRMED),
        ("why-v2-s/params/EfficientNetV2_S", CONFIRMED),
        ("why-v2-s/macs/EfficientNetV2_S", CONFIRMED),
        ("why-v2-s/macs/MobileNetV3_Small", CONTRADICTED),
        ("variants/params/EfficientNetV2_S_ECA", CONTRADICTED),
        ("v2-s-ca-vs-resnet18-hybrid/params/ResNet18_Hybrid", CONTRADICTED),
        ("details/channels", CONFIRMED),
    ],
)
def test_counts_are_decided_without_an_interval(sweep, identifier, word):
    assert of_guide(sweep, identifier).word == word


def test_a_claim_that_states_no_head_is_held_against_both(sweep):
    found = of_guide(sweep, "v2-s-ca-vs-resnet18-hybrid/params/ResNet18_Hybrid")
    assert "11.90 M with 1000 classes, 11.39 M with 10 classes" in found.reason
    with_ten = claim("parameters", 11.39, "ResNet18_Hybrid")
    assert decided(sweep, with_ten).word == CONFIRMED
    assert decided(sweep, attrs.evolve(with_ten, conditions={"classes": 1000})).word == CONTRADICTED
    assert decided(sweep, attrs.evolve(with_ten, conditions={"classes": 13})).word == NOT_COMPARABLE


def test_counts_of_a_failed_run_stand_and_wrong_ones_do_not(make_failed):
    record = make_failed(RESNET, "RuntimeError", "x")
    assert decided([record], claim("parameters", 11.69, RESNET)).word == CONFIRMED
    record["counts"]["parameters_declared"] = 1
    found = decided([record], claim("parameters", 11.69, RESNET))
    assert (found.word, "invalid" in found.reason) == (NOT_MEASURED, True)


def test_another_reduction_is_another_model(make_record):
    record = make_record(CA)
    for reduction, word in ((16, NOT_COMPARABLE), (32, CONFIRMED)):
        record["config"]["reduction"] = reduction
        assert decided([record], claim("parameters", 21.61)).word == word


# --- speeds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "word"), [(0.25, CONFIRMED), (1.25, CONTRADICTED), (0.278, UNDECIDED)]
)
def test_a_ratio_is_decided_by_the_interval_over_rounds(make_record, value, word):
    ratio = claim("inference_speed", value, V2S, form="ratio", against=RESNET)
    found = decided(timed(make_record), ratio)
    assert found.word == word
    assert found.cell() == f"{word} on {CPU}, 2 threads"
    assert found.figure is not None
    assert found.figure.number == pytest.approx(0.25, rel=0.02)
    assert found.figure.low < found.figure.number < found.figure.high
    assert found.figure.count == "10 rounds"


@pytest.mark.parametrize("rounds", [1, 5])
def test_few_rounds_decide_nothing(make_record, rounds):
    records = timed(make_record, rounds=rounds, kinds=[*MAIN, TRAIN])
    speeds = [v for c, v in judged_claims(Selection(records)) if c.kind.words.endswith("speed")]
    assert UNDECIDED in {v.word for v in speeds}
    assert not {v.word for v in speeds} & {CONFIRMED, CONTRADICTED}
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert f"{rounds} round" in decided(records, ratio).reason


def test_a_t4_is_never_decided_elsewhere_but_its_ratio_is(make_record):
    records = timed(make_record)
    found = of_guide(records, "why-v2-s/fps-gpu/EfficientNetV2_S")
    assert found.word == NOT_COMPARABLE
    assert "T4 stated, AMD EPYC 7B13 here" in found.reason
    assert "unstated: batch, image size, dtype" in found.reason
    assert f"~1.25 ×, is contradicted on {CPU}, 2 threads: 0.25" in found.reason
    ratio = of_guide(records, "why-v2-s/fps-gpu-ratio/EfficientNetV2_S")
    assert ratio.cell() == f"contradicted on {CPU}, 2 threads"
    assert "the claim is of T4" in ratio.reason


def test_a_t4_claim_with_all_conditions_needs_a_t4(make_record):
    stated = {"device": "cuda", "device_name": "T4", "batch": 16, "image_size": 224,
              "dtype": "float32"}  # fmt: skip
    one = claim("inference_speed", 25, V2S, conditions=stated)
    assert decided(timed(make_record), one).word == NOT_COMPARABLE
    same = {"device": "cuda", "device_name": "Tesla T4"}
    assert decided(timed(make_record, same=same), one).word == CONFIRMED
    other = {"device": "cuda", "device_name": "NVIDIA T4G"}
    assert decided(timed(make_record, same=other), one).word == NOT_COMPARABLE
    assert decided(timed(make_record, same={**same, "batch_size": 16}), attrs.evolve(
        one, value=250)).word == CONTRADICTED  # fmt: skip


def test_the_guides_speeds_contradict_its_own_macs(make_record):
    for name in ("25", "30"):
        found = of_guide(timed(make_record), f"prose/inference-{name}")
        assert found.word == CONTRADICTED
        assert "1.58 × the MACs of ResNet18" in found.reason
        assert "published: 0.32 ×" in found.reason
        assert "the same document elsewhere" in found.reason
    assert "~1.3 ×" in of_guide(timed(make_record), "prose/inference-25").reason


def test_unstated_conditions_of_a_ratio_are_named_and_stated_ones_must_hold(make_record):
    records = timed(make_record)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert "states no device, batch, image size, dtype" in decided(records, ratio).reason
    found = decided(records, attrs.evolve(ratio, conditions={"batch": 64}))
    assert (found.word, "64 stated, 16 here" in found.reason) == (NOT_COMPARABLE, True)
    assert found.figure is not None


def test_what_a_session_noted_against_a_timing_stands_in_the_row(make_record):
    records = timed(make_record)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    assert "marked" not in decided(records, ratio).reason
    for entry in records[0]["timing"]:
        entry["marks"] = ["other programs used 14 % of the machine"]
    assert "marked: other programs used 14 %" in decided(records, ratio).reason


def test_cases_that_disagree_decide_nothing(make_record):
    slow = timed(make_record)
    fast = timed(make_record, {RESNET: 0.01, V2S: 0.01})
    for one, two in zip(slow, fast, strict=True):
        one["timing"] += [{**entry, "threads": 1} for entry in two["timing"]]
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    found = decided(slow, ratio)
    assert found.word == UNDECIDED
    assert "1 thread" in found.reason
    assert decided(slow, attrs.evolve(ratio, conditions={"threads": 2})).word == CONFIRMED


def test_models_of_two_sessions_are_not_related(make_record):
    one = timed(make_record, {RESNET: 0.01}, session="s1")
    two = timed(make_record, {V2S: 0.04}, session="s2", baseline=V2S)
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    found = decided([*one, *two], ratio)
    assert (found.word, found.figure) == (NOT_MEASURED, None)
    assert "no timing session" in found.reason


def test_latency_is_a_time_and_speed_its_inverse(make_record):
    records = timed(make_record)
    ratio = claim("latency", 4, V2S, form="ratio", against=RESNET)
    assert decided(records, ratio).word == CONFIRMED
    assert decided(records, attrs.evolve(ratio, value=0.25)).word == CONTRADICTED
    stated = {"device_name": CPU, "image_size": 224, "dtype": "float32", "threads": 2}
    absolute = claim("latency", 40, V2S, conditions=stated)
    assert decided(records, attrs.evolve(absolute, tolerance="20 %")).word == CONFIRMED
    assert decided(records, attrs.evolve(absolute, value=4)).word == CONTRADICTED
    del stated["threads"]
    assert "unstated: threads" in decided(records, absolute).reason


def test_training_speed_needs_timed_steps(make_record):
    name = "prose/training/EfficientNetV2_S"
    found = of_guide(timed(make_record), name)
    assert found.word == UNDECIDED
    assert "one training each" in found.reason
    assert of_guide(timed(make_record, kinds=[*MAIN, TRAIN]), name).word == CONTRADICTED


def test_no_verdict_on_speed_from_an_invalid_or_failed_run(make_record, make_failed):
    ratio = claim("inference_speed", 0.25, V2S, form="ratio", against=RESNET)
    records = timed(make_record)
    records[1]["counts"]["parameters_declared"] = 1
    found = decided(records, ratio)
    assert (found.word, "invalid" in found.reason) == (NOT_MEASURED, True)
    failed = [timed(make_record)[0], make_failed(V2S, "RuntimeError", "out of luck")]
    assert "out of luck" in decided(failed, ratio).reason
    assert decided(failed[:1], ratio).reason.startswith(f"{V2S} is in none")


# --- accuracy --------------------------------------------------------------------------------

PADDY = {"data": "paddy-10", "pretrained": True}


def trained(make_record, name: str, right: int, images: int = 4000, **more: Any):
    record = make_record(name, **more)
    record["training"]["initial_weights"] = "tf_efficientnetv2_s.in21k_ft_in1k"
    hits = [index < right for index in range(images)]
    return set_predictions(record, hits)


@pytest.mark.parametrize(
    ("right", "word"), [(3800, UNDECIDED), (3760, CONFIRMED), (3000, CONTRADICTED)]
)
def test_accuracy_is_decided_on_the_test_part(make_record, right, word):
    record = trained(make_record, CA, right)
    found = decided([record], claim("accuracy", (93, 95.05), conditions=PADDY))
    assert found.word == word
    assert "judged on the test part" in found.reason
    assert found.figure is not None
    assert found.figure.count.startswith("n 4000, test")


def test_accuracy_needs_the_guides_data_and_weights(make_record):
    one = claim("accuracy", (93, 96), conditions=PADDY)
    cases = [
        ("synthetic", trained(make_record, CA, 3760, synthetic=True)),
        ("3 classes", trained(make_record, CA, 3760, classes=["blast", "hispa", "tungro"])),
    ]
    random = trained(make_record, CA, 3760)
    random["training"]["initial_weights"] = "random"
    part = trained(make_record, CA, 3760)
    part["config"]["train_limit"] = 1000
    frozen = trained(make_record, CA, 3760)
    frozen["config"]["freeze_backbone"] = True
    cases += [("pretrained: yes stated, no here", random), ("1000 training images only", part)]
    for reason, record in [*cases, ("backbone frozen", frozen)]:
        found = decided([record], one)
        assert (found.word, reason in found.reason) == (NOT_COMPARABLE, True), reason
        assert found.figure is not None
    unstated = decided([trained(make_record, CA, 3760)], claim("accuracy", (93, 96)))
    assert "unstated: data, pretrained" in unstated.reason


def test_no_verdict_from_an_invalid_or_undertrained_run(make_record):
    one = claim("accuracy", (5, 20), conditions=PADDY)
    collapsed = trained(make_record, CA, 3760)
    collapsed["test"]["predictions"] = [0] * 4000
    invalid = trained(make_record, CA, 600)
    invalid["metrics"]["valid_loss"] = None
    for reason, record in (("undertrained", collapsed), ("invalid", invalid)):
        found = decided([record], one)
        assert (found.word, reason in found.reason) == (NOT_MEASURED, True)


def test_a_presets_accuracy_needs_the_preset_unchanged(make_record):
    name = "presets/kaggle/accuracy"
    record = trained(make_record, CA, 3800)
    assert "preset: kaggle stated, smoke here" in of_guide([record], name).reason
    record["sweep"]["preset"] = "kaggle"
    record["config"] |= get_preset("kaggle").options
    assert of_guide([record], name).word == CONFIRMED
    record["config"]["epochs"] = 3
    assert "kaggle with other --epochs here" in of_guide([record], name).reason
    record["config"] |= {"epochs": 20, "class_weights": "balanced"}
    assert "other --class-weights here" in of_guide([record], name).reason


def test_the_flags_of_a_preset_are_the_preset(make_record):
    record = trained(make_record, CA, 3800)
    record["sweep"]["preset"] = None
    record["config"] |= {**get_preset("kaggle").options, "reduction": 32}
    assert of_guide([record], "presets/kaggle/accuracy").word == CONFIRMED
    assert "basic stated, kaggle here" in of_guide([record], "presets/basic/accuracy").reason


@pytest.mark.parametrize(
    ("right", "word"), [(3600, CONFIRMED), (3790, CONTRADICTED), (3580, UNDECIDED)]
)
def test_a_gain_is_a_paired_difference(make_record, right, word):
    records = [trained(make_record, CA, 3800), trained(make_record, "MobileNetV3_Small", right)]
    gain = claim(
        "accuracy", 5, form="difference", against="MobileNetV3_Small", conditions=PADDY,
        tolerance=1.1 if right == 3600 else 1,
    )  # fmt: skip
    found = decided(records, gain)
    assert found.word == word
    assert "McNemar" in found.reason
    records[1]["data"]["fingerprint"] = "another"
    assert "fingerprints differ" in decided(records, gain).reason


def test_several_seeds_are_judged_together(make_record):
    records = [trained(make_record, CA, 3760 + seed, seed=seed, minute=seed) for seed in range(3)]
    found = decided(records, claim("accuracy", (91, 97), conditions=PADDY))
    assert found.word == CONFIRMED
    assert found.figure is not None
    assert "3 seeds" in found.figure.count


# --- what is never decided -------------------------------------------------------------------


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


def test_the_example_metrics_are_of_unstated_conditions(make_record):
    found = of_guide([trained(make_record, CA, 3800)], f"example-metrics/valid_acc/{CA}")
    assert (found.word, "unstated: preset" in found.reason) == (NOT_COMPARABLE, True)


def test_minutes_and_memory_need_the_preset_on_the_stated_gpu(make_record, on_gpu):
    record = trained(make_record, CA, 3800)
    record["sweep"]["preset"] = "kaggle"
    record["config"] |= get_preset("kaggle").options
    assert "no CUDA" in of_guide([record], "presets/kaggle/gpu_memory").reason
    other = on_gpu(record, "NVIDIA L4")
    found = of_guide([other], "presets/kaggle/gpu_memory")
    assert (found.word, "T4 or P100 stated" in found.reason) == (NOT_COMPARABLE, True)
    other["training"] |= {"device_name": "Tesla T4", "peak_memory_mb": 13500.0}
    assert of_guide([other], "presets/kaggle/gpu_memory").word == CONFIRMED
    minutes = of_guide([other], "presets/kaggle/training_time")
    assert (minutes.word, "1 training" in minutes.reason) == (UNDECIDED, True)
    other["training"]["peak_memory_mb"] = 9000.0
    assert of_guide([other], "presets/kaggle/gpu_memory").word == CONTRADICTED


# --- the program's defaults ------------------------------------------------------------------


def test_defaults_are_those_of_the_program(sweep):
    found = {c.id: v for c, v in judged_claims(Selection(sweep)) if c.metric == "option_default"}
    assert len(found) >= 10
    assert {v.word for v in found.values()} == {CONFIRMED}
    assert "CA, reduction 32" in found["parameters-model/reduction/option_default"].reason
    wrong = claim("option_default", "16", option="epochs")
    assert decided(sweep, wrong).word == CONTRADICTED


# --- a user's claims -------------------------------------------------------------------------


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
