"""Tests that the documented numbers are the guide's and that every row can be measured."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import bench.report
from bench.config import options
from bench.presets import load_presets
from bench.report.cells import metrics
from bench.report.claims import format_documented, load_claims, parse_claims

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
    code = "".join(path.read_text(encoding="utf8") for path in CODE.glob("*.py"))
    assert values
    assert [value for value in values if f"{value:g}" in code.replace(",", "")] == []


def test_a_misspelt_key_is_an_error():
    raw = tomllib.loads((CODE / "claims.toml").read_text(encoding="utf8"))
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
