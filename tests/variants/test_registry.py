from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import variants
from variants import Variant, VariantError, _registry

ASKED = [
    "EfficientNetV2_S_CA",
    "EfficientNetV2_S_ECA",
    "EfficientNetV2_S_BoTLinear",
    "EfficientNetV2_S_Hybrid",
    "EfficientNet_Lite0_CA",
    "ResNet18_Hybrid",
    "MobileNetV3_Small",
]
BASELINES = ["EfficientNetV2_S", "EfficientNet_Lite0", "ResNet18"]


def selected(*patterns: str) -> list[str]:
    return [variant.name for variant in variants.select(patterns)]


def test_all_is_the_seven_and_baselines_the_three() -> None:
    assert sorted(selected("all")) == sorted(ASKED)
    assert sorted(selected("baselines")) == sorted(BASELINES)
    assert sorted(selected("all,baselines")) == sorted(ASKED + BASELINES)


def test_names_are_case_insensitive_and_come_once_in_the_order_asked() -> None:
    assert selected("resnet18, MOBILENETV3_small", "ResNet18") == ["ResNet18", "MobileNetV3_Small"]


def test_globs() -> None:
    assert sorted(selected("EfficientNetV2_S_*")) == sorted(n for n in ASKED if "V2_S_" in n)
    assert selected("resnet18_h?brid") == ["ResNet18_Hybrid"]


def test_a_glob_without_a_match_lists_what_there_is() -> None:
    with pytest.raises(VariantError, match=r"no variant matches 'VGG\*'.*ResNet18"):
        selected("VGG*")


def test_an_unknown_name_suggests_near_ones_and_lists_all() -> None:
    with pytest.raises(VariantError) as caught:
        variants.get("ResNet81")
    assert "did you mean ResNet18" in str(caught.value)
    assert all(name in str(caught.value) for name in ASKED)
    assert "\n" not in str(caught.value)


def test_nothing_asked_for_is_an_error() -> None:
    with pytest.raises(VariantError, match="--variants all"):
        selected(" , ")


def test_a_taken_name_names_both_modules(registry: None) -> None:
    with pytest.raises(VariantError) as caught:
        variants.register(Variant(name="resnet18", backbone="resnet18"))
    assert "variants.resnet18" in str(caught.value)
    assert __name__ in str(caught.value)


@pytest.mark.parametrize("name", ["../escape", "a b", "", "all", "Baselines", "Ж"])
def test_names_that_are_no_folder_or_a_groups_are_refused(name: str, registry: None) -> None:
    with pytest.raises(VariantError):
        variants.register(Variant(name=name, backbone="resnet18"))


def test_a_plugin_is_found_by_name_and_in_its_group(tiny_plugin: Path) -> None:
    variants.load_plugin(tiny_plugin)
    variants.load_plugin(tiny_plugin)
    assert "Tiny_CA" in selected("all")
    assert "Tiny" in selected("baselines")
    assert variants.module_of(variants.get("tiny")) == "paddy_bench_plugin_tiny_variants"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "fails to import: ModuleNotFoundError"),
        ("def broken(:", "fails to import: SyntaxError"),
        ("raise SystemExit(3)", "fails to import: SystemExit"),
        ("x = 1", "registers no variant"),
        (
            "from variants import Variant, register\n"
            "register(Variant(name='Kept_Out', backbone='resnet18'))\n"
            "register(Variant(name='ResNet18', backbone='resnet18'))",
            "registered twice",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used(
    text: str, message: str, tmp_path: Path, registry: None
) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(VariantError, match=message) as caught:
        variants.load_plugin(path)
    assert "own.py" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Kept_Out" not in variants.names()


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VariantError, match="is not a file"):
        variants.load_plugin(tmp_path / "none.py")


def test_an_entry_point_of_another_package_is_loaded(
    tmp_path: Path, registry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_variants.py").write_text(
        "from variants import Variant, register\n"
        "register(Variant(name='Foreign', backbone='resnet18'))\n"
    )
    info = tmp_path / "foreign-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{variants.ENTRY_POINT_GROUP}]\nforeign = foreign_variants\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(_registry, "_loaded", False)
    found = metadata.entry_points(group=variants.ENTRY_POINT_GROUP)
    assert [entry.name for entry in found] == ["foreign"]
    assert "Foreign" in variants.names()
    monkeypatch.delitem(sys.modules, "foreign_variants")


def test_a_broken_entry_point_is_named(registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("bad", "nothing_of_that_name", variants.ENTRY_POINT_GROUP)
    monkeypatch.setattr(_registry.metadata, "entry_points", lambda group: [entry])
    monkeypatch.setattr(_registry, "_loaded", False)
    with pytest.raises(VariantError, match="entry point 'bad' fails to import"):
        variants.names()


def test_the_registry_needs_no_torch() -> None:
    code = "import variants, sys; variants.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("version", ["abc", "", "-1", "1.0", "²"])
def test_a_version_that_is_no_number_is_refused(version: str) -> None:
    with pytest.raises(VariantError, match=f"version '{version}' of ResNet18: .* ResNet18@1"):
        variants.get(f"ResNet18@{version}")


def test_one_name_in_two_versions_is_refused() -> None:
    name = "EfficientNetV2_S_BoTLinear"
    assert selected(f"{name}@1,{name}@1,ResNet18") == [name, "ResNet18"]
    for asked in (f"{name}@1,{name}", f"all,{name}@1"):
        with pytest.raises(VariantError, match=f"{name}@[12] and {name}@[12] are asked for"):
            selected(asked)
