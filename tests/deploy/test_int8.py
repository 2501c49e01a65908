"""A run as 8-bit integers: calibrated on training images, and told beside float32."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from bench.cli.main import main
from bench.deploy import int8
from bench.records import load_records
from bench.records.quantised import FILE, read_quantised
from bench.report.chapters import deployment
from bench.system.files import write_sealed
from bench.timing.onnx import Exported
from tests.deploy import restated
from tests.deploy.conftest import Trained, alone
from tests.timing.test_quantize import with_normalised_in

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytestmark = pytest.mark.filterwarnings("ignore")


@attrs.frozen
class Made:
    """Tiny_CA as ONNX and as int8: contents of its files by name, and what was said."""

    float32: Exported
    files: dict[str, bytes]
    said: str


@pytest.fixture(scope="module")
def made(trained: Trained) -> Made:
    """Exported once."""
    folder, said, kept = trained.results / trained.tiny_ca, io.StringIO(), []
    line = ["export", trained.tiny_ca, "--format", "onnx-int8", "--plugin", str(trained.plugin)]
    real = int8.export_onnx
    with (
        pytest.MonkeyPatch.context() as patch,
        alone(trained.results.parent),
        contextlib.redirect_stdout(said),
    ):
        patch.setattr(int8, "export_onnx", lambda *told: kept.append(real(*told)) or kept[0])
        assert main([*line, "--results-dir", str(trained.results)]) == 0
    paths = [folder / name for name in ("Tiny_CA.int8.onnx", FILE)]
    files = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return Made(*kept, files, said.getvalue())


@pytest.fixture
def quantised(made: Made, trained: Trained):
    """(file, record, what was said) of Tiny_CA as int8; both files are removed afterwards."""
    folder = trained.results / trained.tiny_ca
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    yield folder / "Tiny_CA.int8.onnx", read_quantised(folder), made.said
    for name in made.files:
        (folder / name).unlink()


@pytest.fixture
def known_export(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny_CA is exported as ONNX in no time."""
    monkeypatch.setattr(int8, "export_onnx", lambda *_: made.float32)


def metadata(content: bytes) -> dict:
    return {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}


def pixels_of(content: bytes, trained: Trained, names: list[str]) -> np.ndarray:
    transform = json.loads(metadata(content)["transform"])
    pixels = [restated.pixels_of(trained.photos / name, transform) for name in names]
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def predictions(content: bytes, pixels: np.ndarray, options=None) -> list[int]:
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {session.get_inputs()[0].name: pixels})[0].argmax(1).tolist()


def test_the_file_and_what_is_told_of_it(quantised, trained: Trained) -> None:
    path, found, said = quantised
    record = json.loads((path.parent / "run.json").read_text())
    assert found["part"] == "test"
    assert found["ids"] == record["test"]["ids"]
    assert found["labels"] == record["test"]["labels"]
    assert found["predictions_float32"] == record["test"]["predictions"]
    # Another program that knows nothing but the file gets what the record of it says.
    content = path.read_bytes()
    pixels = pixels_of(content, trained, found["ids"])
    assert predictions(content, pixels) == found["predictions_int8"]
    assert restated.by_the_readme(path, int8=True)["logits"].shape == (1, 3)
    about = metadata(content)
    assert json.loads(about["classes"]) == ["blast", "hispa", "normal"]
    assert json.loads(about["input"]) == {
        "name": "images", "dtype": "uint8", "shape": ["batch", 3, 32, 32], "layout": "NCHW",
        "colour": "RGB", "range": [0, 255], "normalised": "by the model",
    }  # fmt: skip
    # What a caller must not do is told apart from what it has to.
    assert not {"scale", "mean", "std"} & set(json.loads(about["transform"]))
    inside = json.loads(about["normalised_inside"])
    assert {"mean", "std"} <= set(inside)
    assert inside["formula"].startswith("float32(pixel) * factor + shift, in float32")
    constants = {
        one.name.rpartition("_")[2]: onnx.numpy_helper.to_array(one).ravel()
        for one in onnx.load_model_from_string(content).graph.initializer
        if one.name.startswith("images_normalised_")
    }
    for name in ("factor", "shift"):
        assert np.array_equal(constants[name], np.float32(inside[name]))
    assert found["input"] == "uint8"
    assert "input     images: uint8 (batch, 3, 32, 32), RGB, normalised inside" in said
    accuracy = np.mean(np.array(found["predictions_int8"]) == np.array(found["labels"]))
    assert f"accuracy {accuracy:.3f} as int8, {record['test']['accuracy']:.3f} as float32" in said
    assert found["size_mb"] == pytest.approx(path.stat().st_size / 1e6, rel=0.05)
    assert found["environment"]["command"].startswith("python -m bench export")


def test_the_stated_predictions_hang_on_no_last_bit(quantised, trained: Trained) -> None:
    """Another program that makes the pixels in floats, or computes the model in floats."""
    path, found, _ = quantised
    content = path.read_bytes()
    pixels = pixels_of(content, trained, found["ids"])
    rng = np.random.default_rng(0)
    for noise in (1e-6, -1e-6, rng.uniform(-1e-6, 1e-6, pixels.shape)):
        again = np.rint(np.clip(pixels / 255 + noise, 0, 1) * 255).astype(np.uint8)
        assert predictions(content, again) == found["predictions_int8"]
        inside = with_normalised_in(content)
        mean, std = (
            np.reshape(json.loads(metadata(content)["normalised_inside"])[key], (3, 1, 1))
            for key in ("mean", "std")
        )
        images = ((pixels / 255 - mean) / std + noise).astype(np.float32)
        assert predictions(inside, images) == found["predictions_int8"]
    as_floats = onnxruntime.SessionOptions()
    as_floats.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert predictions(content, pixels, as_floats) == found["predictions_int8"]


def test_only_training_images_calibrate(use, trained, known_export, monkeypatch) -> None:
    seen = []
    original = int8._batches

    def spy(size, root, names):
        seen.append(list(names))
        return original(size, root, names)

    monkeypatch.setattr(int8, "_batches", spy)
    folder = trained.results / trained.tiny_ca
    assert use("export", trained.tiny_ca, "--format", "onnx-int8", "--out", "m.onnx") == 0
    (folder / FILE).unlink()
    record = json.loads((folder / "run.json").read_text())
    held_out = {*record["validation"]["ids"], *record["test"]["ids"]}
    calibration, judged = seen
    assert judged == record["test"]["ids"]
    assert len(calibration) == 40 - len(held_out)
    assert not held_out & set(calibration)


def test_the_record_of_a_run_carries_it(quantised, trained: Trained) -> None:
    records, problems = load_records(trained.results)
    assert problems == []
    by_name = {record["variant"]["name"]: record for record in records}
    assert by_name["Tiny_CA"]["quantised"]["file"] == "Tiny_CA.int8.onnx"
    assert "quantised" not in by_name["Tiny"]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text(path.read_text().replace('"test"', '"best"', 1)),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_one_is_no_record(quantised, break_it) -> None:
    path = quantised[0].with_name(FILE)
    content = path.read_text()
    break_it(path)
    assert read_quantised(path.parent) is None
    path.write_text(content)
    assert read_quantised(path.parent) is not None


def test_what_was_measured_is_not_overwritten(quantised, use, trained: Trained, capsys) -> None:
    before = quantised[0].with_name(FILE).read_bytes()
    assert use("export", trained.tiny_ca, "--format", "onnx-int8", "--out", "m.onnx") == 2
    assert "quantised.json is there already" in capsys.readouterr().err
    assert quantised[0].with_name(FILE).read_bytes() == before
    assert not Path("m.onnx").exists()


def test_several_runs_at_once(use, trained: Trained, capsys) -> None:
    assert use("export", trained.tiny, trained.tiny_ca, "--format", "torchscript") == 0
    out = capsys.readouterr().out
    for run, name in ((trained.tiny, "Tiny"), (trained.tiny_ca, "Tiny_CA")):
        path = trained.results / run / f"{name}.torchscript.pt"
        assert str(path) in out
        path.unlink()
    assert use("export", trained.tiny, trained.tiny_ca, "--out", "m.onnx") == 2
    assert "--out names one file" in capsys.readouterr().err


def test_images_that_are_gone_are_named(use, trained: Trained, capsys) -> None:
    moved = trained.photos.rename(trained.photos.with_name("elsewhere"))
    try:
        assert use("export", trained.tiny, "--format", "onnx-int8") == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "--data-dir names their folder" in err
        assert not list((trained.results / trained.tiny).glob("*.onnx"))
    finally:
        moved.rename(trained.photos)


@pytest.fixture
def data_of(trained: Trained, known_export: None):
    """Changes what the record of Tiny_CA says of its images; it is put back afterwards."""
    path = trained.results / trained.tiny_ca / "run.json"
    before = path.read_bytes()

    def change(**values) -> None:
        content = json.loads(before)
        content.pop("sha256", None)
        content["data"] |= values
        write_sealed(path, content)

    yield change
    path.write_bytes(before)
    for name in ("Tiny_CA.int8.onnx", FILE):
        path.with_name(name).unlink(missing_ok=True)


def loaded(trained: Trained) -> dict:
    (record,), _ = load_records(trained.results, [trained.tiny_ca])
    return record


def test_a_run_that_knows_no_contents_is_shown_with_its_int8(
    use, trained: Trained, data_of, capsys
) -> None:
    listing = loaded(trained)["data"]["listing_fingerprint"]
    data_of(fingerprint=listing, fingerprint_version=1)
    assert use("export", trained.tiny_ca, "--format", "onnx-int8") == 0
    record = loaded(trained)
    assert record["quantised"]["fingerprint"] == listing
    assert deployment._fits(record, record["quantised"])
    assert "report shows it beside the speeds" in capsys.readouterr().out


def test_other_contents_are_said_to_be_shown_by_no_report(
    use, trained: Trained, data_of, capsys
) -> None:
    data_of(fingerprint="0" * 32)
    assert use("export", trained.tiny_ca, "--format", "onnx-int8") == 0
    record = loaded(trained)
    assert not deployment._fits(record, record["quantised"])
    assert "(no report shows it: its images are not those that the run" in capsys.readouterr().out
