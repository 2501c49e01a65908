"""A run as 8-bit integers: calibrated on training images, and told beside float32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bench.data.augment import finish_image
from bench.data.images import load_square
from bench.data.transforms import level_table
from bench.inference import int8
from bench.results import load_records
from bench.results.quantised import FILE, read_quantised
from tests.inference.conftest import Trained

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def quantised(use, trained: Trained, capsys):
    """(file, record, what was said) of Tiny_CA as int8; both files are removed afterwards."""
    folder = trained.results / trained.tiny_ca
    assert use("export", trained.tiny_ca, "--format", "onnx-int8") == 0
    yield folder / "Tiny_CA.int8.onnx", read_quantised(folder), capsys.readouterr().out
    (folder / "Tiny_CA.int8.onnx").unlink()
    (folder / FILE).unlink()


def predictions(content: bytes, trained: Trained, names: list[str]) -> list[int]:
    about = {
        one.key: json.loads(one.value)
        for one in onnx.load_model_from_string(content).metadata_props
        if one.key in ("classes", "transform")
    }
    assert about["classes"] == ["blast", "hispa", "normal"]
    size, transform = about["transform"]["resize"][0], about["transform"]
    table = level_table(transform["mean"], transform["std"])
    images = np.empty((len(names), size, size, 3), np.float32)
    for place, name in enumerate(names):
        finish_image(load_square(trained.photos / name, size), table, images[place])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    fed = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return session.run(["logits"], {"images": fed})[0].argmax(1).tolist()


def test_the_file_and_what_is_told_of_it(quantised, trained: Trained) -> None:
    path, found, said = quantised
    record = json.loads((path.parent / "run.json").read_text())
    assert found["part"] == "test"
    assert found["ids"] == record["test"]["ids"]
    assert found["labels"] == record["test"]["labels"]
    assert found["predictions_float32"] == record["test"]["predictions"]
    # Another program that knows nothing but the file gets what the record of it says.
    assert predictions(path.read_bytes(), trained, found["ids"]) == found["predictions_int8"]
    accuracy = np.mean(np.array(found["predictions_int8"]) == np.array(found["labels"]))
    assert f"accuracy {accuracy:.3f} as int8, {record['test']['accuracy']:.3f} as float32" in said
    assert found["size_mb"] == pytest.approx(path.stat().st_size / 1e6, rel=0.05)
    assert found["environment"]["command"].startswith("python -m bench export")


def test_only_training_images_calibrate(use, trained: Trained, monkeypatch) -> None:
    seen = []
    original = int8._batches

    def spy(saved, root, names):
        seen.append(list(names))
        return original(saved, root, names)

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
    assert use("export", trained.tiny, trained.tiny_ca) == 0
    out = capsys.readouterr().out
    for run, name in ((trained.tiny, "Tiny.onnx"), (trained.tiny_ca, "Tiny_CA.onnx")):
        path = trained.results / run / name
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
