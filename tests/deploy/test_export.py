"""Exported files compute what the run computes, for any batch, and say how to use them."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import PIL
import pytest
import torch
from PIL import Image

import variants
from bench.config.options import RunConfig
from bench.data.augment import finish_image
from bench.data.images import load_square
from bench.data.transforms import level_table
from bench.deploy import export as exporting
from bench.deploy.export import (
    ABOUT,
    SUFFIXES,
    WRITERS,
    describe_transform,
    export,
    require_format,
)
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.models import build
from bench.records import write_record
from tests.deploy import restated
from tests.deploy.conftest import Trained

pytestmark = pytest.mark.filterwarnings("ignore")


def read(path: Path):
    """(classes and transform from the file itself, images → logits)."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        found = {name: json.loads(about[name]) for name in ("classes", "transform", "input")}
        assert session.get_inputs()[0].name == "images"
        return found, lambda images: session.run(["logits"], {"images": images})[0]
    extra = {ABOUT: ""}
    if path.suffix == ".pt2":
        model = torch.export.load(path, extra_files=extra).module()
    else:
        model = torch.jit.load(str(path), _extra_files=extra)
    return json.loads(extra[ABOUT]), lambda images: model(torch.from_numpy(images)).detach().numpy()


TINY = variants.Variant(name="Tiny", backbone="test_efficientnet")
# One of each backbone, and two kinds of attention behind the largest of them.
FAMILIES = ("EfficientNetV2_S_Hybrid", "EfficientNet_Lite0", "ResNet18", "MobileNetV3_Small")


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
    images = np.stack(
        [
            restated.normalised(restated.pixels_of(trained.photos / name, transform), transform)
            for name in record["test"]["ids"]
        ]
    )
    expected = {
        "name": "images", "dtype": "float32", "shape": ["batch", 3, size, size],
        "layout": "NCHW", "colour": "RGB", "normalised": "by the caller",
        "range": about["input"]["range"],
    }  # fmt: skip
    assert about["input"] == expected
    low, high = about["input"]["range"]
    ends = [restated.normalised(np.full((1, 1, 3), n, np.uint8), transform) for n in (0, 255)]
    assert (low, high) == (pytest.approx(ends[0].min()), pytest.approx(ends[1].max()))
    assert (
        f"images: float32 (batch, 3, {size}, {size}), RGB, normalised as its metadata says" in said
    )
    found = logits(images)
    assert found.argmax(1).tolist() == record["test"]["predictions"]
    assert np.allclose(logits(images[:1]), found[:1], atol=1e-4)
    if form == "onnx":
        names = restated.by_the_readme(out)
        black = restated.normalised(np.zeros((size, size, 3), np.uint8), transform)
        assert np.array_equal(names["images"][0], black)
        assert names["logits"].shape == (1, 3)


def noisy(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Noise on waves, so that every pixel counts, up to the outermost."""
    rng, bands = np.random.default_rng(width + height), len(mode)
    waves = 128 + 60 * np.sin(np.arange(height)[:, None] / 9 + np.arange(width) / 7)
    pixels = waves[..., None] + rng.normal(0, 40, (height, width, bands))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels if bands > 1 else pixels[..., 0], mode)


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = value
    return exif


def deep() -> Image.Image:
    grey = np.random.default_rng(0).integers(0, 65536, (61, 83)).astype(np.uint16)
    return Image.fromarray(grey)


PICTURES = {
    "large.jpg": lambda path: noisy(1003, 751).save(path),
    "larger.jpg": lambda path: noisy(2003, 1501).save(path),
    "small.jpg": lambda path: noisy(45, 33).save(path),
    "whole.jpg": lambda path: noisy(1024, 768).save(path),
    "grey.jpg": lambda path: noisy(901, 777, "L").save(path),
    "cmyk.jpg": lambda path: noisy(901, 777, "CMYK").save(path),
    "progressive.jpg": lambda path: noisy(901, 777).save(path, progressive=True),
    "tall.jpg": lambda path: noisy(31, 1999).save(path),
    "wide.jpg": lambda path: noisy(1999, 3).save(path),
    "odd.png": lambda path: noisy(333, 222).save(path),
    "tall.png": lambda path: noisy(7, 401).save(path),
    "line.png": lambda path: noisy(9600, 3).save(path),
    "square.png": lambda path: noisy(64, 64).save(path),
    "grey.png": lambda path: noisy(120, 91, "L").save(path),
    "deep.png": lambda path: deep().save(path),
    "transparent.png": lambda path: noisy(130, 171, "RGBA").save(path),
    "grey-transparent.png": lambda path: noisy(130, 171, "LA").save(path),
    "palette.gif": lambda path: noisy(99, 64).convert("P").save(path),
    "lossy.webp": lambda path: noisy(401, 300).save(path),
    **{
        f"turned-{value}.jpg": lambda path, value=value: noisy(1003, 751).save(
            path, exif=oriented(value)
        )
        for value in range(1, 9)
    },
    "turned.png": lambda path: noisy(103, 51).save(path, exif=oriented(6)),
}


@pytest.mark.parametrize("size", [32, 96, 224])
def test_the_metadata_alone_gives_the_pixels_that_the_model_is_given(
    tmp_path: Path, size: int
) -> None:
    transform = json.loads(json.dumps(describe_transform(saved_of(TINY, size))))["transform"]
    table = level_table((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    drafted = 0
    for name, save in PICTURES.items():
        path = tmp_path / name
        save(path)
        found, expected = restated.pixels_of(path, transform), load_square(path, size)
        assert np.array_equal(found, expected), name
        given = np.empty((size, size, 3), np.float32)
        finish_image(expected, table, given)
        assert np.array_equal(restated.normalised(found, transform), given.transpose(2, 0, 1))
        with Image.open(path) as image:
            drafted += image.format == "JPEG" and max(image.size) >= 2 * 3 * size
    assert drafted > 1


def test_the_steps_are_told_with_their_versions() -> None:
    saved = saved_of(TINY)
    old = describe_transform(saved)["transform"]
    assert old["version"] == LOADER
    # A record from before loaders had a number.
    assert old["trained_with_version"] == 1
    assert old["pillow"] == PIL.__version__
    record = {"data": {"loader": LOADER}, "environment": {"pillow": "12.3"}}
    new = describe_transform(attrs.evolve(saved, record=record))["transform"]
    assert (new["trained_with_version"], new["pillow"]) == (LOADER, "12.3")


@pytest.mark.parametrize("command", ["export", "predict", "evaluate"])
def test_runs_of_an_earlier_loader_are_warned_of(
    use, trained: Trained, capsys, command: str
) -> None:
    folder = trained.results / trained.tiny
    content = (folder / "run.json").read_bytes()
    record = json.loads(content)
    assert record["data"].pop("loader") == LOADER
    write_record(folder, record)
    arguments = {
        "export": ["--format", "torchscript", "--out", "m.pt"],
        "predict": [trained.photos, "--out", "p.csv"],
        "evaluate": ["--data-dir", trained.photos, "--results-dir", "new"],
    }[command]
    try:
        use(command, folder, *arguments)
        err = capsys.readouterr().err
        assert f"warning: {trained.tiny} was trained on pixels of image loader 1" in err
    finally:
        (folder / "run.json").write_bytes(content)


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


def as_onnx(saved: SavedModel, path: Path) -> None:
    found = export(saved, "onnx", path)
    assert 0 < found.max_difference < 1e-4 * found.largest
    assert found.size_mb == pytest.approx(path.stat().st_size / 1e6)


# The blocks of the Lite0 are among the V2-S's.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.ci) if name == "EfficientNet_Lite0" else name
        for name in FAMILIES
    ],
)
def test_every_kind_of_block_as_onnx(tmp_path: Path, name: str) -> None:
    """The first block of each stage, and a second one, which has a residual connection."""
    saved = saved_of(variants.get(name))
    for number, stage in enumerate(getattr(saved.model.backbone, "blocks", ())):
        del stage[2 if number == 2 else 1 :]
    as_onnx(saved, tmp_path / "model.onnx")


@pytest.mark.ci
def test_every_backbone_and_attention_as_onnx(tmp_path: Path) -> None:
    for name in variants.names():
        as_onnx(saved_of(variants.get(name)), tmp_path / f"{name}.onnx")


@pytest.mark.parametrize("form", list(WRITERS))
def test_every_attention_in_every_form(tmp_path: Path, form: str) -> None:
    """Positions that are kept between calls, too."""
    all_three = variants.Variant(
        name="Tiny_All",
        backbone="test_efficientnet",
        attention=(
            variants.CoordinateAttention(reduction=32),
            variants.EfficientChannelAttention(),
            variants.BoTLinear(heads=4),
        ),
    )
    found = export(saved_of(all_three, 32), form, tmp_path / "model")
    assert found.max_difference < 1e-4 < found.largest
    assert (tmp_path / "model").is_file()


def test_what_computes_something_else_is_not_left(trained, use, capsys, monkeypatch) -> None:
    real = exporting.WRITERS["torchscript"]

    for change, said in ((0.01, "0.01"), (float("nan"), "nan")):

        def wrong(model, saved, change=change):
            content, load = real(model, saved)

            def load_wrong(path):
                outputs = load(path)
                return lambda images: outputs(images) + change

            return content, load_wrong

        monkeypatch.setitem(exporting.WRITERS, "torchscript", wrong)
        assert use("export", trained.tiny, "--format", "torchscript", "--out", "m.pt") == 2
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
