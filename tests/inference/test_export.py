"""Exported files compute what the run computes, for any batch, and say how to use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import variants
from bench import build
from bench.config import RunConfig
from bench.data.augment import finish_image
from bench.data.images import load_square
from bench.data.transforms import level_table
from bench.errors import BenchError
from bench.inference import export as exporting
from bench.inference.export import ABOUT, SUFFIXES, WRITERS, export, require_format
from bench.inference.saved import SavedModel
from tests.inference.conftest import Trained

pytestmark = pytest.mark.filterwarnings("ignore")


def read(path: Path):
    """(classes and transform from the file itself, images → logits)."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        found = {name: json.loads(about[name]) for name in ("classes", "transform")}
        assert session.get_inputs()[0].name == "images"
        return found, lambda images: session.run(["logits"], {"images": images})[0]
    extra = {ABOUT: ""}
    if path.suffix == ".pt2":
        model = torch.export.load(path, extra_files=extra).module()
    else:
        model = torch.jit.load(str(path), _extra_files=extra)
    return json.loads(extra[ABOUT]), lambda images: model(torch.from_numpy(images)).detach().numpy()


TEN = (
    "EfficientNetV2_S_CA", "EfficientNetV2_S_ECA", "EfficientNetV2_S_BoTLinear",
    "EfficientNetV2_S_Hybrid", "EfficientNet_Lite0_CA", "ResNet18_Hybrid", "MobileNetV3_Small",
    "EfficientNetV2_S", "EfficientNet_Lite0", "ResNet18",
)  # fmt: skip


@pytest.mark.parametrize("form", list(WRITERS))
def test_a_file_alone_is_enough_to_predict(use, trained: Trained, capsys, form: str) -> None:
    """Another program that knows nothing but the file gets the predictions of the record."""
    out = Path(f"model{SUFFIXES[form]}")
    assert use("export", trained.tiny_ca, "--format", form, "--out", out) == 0
    said = capsys.readouterr().out
    assert f"{out} (" in said
    assert "largest difference to PyTorch's logits" in said
    about, logits = read(out)
    record = json.loads((trained.results / trained.tiny_ca / "run.json").read_text())
    assert about["classes"] == record["data"]["classes"]
    transform = about["transform"]
    size = transform["resize"][0]
    assert size == 32
    images = np.empty((len(record["test"]["ids"]), size, size, 3), np.float32)
    table = level_table(transform["mean"], transform["std"])
    for place, name in enumerate(record["test"]["ids"]):
        finish_image(load_square(trained.photos / name, size), table, images[place])
    found = logits(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    assert found.argmax(1).tolist() == record["test"]["predictions"]
    one = logits(np.ascontiguousarray(images[:1].transpose(0, 3, 1, 2)))
    assert np.allclose(one, found[:1], atol=1e-4)


def test_the_default_file_lies_in_the_run(use, trained: Trained, capsys) -> None:
    path = trained.results / trained.tiny / "Tiny.pt2"
    try:
        assert use("export", trained.tiny, "--format", "exported") == 0
        assert path.is_file()
        capsys.readouterr()
        assert use("export", trained.tiny, "--format", "exported") == 2
        assert "Tiny.pt2 is there already" in capsys.readouterr().err
    finally:
        path.unlink(missing_ok=True)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def saved_of(variant: variants.Variant, size: int = 64) -> SavedModel:
    model, _ = build.build(variant, 10, RunConfig())
    return SavedModel(
        folder=Path("run"), record={}, model=model.eval(), variant=variant,
        classes=tuple("abcdefghij"), image_size=size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2),
        amp="off",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TEN)
def test_every_backbone_and_attention_as_onnx(tmp_path: Path, name: str) -> None:
    found = export(saved_of(variants.get(name)), "onnx", tmp_path / "model.onnx")
    assert 0 < found.max_difference < 1e-4 * found.largest
    assert found.size_mb == pytest.approx((tmp_path / "model.onnx").stat().st_size / 1e6)


@pytest.mark.parametrize("form", list(WRITERS))
def test_attention_that_keeps_positions_between_calls(tmp_path: Path, form: str) -> None:
    hybrid = variants.Variant(
        name="Tiny_Hybrid",
        backbone="test_efficientnet",
        attention=(variants.CoordinateAttention(reduction=32), variants.BoTLinear(heads=4)),
    )
    found = export(saved_of(hybrid, 32), form, tmp_path / "model")
    assert found.max_difference < 1e-4 < found.largest
    assert (tmp_path / "model").is_file()


def test_what_computes_something_else_is_not_left(trained, use, capsys, monkeypatch) -> None:
    real = exporting.WRITERS["exported"]

    for change, said in ((0.01, "0.01"), (float("nan"), "nan")):

        def wrong(model, saved, change=change):
            content, load = real(model, saved)

            def load_wrong(path):
                outputs = load(path)
                return lambda images: outputs(images) + change

            return content, load_wrong

        monkeypatch.setitem(exporting.WRITERS, "exported", wrong)
        assert use("export", trained.tiny, "--format", "exported", "--out", "m.pt2") == 2
        assert f"computes other outputs: they differ by {said}" in capsys.readouterr().err
        assert list(Path().iterdir()) == []


def test_what_cannot_be_exported_is_one_line(trained, use, capsys, monkeypatch) -> None:
    def fails(model, saved):
        raise RuntimeError("no such\noperator")

    monkeypatch.setitem(exporting.WRITERS, "onnx", fails)
    assert use("export", trained.tiny, "--out", "m.onnx") == 2
    err = capsys.readouterr().err
    assert "Tiny cannot be exported as onnx (RuntimeError: no such operator)" in err
    assert err.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if "runtime" in name else 1)
    with pytest.raises(BenchError, match=r"needs onnxruntime: pip install 'paddy-bench\[onnx\]'"):
        require_format("onnx")
    require_format("torchscript")


def test_a_run_without_checkpoint(use, trained: Trained, capsys) -> None:
    path = trained.results / trained.tiny / "best_model.pt"
    kept = path.rename(path.with_name("kept"))
    try:
        assert use("export", trained.tiny, "--out", "m.onnx") == 2
    finally:
        kept.rename(path)
    assert "has no best_model.pt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("unknown", "no run 'unknown'"),
        ("RUN --format coreml", "--format"),
        ("RUN --out no/m.onnx", "there is no folder no"),
        ("", "RUN"),
        ("RUN RUN", "is named twice"),
    ],
)
def test_mistakes_are_one_line(use, trained: Trained, capsys, arguments: str, said: str) -> None:
    words = [trained.tiny if word == "RUN" else word for word in arguments.split()]
    assert use("export", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
