"""Tests that the documented numbers are the guide's and that every row can be measured."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import bench.report
from bench.config.options import options
from bench.config.presets import load_presets
from bench.report.analysis.metrics import metrics
from bench.report.claims.conditions import KINDS, same
from bench.report.claims.model import format_documented, load_claims, parse_claims
from bench.report.claims.published import published_evidence
from bench.report.claims.quantities import METRICS, accepted
from bench.report.claims.statements import Claim, all_claims

CODE = Path(bench.report.__file__).parent


def row(table: str, key: str):
    found = next(entry for entry in load_claims().tables if entry.id == table)
    return next(entry for entry in found.rows if entry.key == key)


def test_the_guides_tables_are_all_there():
    ids = [table.id for table in load_claims().tables]
    assert ids[:4] == [
        "why-v2-s",
        "variants",
        "v2-s-ca-vs-resnet18-hybrid",
        "v2-s-ca-vs-mobilenetv3-small",
    ]
    parameters = [[p.name for p in table.parameters] for table in load_claims().parameters]
    assert parameters == [
        ["reduction", "dropout", "pretrained"],
        ["epochs", "batch_size", "patience", "base_lr", "head_lr"],
        ["image_size", "num_workers"],
    ]


def test_documented_values_are_those_of_the_guide():
    fps = row("why-v2-s", "fps-gpu")
    assert fps.documented == {"MobileNetV3_Small": 450, "ResNet18": 280, "EfficientNetV2_S": 350}
    assert fps.approximate
    hybrid = row("v2-s-ca-vs-resnet18-hybrid", "accuracy").documented
    assert hybrid == {"ResNet18_Hybrid": (94, 96), "EfficientNetV2_S_CA": (93, 95)}
    assert row("variants", "params").documented["EfficientNetV2_S_ECA"] == 21.01


def test_documented_ratios_follow_from_the_row_they_name():
    ratio = row("why-v2-s", "fps-cpu-ratio")
    assert ratio.documented == {"MobileNetV3_Small": 1.8, "ResNet18": 1, "EfficientNetV2_S": 1.4}
    assert ratio.conditions == row("why-v2-s", "fps-cpu").conditions


def test_every_row_names_a_registered_metric_and_documents_only_columns():
    for table in load_claims().tables:
        columns = {column.variant for column in table.columns}
        assert table.layout in ("metrics", "variants")
        for entry in table.rows:
            assert entry.metric in metrics()
            assert set(entry.documented) <= columns
            assert entry.documented or entry.undocumented or entry.measured_only
            assert entry.form in ("ratio", "difference")


def test_every_preset_has_an_entry_with_a_source():
    for name, preset in load_presets().items():
        assert preset.expected["source"], name
        for key in ("minutes", "accuracy_percent", "gpu_memory_gb"):
            if key in preset.expected:
                low, high = preset.expected[key]
                assert 0 < low <= high
    assert load_presets()["kaggle"].expected["gpu_memory_gb"] == [13, 14]


def test_every_documented_parameter_is_an_option():
    names = {field.name for field in options()}
    assert {p.name for t in load_claims().parameters for p in t.parameters} <= names


def test_published_ratio_is_scaled_to_equal_size():
    gpu = load_claims().published[0]
    assert gpu.ratio("EfficientNetV2_S", "ResNet18") == pytest.approx(0.3151, abs=1e-4)
    assert gpu.ratio("EfficientNetV2_S", "Unknown") is None
    top1 = load_claims().published[-1]
    assert top1.ratio("EfficientNetV2_S", "ResNet18") == pytest.approx(84.33 / 71.5)


def test_documented_numbers_are_in_no_module():
    values = [
        value
        for table in load_claims().tables
        for entry in table.rows
        for given in entry.documented.values()
        for value in (given if isinstance(given, tuple) else (given,))
        if isinstance(value, float) and value > 3
    ]
    code = "".join(path.read_text(encoding="utf8") for path in CODE.rglob("*.py"))
    assert values
    assert [value for value in values if f"{value:g}" in code.replace(",", "")] == []


def test_a_misspelt_key_is_an_error():
    raw = tomllib.loads((CODE / "claims" / "claims.toml").read_text(encoding="utf8"))
    raw["table"][0]["row"][0]["documentd"] = {}
    with pytest.raises(TypeError, match="documentd"):
        parse_claims(raw)


@pytest.mark.parametrize(
    ("value", "approximate", "text"),
    [
        (350, True, "~350"),
        (21.01, False, "21.01"),
        ((93, 95), False, "93–95"),
        ((5, 5), False, "5"),
        ((1.25, 1.3), True, "~1.25–1.3"),
        ("Fast", True, "Fast"),
    ],
)
def test_documented_values_are_written_as_in_the_guide(value, approximate, text):
    assert format_documented(value, approximate=approximate) == text


# --- every number as one claim ---------------------------------------------------------------


@pytest.fixture(scope="module")
def stated() -> dict[str, Claim]:
    return {claim.id: claim for claim in all_claims(load_claims())}


def test_every_documented_figure_is_a_claim_once(stated):
    claims = load_claims()
    assert len(stated) == len(all_claims(claims))
    for table in claims.tables:
        for entry in table.rows:
            for variant in entry.documented if entry.judged else ():
                named = f"{table.id}/{entry.key}/{variant}"
                assert (named in stated) == (variant != entry.against), named
    for parameters in claims.parameters:
        for item in parameters.parameters:
            found = stated[f"{parameters.id}/{item.name}/option_default"]
            assert found.value == item.default
    for name in ("basic", "kaggle", "max-accuracy"):
        for metric in ("training_time", "accuracy", "gpu_memory"):
            assert stated[f"presets/{name}/{metric}"].conditions["preset"] == name


def test_a_figure_that_is_not_judged_in_its_row_is_stated_elsewhere(stated):
    values = {stated[f"prose/inference-{percent}"].value for percent in ("25", "30")}
    assert values == set(row("prose", "inference").documented["EfficientNetV2_S"])


def test_claims_have_the_metrics_unit_known_conditions_and_a_source(stated):
    for claim in stated.values():
        assert claim.source
        assert set(claim.conditions) <= set(KINDS), claim.id
        for key, value in claim.conditions.items():
            assert isinstance(value, KINDS[key]), claim.id
        if claim.metric not in ("statement", "words", "option_default", "recommendation"):
            assert claim.unit == claim.kind.unit_of(claim.form), claim.id
            low, high = claim.accepted()
            assert low <= high
        assert (claim.metric == "statement") == bool(claim.reason), claim.id


def test_a_t4_is_a_condition_as_data(stated):
    assert stated["why-v2-s/fps-gpu/ResNet18"].conditions == {
        "device": "cuda",
        "device_name": "T4",
    }
    ratio = stated["why-v2-s/fps-gpu-ratio/EfficientNetV2_S"]
    assert (ratio.value, ratio.form, ratio.conditions["device_name"]) == (1.25, "ratio", "T4")
    implied = stated["why-v2-s/fps-gpu/EfficientNetV2_S"].ratio()
    assert (implied.value, implied.against, implied.unit) == (1.25, "ResNet18", "×")
    assert stated["why-v2-s/params/ResNet18"].ratio() is None


@pytest.mark.parametrize(
    ("metric", "value", "form", "tolerance", "bounds"),
    [
        ("parameters", 21, "value", None, (20.5, 21.5)),
        ("parameters", 21.5, "value", None, (21.285, 21.715)),
        ("macs", 0.066, "value", None, (0.06534, 0.06666)),
        ("inference_speed", 1.25, "ratio", None, (1.125, 1.375)),
        ("inference_speed", 1.25, "ratio", "20 %", (1.0, 1.5)),
        ("inference_speed", (1.2, 1.3), "ratio", None, (1.2, 1.3)),
        ("accuracy", (93, 95), "value", None, (93, 95)),
        ("accuracy", (93, 95), "value", 1, (92, 96)),
        ("accuracy", 5, "difference", None, (4, 6)),
        ("accuracy", -5, "difference", "10 %", (-5.5, -4.5)),
        ("best_epoch", 16, "value", None, (16, 16)),
    ],
)
def test_tolerances(metric, value, form, tolerance, bounds):
    assert accepted(value, METRICS[metric], form, tolerance) == pytest.approx(bounds)


def test_published_figures_carry_source_and_resolution(stated):
    claims = load_claims()
    assert all(entry.source and entry.conditions for entry in claims.published)
    text = published_evidence(stated["why-v2-s/imagenet/EfficientNetV2_S"], claims)
    assert text.startswith("published: 83.35 % at 300 pixels (")
    assert "84.33 % at 384 pixels" in text
    gpu = published_evidence(stated["why-v2-s/fps-gpu-ratio/EfficientNetV2_S"], claims)
    assert "RTX 3090" in gpu
    assert "CPU" not in gpu
    hybrid = stated["v2-s-ca-vs-resnet18-hybrid/accuracy/ResNet18_Hybrid"]
    assert "ResNet34 97.7 %" in published_evidence(hybrid, claims)
    assert "orientation only" in published_evidence(hybrid, claims)
    assert published_evidence(stated["why-v2-s/params/ResNet18"], claims) == ""


@pytest.mark.parametrize(
    ("short", "full", "holds"),
    [
        ("T4", "Tesla T4", True),
        ("t4", "NVIDIA T4", True),
        ("T4", "NVIDIA T4G", False),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("RTX 3090", "NVIDIA GeForce RTX 3090 Ti", False),
        ("RTX 3090", "NVIDIA GeForce RTX 3090", True),
        (["T4", "P100"], "Tesla P100-PCIE-16GB", True),
        ("T4", None, False),
    ],
)
def test_a_device_is_named_by_a_part_of_its_name(short, full, holds):
    assert same("device_name", short, full) is holds
