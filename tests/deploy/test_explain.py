"""Grad-CAM and attention maps are what their formulas say, of the images that are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import variants
from bench.cli.main import main
from bench.config.options import RunConfig
from bench.deploy.explain import Chosen, choose, explain, last_feature_map
from bench.deploy.saved_model import SavedModel
from bench.deploy.training_images import images_of
from bench.errors import BenchError
from bench.models import build
from bench.report.render.sheet import Panel, Row, contact_sheet
from tests.conftest import write_photos
from tests.deploy.conftest import OPTIONS, Trained, training
from tests.support.drawings import draw_quickly

CPU = torch.device("cpu")


class Channels(nn.Module):
    """Three channels at half the resolution; the logit of a class is the mean of its channel."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1, bias=False)
        self.pool = nn.AvgPool2d(2)
        with torch.no_grad():
            self.convolution.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pool(self.convolution(images)).mean((2, 3))


def saved_model(model: nn.Module, folder: Path, variant: str, size: int) -> SavedModel:
    return SavedModel(
        folder=folder,
        record={},
        model=model.eval(),
        variant=variants.get(variant),
        classes=("red", "green", "blue"),
        image_size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        amp="off",
    )


def index_of(root: Path) -> Any:
    """What is asked of an index."""
    return SimpleNamespace(root=root, paths=tuple(path.name for path in root.iterdir()))


def painted(folder: Path, size: int = 16) -> Path:
    """Red at the left, green in the lower right quarter."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[:, : size // 2, 0] = 200
    pixels[size // 2 :, size // 2 :, 1] = 250
    Image.fromarray(pixels).save(folder / "painted.png")
    return folder / "painted.png"


# --- formulas --------------------------------------------------------------------------------


def test_grad_cam_of_a_channel_is_where_that_channel_is(tmp_path: Path) -> None:
    """Each class hangs on one channel of the map, so its Grad-CAM is that channel."""
    painted(tmp_path)
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    # Twice as much red as green: red is predicted, green is claimed to be the truth.
    (found,), unreadable = explain(
        saved, [Chosen("painted.png", 1, 0, 0.9)], index_of(tmp_path), device=CPU
    )
    assert unreadable == {}
    assert found.guess == 0
    red, green = found.of_guess, found.of_truth
    assert green is not None
    assert red.shape == green.shape == (16, 16)
    # Away from the edges, which are interpolated.
    assert np.allclose(red[:, :6], 1)
    assert np.allclose(red[:, 10:], 0)
    assert np.allclose(green[10:, 10:], 1)
    assert np.allclose(green[:6], 0)
    assert found.pixels[0, 0].tolist() == [200, 0, 0]
    assert found.attention == {}


def test_maps_are_enlarged_about_the_centres_of_their_pixels(tmp_path: Path) -> None:
    """A position of the map stands for a square of the image, not for a corner of it."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 4:6, 0] = 200
    Image.fromarray(pixels).save(tmp_path / "painted.png")
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    (found,), _ = explain(saved, [Chosen("painted.png", 0, 0, 0.9)], index_of(tmp_path), device=CPU)
    # The map has the third of eight columns: columns 4 and 5 of the image.
    expected = np.interp((np.arange(16) + 0.5) / 2 - 0.5, np.arange(8), np.eye(8)[2])
    assert expected[3:7].tolist() == [0.25, 0.75, 0.75, 0.25]
    assert np.allclose(found.of_guess, expected / expected.max(), atol=1e-6)


def test_right_images_have_one_grad_cam(tmp_path: Path) -> None:
    painted(tmp_path)
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    (found,), _ = explain(saved, [Chosen("painted.png", 0, 0, 0.9)], index_of(tmp_path), device=CPU)
    assert found.of_truth is None


def test_nothing_for_a_class_is_a_map_of_zeros(tmp_path: Path) -> None:
    """Not a division by nothing."""
    painted(tmp_path)
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    (found,), _ = explain(saved, [Chosen("painted.png", 2, 0, 0.9)], index_of(tmp_path), device=CPU)
    assert found.of_truth is not None
    assert not found.of_truth.any()
    # What speaks against a class is nothing for it either: here blue is the opposite of red.
    with torch.no_grad():
        saved.model.convolution.weight[2] = -saved.model.convolution.weight[0]
    (found,), _ = explain(saved, [Chosen("painted.png", 2, 0, 0.9)], index_of(tmp_path), device=CPU)
    assert found.of_truth is not None
    assert not found.of_truth.any()


def test_each_map_has_its_own_maximum(tmp_path: Path) -> None:
    """Also that of a dark image, in one batch with a bright one."""
    with Image.open(painted(tmp_path)) as bright:
        bright.point(lambda level: level // 4).save(tmp_path / "dark.png")
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    chosen = [Chosen(name, 1, 0, 0.9) for name in ("painted.png", "dark.png")]
    for found in explain(saved, chosen, index_of(tmp_path), device=CPU)[0]:
        assert found.of_guess.max() == pytest.approx(1)
        assert found.of_truth is not None
        assert found.of_truth.max() == pytest.approx(1)


def test_other_images_are_not_taken_for_those_of_the_run(photos: Path, tmp_path: Path) -> None:
    saved = attrs.evolve(
        saved_model(Channels(), tmp_path, "ResNet18", 16),
        record={"data": {"fingerprint": "0" * 32}, "config": {}, "sweep": {}},
    )
    with pytest.raises(BenchError, match=r"are not those that .* was trained on"):
        images_of(saved, photos)


def test_the_two_gates_are_what_the_block_multiplies_by() -> None:
    torch.manual_seed(0)
    spec = variants.CoordinateAttention(reduction=4)
    block = spec.build(16).eval()
    x = torch.rand(2, 16, 5, 7) + 0.5
    with torch.no_grad():
        found, expected = spec.attention_map(block, x), (block(x) / x).mean(1)
    assert found.shape == (2, 5, 7)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not any(module._forward_hooks for module in block.modules())


def test_the_weights_of_linear_attention_give_its_output() -> None:
    torch.manual_seed(0)
    spec = variants.BoTLinear(heads=2)
    block = spec.build(64).eval()
    x = torch.randn(3, 64, 4, 5)
    with torch.no_grad():
        inner = block.act(block.reduce(x))
        weights = block.attention.weights(inner)
        values = block.attention.value(inner).reshape(3, 2, 8, 20)
        out = torch.einsum("bhij,bhdj->bhdi", weights, values).reshape(3, 16, 4, 5)
        assert torch.allclose(out, block.attention(inner), atol=1e-5)
        found = spec.attention_map(block, x)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 2, 20), atol=1e-5)
    assert found.shape == (3, 4, 5)
    received = weights.mean((1, 2)) * 20
    assert torch.allclose(found.flatten(1), received, atol=1e-5)
    assert torch.allclose(found.mean((1, 2)), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    variants.select(
        ["ResNet18_Hybrid", "EfficientNet_Lite0_CA", "MobileNetV3_Small", "EfficientNetV2_S_ECA"]
    ),
    ids=lambda one: one.name,
)
def test_every_kind_of_variant_can_be_explained(name, tmp_path: Path) -> None:
    painted(tmp_path)
    torch.manual_seed(0)
    model, _ = build.build(name, 3, RunConfig())
    saved = saved_model(model, tmp_path, name.name, 64)
    (found,), _ = explain(saved, [Chosen("painted.png", 1, 0, 0.9)], index_of(tmp_path), device=CPU)
    shown = {"CoordinateAttention", "BoTLinear"} & {type(one).__name__ for one in name.attention}
    assert set(found.attention) == shown
    for heat in (found.of_guess, *found.attention.values()):
        assert heat.shape == (64, 64)
        assert np.isfinite(heat).all()
        assert 0 <= heat.min() <= heat.max() <= 1.0001
    assert last_feature_map(model, torch.zeros(1, 3, 64, 64), name.name) is model.attention


# --- choice ----------------------------------------------------------------------------------


def recorded(rows: list[tuple[str, int, int, float]]) -> dict:
    ids, labels, predictions, confidences = (list(column) for column in zip(*rows, strict=True))
    return {
        "data": {"classes": ["no", "yes"]},
        "validation": {
            "ids": ids, "labels": labels, "predictions": predictions, "confidences": confidences,
        }
    }  # fmt: skip


def test_the_surest_mistakes_and_the_surest_of_each_class() -> None:
    record = recorded(
        [
            ("a", 0, 0, 0.9), ("b", 0, 0, 0.99), ("c", 1, 1, 0.5), ("d", 1, 0, 0.4),
            ("e", 1, 0, 0.8), ("f", 0, 1, 0.6), ("g", 0, 0, 0.7),
        ]
    )  # fmt: skip
    assert [one.id for one in choose(record, 4)] == ["e", "f", "b", "c"]
    assert [one.id for one in choose(record, 7)] == ["e", "f", "d", "b", "c", "a", "g"]
    assert [one.id for one in choose(record, 100)] == ["e", "f", "d", "b", "c", "a", "g"]


@pytest.mark.parametrize(("guess", "expected"), [(0, 4), (1, 4)])
def test_where_all_are_right_or_wrong_the_sheet_is_full(guess: int, expected: int) -> None:
    record = recorded([(str(place), 0, guess, 0.5) for place in range(9)])
    assert len(choose(record, 4)) == expected


def test_a_record_without_predictions_is_refused() -> None:
    for record in ({}, {"validation": None}, {"validation": {"ids": ["a"], "labels": [0]}}):
        with pytest.raises(BenchError, match="no predictions of its validation images"):
            choose(record, 4)


@pytest.mark.parametrize(
    "row",
    [("a", 0, 2, 0.5), ("a", -1, 0, 0.5), (7, 0, 0, 0.5), ("a", 0, 0, None), ("a", 0, 0, 1.5),
     ("a", "0", 0, 0.5)],
)  # fmt: skip
def test_a_hostile_record_is_refused(row: tuple) -> None:
    with pytest.raises(BenchError, match="what no training writes"):
        choose(recorded([row, ("b", 0, 0, 0.5)]), 4)


def test_images_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    painted(tmp_path)
    painted(inside)
    saved = saved_model(Channels(), tmp_path, "ResNet18", 16)
    asked = [Chosen(name, 0, 0, 0.9) for name in ("../painted.png", str(tmp_path / "painted.png"))]
    found, unreadable = explain(saved, asked, index_of(inside), device=CPU)
    assert found == []
    assert len(unreadable) == 2


# --- feature maps ----------------------------------------------------------------------------


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.norm(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


def test_what_has_no_positions_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    for model in (flat, Tokens()):
        with pytest.raises(BenchError, match="Own has no feature map with positions"):
            last_feature_map(model.eval(), torch.zeros(1, 3, 8, 8), "Own")


def test_maps_with_channels_behind_are_refused() -> None:
    """Grad-CAM would average over a side of the image."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model.output_fmt = "NHWC"
    with pytest.raises(BenchError, match="no feature map with positions"):
        last_feature_map(model, torch.zeros(1, 3, 8, 8), "Own")


def test_the_last_map_before_the_pooling_is_found() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()  # fmt: skip
    assert last_feature_map(model, torch.zeros(1, 3, 8, 8), "Own") is model[1]
    assert not any(module._forward_hooks for module in model.modules())


# --- sheet -----------------------------------------------------------------------------------


def test_the_sheet_shows_the_images(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    blue = red[..., ::-1]
    cold = np.zeros((8, 8))
    rows = [Row("one", (Panel(red, "a"), Panel(blue, "b", cold)))]
    path = contact_sheet(
        "title", [("first", rows), ("second", []), ("third", rows)], tmp_path / "s.png"
    )
    assert path is not None
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    pure = (pixels == [255, 0, 0]).all(2)
    side = 1.75 * 110
    assert pure.sum() == pytest.approx(2 * side * side, rel=0.05)
    # Below a map without heat the picture is still seen.
    bluish = (pixels[..., 2] > 180) & (pixels[..., 0] < 60) & (pixels[..., 1] < 60)
    assert bluish.sum() == pytest.approx(2 * side * side, rel=0.05)


def test_an_empty_sheet_is_not_drawn(tmp_path: Path) -> None:
    assert contact_sheet(["title"], [("first", [])], tmp_path / "s.png") is None
    assert not (tmp_path / "s.png").exists()


# --- command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Tiny_CA at 96 pixels, where its last feature map has nine positions."""
    options = OPTIONS.replace("--image-size 32", "--image-size 96").replace(
        "--epochs 2", "--epochs 1"
    )
    with training(tmp_path_factory.mktemp("explained"), "Tiny_CA", options) as found:
        yield found


def test_a_sheet_of_a_trained_run(use, trained: Trained, capsys, drawn) -> None:
    assert use("explain", trained.tiny_ca, "--images", 6) == 0
    out, err = capsys.readouterr()
    assert err == ""
    path = trained.results / trained.tiny_ca / "explained.png"
    assert f"contact sheet: {path}" in out
    record = json.loads((trained.results / trained.tiny_ca / "run.json").read_text())
    chosen = choose(record, 6)
    for one in chosen:
        assert one.id in out
        assert f"{one.confidence:.2f}" in out
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 500
    titles = [axes.get_title() for figure in drawn for axes in figure.axes]
    assert titles.count("the image") == len(chosen)
    assert titles.count("CoordinateAttention") == len(chosen)
    wrong = sum(not one.right for one in chosen)
    assert sum(title.startswith("Grad-CAM") for title in titles) == len(chosen) + wrong
    before = path.read_bytes()
    assert use("explain", trained.tiny_ca) == 2
    assert "explained.png is there already" in capsys.readouterr().err
    assert path.read_bytes() == before
    path.unlink()


def test_images_that_moved_are_named(use, trained: Trained, capsys, tmp_path: Path) -> None:
    moved = trained.photos.rename(trained.photos.with_name("elsewhere"))
    try:
        assert use("explain", trained.tiny_ca, "--out", "s.png") == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "not where they were" in err
        assert "--data-dir names their folder" in err
        assert use("explain", trained.tiny_ca, "--out", "s.png", "--data-dir", moved) == 0
        assert Path("s.png").is_file()
        others = write_photos(tmp_path / "others", {"blast": 3, "hispa": 3, "normal": 3})
        capsys.readouterr()
        assert use("explain", trained.tiny_ca, "--out", "t.png", "--data-dir", others) == 2
        assert "are not those that" in capsys.readouterr().err
        assert not Path("t.png").exists()
    finally:
        moved.rename(trained.photos)


def test_images_that_cannot_be_read_are_listed(use, trained: Trained, capsys) -> None:
    record = json.loads((trained.results / trained.tiny_ca / "run.json").read_text())
    one = trained.photos / choose(record, 4)[0].id
    content = one.read_bytes()
    one.write_bytes(bytes(len(content)))
    try:
        assert use("explain", trained.tiny_ca, "--images", 4, "--out", "s.png") == 1
        out, err = capsys.readouterr()
        assert "unreadable image, not shown" in err
        assert f"warning: the contents of some images in {trained.photos} have changed since" in err
        assert one.name in err
        assert out.count(".png\n") == 3 + 1
        assert Path("s.png").is_file()
    finally:
        one.write_bytes(content)


def test_images_that_changed_are_told(use, trained: Trained, capsys) -> None:
    """Same name and size, other pixels: the prediction is another, and that is said."""
    path = trained.results / trained.tiny_ca / "run.json"
    content = path.read_bytes()
    record = json.loads(content)
    part = record["validation"]
    part["predictions"] = [(guess + 1) % 3 for guess in part["predictions"]]
    from bench.records import write_record

    write_record(path.parent, record)
    try:
        assert use("explain", trained.tiny_ca, "--images", 4, "--out", "s.png") == 0
        assert "warning: 4 of 4 images are predicted otherwise" in capsys.readouterr().err
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("images", [0, 1, 101])
def test_too_few_or_many_images(use, trained: Trained, capsys, images: int) -> None:
    assert use("explain", trained.tiny_ca, "--images", images, "--out", "s.png") == 2
    assert f"--images must be from 2 to 100: {images}" in capsys.readouterr().err


def test_a_run_without_positions_is_refused(use, trained: Trained, capsys, monkeypatch) -> None:
    from bench.deploy import saved_model as saved

    load = saved.load_saved

    def small(*arguments: object) -> SavedModel:
        import attrs

        return attrs.evolve(load(*arguments), image_size=32)

    monkeypatch.setattr(saved, "load_saved", small)
    assert use("explain", trained.tiny_ca, "--out", "s.png") == 2
    err = capsys.readouterr().err
    assert "Tiny_CA has no feature map with positions before its classifier (at 32 pixels)" in err
    assert not list(Path().iterdir())


def test_a_run_without_a_checkpoint_is_refused(use, trained: Trained, capsys) -> None:
    path = trained.results / trained.tiny_ca / "best_model.pt"
    kept = path.rename(path.with_name("kept"))
    try:
        assert use("explain", trained.tiny_ca, "--out", "s.png") == 2
        assert "has no best_model.pt" in capsys.readouterr().err
    finally:
        kept.rename(path)


@pytest.mark.parametrize("written", [False, True])
def test_synthetic_images_are_found_again(
    written: bool, use, trained: Trained, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Drawn anew with the first seed of the sweep, or read from the folder they were written to."""
    draw_quickly(monkeypatch)
    line = f"run --variants Tiny --plugin {trained.plugin} {OPTIONS.replace('size 32', 'size 64')}"
    options = [*line.split(), "--synthetic-images", "60", "--seed", "3", "--seeds", "2"]
    options += ["--epochs", "1"]
    if written:
        assert main(["data", "--write", "drawn", "--synthetic-images", "60", "--seed", "3"]) == 0
        options += ["--data-dir", "drawn"]
    assert main(options) == 0
    runs = sorted(Path("results").glob("Tiny_*"))
    assert len(runs) == 2
    for place, run in enumerate(runs):
        line = ["explain", run.name, "--images", "2", "--out", f"{place}.png"]
        assert main([*line, "--plugin", str(trained.plugin), "--device", "cpu"]) == 0
        assert "predicted otherwise" not in capsys.readouterr().err
