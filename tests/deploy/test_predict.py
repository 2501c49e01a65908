"""``predict``: the trained model, on the pixels that it was trained on, in Kaggle's form."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.deploy import predict
from bench.deploy.predict import VIEWS, Predicted
from tests.conftest import write_photos
from tests.deploy.conftest import Trained


def rows(path: str | Path) -> list[list[str]]:
    with Path(path).open(encoding="utf8", newline="") as file:
        return list(csv.reader(file))


def probabilities(path: str | Path) -> dict[str, np.ndarray]:
    return {name: np.array(list(map(float, values))) for name, *values in rows(path)[1:]}


def record_of(trained: Trained, run: str) -> dict:
    return json.loads((trained.results / run / "run.json").read_text())


def test_predictions_are_those_of_the_record(use, trained: Trained, capsys) -> None:
    files = ["--out", "s.csv", "--probabilities", "p.csv"]
    assert use("predict", trained.tiny, trained.photos, *files) == 0
    out, err = capsys.readouterr()
    table = rows("s.csv")
    assert table[0] == ["image_id", "label"]
    names = sorted(str(p.relative_to(trained.photos)) for p in trained.photos.rglob("*.png"))
    assert [name for name, _ in table[1:]] == names
    assert "40 images in" in out
    assert err == ""
    found, shares = dict(table[1:]), probabilities("p.csv")
    assert rows("p.csv")[0] == ["image_id", "blast", "hispa", "normal"]
    record = record_of(trained, trained.tiny)
    classes = record["data"]["classes"]
    for part in ("validation", "test"):
        known = record[part]
        for name, number, confidence in zip(
            known["ids"], known["predictions"], known["confidences"], strict=True
        ):
            assert found[name] == classes[number]
            assert shares[name].max() == pytest.approx(confidence, abs=1e-5)
    for name, values in shares.items():
        assert values.sum() == pytest.approx(1, abs=1e-5)
        assert classes[values.argmax()] == found[name]


def test_batches_change_nothing(use, trained: Trained) -> None:
    for size in (1, 7, 64):
        out = ["--out", f"{size}.csv", "--probabilities", f"p{size}.csv", "--batch-size", size]
        assert use("predict", trained.tiny_ca, trained.photos, *out) == 0
    one, seven, all_ = (probabilities(f"p{size}.csv") for size in (1, 7, 64))
    assert one.keys() == seven.keys() == all_.keys()
    for name in one:
        assert np.allclose(one[name], seven[name], atol=2e-5)
        assert np.allclose(one[name], all_[name], atol=2e-5)


def test_an_ensemble_is_the_mean_of_its_runs(use, trained: Trained, capsys) -> None:
    for run in (trained.tiny, trained.tiny_ca):
        files = ["--out", f"{run}.csv", "--probabilities", f"p-{run}.csv"]
        assert use("predict", run, trained.photos, *files) == 0
    files = ["--out", "both.csv", "--probabilities", "p-both.csv"]
    capsys.readouterr()
    runs = ["--runs", trained.tiny, trained.tiny_ca]
    assert use("predict", trained.photos, *files, *runs) == 0
    assert f"by {trained.tiny}, {trained.tiny_ca}" in capsys.readouterr().out
    one, other = (probabilities(f"p-{run}.csv") for run in (trained.tiny, trained.tiny_ca))
    both = probabilities("p-both.csv")
    assert any(not np.allclose(one[name], other[name], atol=1e-3) for name in one)
    for name, values in both.items():
        assert np.allclose(values, (one[name] + other[name]) / 2, atol=2e-5)


def test_runs_of_different_sizes_and_orders_of_classes_are_averaged_by_name(
    use, trained: Trained, tmp_path: Path
) -> None:
    """A run whose outputs stand in another order, at another size, with other normalisation."""
    other = trained.results / "Other"
    shutil.copytree(trained.results / trained.tiny, other)
    try:
        saved = torch.load(other / "best_model.pt", weights_only=True)
        head = [name for name in saved["model"] if saved["model"][name].shape[:1] == (3,)][-2:]
        for name in head:
            saved["model"][name] = saved["model"][name].flip(0)
        saved["classes"] = saved["classes"][::-1]
        torch.save(saved, other / "best_model.pt")
        for run, file in ((trained.tiny, "one"), ("Other", "other")):
            files = ["--out", f"{file}.csv", "--probabilities", f"p-{file}.csv"]
            assert use("predict", run, trained.photos, *files) == 0
        files, runs = ["--out", "both.csv", "--probabilities", "p-both.csv"], [trained.tiny, other]
        assert use("predict", trained.photos, *files, "--runs", *runs) == 0
        assert rows("one.csv") == rows("other.csv") == rows("both.csv")
        assert rows("p-other.csv")[0] == ["image_id", "normal", "hispa", "blast"]
        one, both = probabilities("p-one.csv"), probabilities("p-both.csv")
        assert all(np.allclose(one[name], both[name], atol=2e-5) for name in one)
        saved["image_size"], saved["mean"] = 64, [0.1, 0.2, 0.3]
        torch.save(saved, other / "best_model.pt")
        files = ["--out", "o2.csv", "--probabilities", "p-o2.csv"]
        assert use("predict", "Other", trained.photos, *files) == 0
        files = ["--out", "b2.csv", "--probabilities", "p-b2.csv"]
        assert use("predict", trained.photos, *files, "--runs", *runs) == 0
        two, both = probabilities("p-o2.csv"), probabilities("p-b2.csv")
        for name, values in both.items():
            assert np.allclose(values, (one[name] + two[name][::-1]) / 2, atol=2e-5)
    finally:
        shutil.rmtree(other)


def test_all_flips_and_turns_of_an_image_are_one_to_d4(
    use, trained: Trained, tmp_path: Path
) -> None:
    image = Image.open(next(trained.photos.rglob("*.png"))).crop((0, 0, 32, 32))
    folder = tmp_path / "turned"
    folder.mkdir()
    for turns in range(4):
        turned = image.rotate(90 * turns)
        turned.save(folder / f"{turns}.png")
        turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{turns}m.png")
    found = {}
    for views in ("none", "flip", "d4"):
        files = ["--out", f"{views}.csv", "--probabilities", f"p-{views}.csv", "--tta", views]
        assert use("predict", trained.tiny_ca, folder, *files) == 0
        found[views] = probabilities(f"p-{views}.csv")
    first = found["d4"]["0.png"]
    assert all(np.allclose(values, first, atol=2e-5) for values in found["d4"].values())
    plain = found["none"]
    assert not all(np.allclose(v, plain["0.png"], atol=2e-5) for v in plain.values())
    for turns in range(4):
        pair = found["none"][f"{turns}.png"], found["none"][f"{turns}m.png"]
        for name in (f"{turns}.png", f"{turns}m.png"):
            assert np.allclose(found["flip"][name], sum(pair) / 2, atol=2e-5)
    assert np.allclose(first, sum(found["none"].values()) / 8, atol=2e-5)
    assert len(set(VIEWS["d4"])) == 8


def test_what_cannot_be_read_is_listed_and_left_out(
    use, trained: Trained, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "some"
    write_photos(folder, {"a": 3})
    (folder / "a" / "001.png").write_bytes(b"")
    (folder / "a" / "zz.jpg").write_bytes(b"no image")
    assert use("predict", trained.tiny, folder, "--out", "s.csv", "--probabilities", "p.csv") == 1
    out, err = capsys.readouterr()
    assert [name for name, _ in rows("s.csv")[1:]] == ["a/000.png", "a/002.png"]
    assert list(probabilities("p.csv")) == ["a/000.png", "a/002.png"]
    assert "unreadable image, not predicted: 'a/001.png' (the file is empty)" in err
    assert "'a/zz.jpg'" in err
    # The same where they lie in other batches.
    assert use("predict", trained.tiny, folder, "--out", "b.csv", "--batch-size", 1) == 1
    assert rows("b.csv") == rows("s.csv")
    assert capsys.readouterr().err == err
    assert "2 images in" in out
    (folder / "a" / "001.png").unlink()
    (folder / "a" / "zz.jpg").unlink()
    assert use("predict", trained.tiny, folder, "--out", "t.csv") == 0
    assert rows("t.csv") == rows("s.csv")
    for path in (folder / "a").iterdir():
        path.write_bytes(b"")
    assert use("predict", trained.tiny, folder, "--out", "u.csv") == 1
    assert rows("u.csv") == [["image_id", "label"]]


def test_a_single_image(use, trained: Trained) -> None:
    image = trained.photos / "hispa" / "003.png"
    assert use("predict", trained.results / trained.tiny, image, "--out", "s.csv") == 0
    assert [name for name, _ in rows("s.csv")] == ["image_id", "003.png"]


def test_batches_are_made_ahead_in_order() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    work = [lambda number=number: make(number) for number in range(5)]
    assert list(predict._ahead(work, 0)) == list(range(5))
    assert list(predict._ahead(work, 2)) == list(range(5))
    made.clear()
    stream = predict._ahead(work, 0)
    next(stream)
    assert made == [0]
    stream = predict._ahead(work, 2)
    next(stream)
    stream.close()
    assert made[1:] == [0, 1, 2]


def test_labels_of_unreadable_images_are_none() -> None:
    shares = np.array([[0.4, 0.4, 0.2], [np.nan] * 3, [0.1, 0.2, 0.7]], np.float32)
    assert Predicted(("a", "b", "c"), shares, {1: "empty"}).labels.tolist() == [0, -1, 2]


def test_outputs_that_are_no_numbers_are_no_predictions(use, trained, capsys) -> None:
    other = trained.results / "Broken"
    shutil.copytree(trained.results / trained.tiny, other)
    try:
        saved = torch.load(other / "best_model.pt", weights_only=True)
        name = next(name for name in saved["model"] if name.endswith("weight"))
        saved["model"][name].fill_(float("nan"))
        torch.save(saved, other / "best_model.pt")
        assert use("predict", "Broken", trained.photos, "--out", "s.csv") == 2
    finally:
        shutil.rmtree(other)
    assert "Broken gives outputs that are no numbers" in capsys.readouterr().err
    assert not Path("s.csv").exists()


def test_a_batch_that_does_not_fit(use, trained: Trained, capsys, monkeypatch) -> None:
    def full(model, images, views):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predict, "_probabilities", full)
    assert use("predict", trained.tiny, trained.photos, "--out", "s.csv") == 2
    err = capsys.readouterr().err
    assert "32 images at once do not fit in memory: give a smaller --batch-size" in err


def test_a_name_that_no_table_can_hold_is_left_out(use, trained, tmp_path, capsys) -> None:
    folder = write_photos(tmp_path / "some", {"a": 2})
    odd = os.fsencode(folder / "a") + b"/\xff.png"
    os.rename(os.fsencode(folder / "a" / "001.png"), odd)
    assert use("predict", trained.tiny, folder, "--out", "s.csv") == 1
    assert [name for name, _ in rows("s.csv")[1:]] == ["a/000.png"]
    assert "its name is not UTF-8" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_predicts_what_a_cpu_does(use, trained: Trained) -> None:
    for device in ("cpu", "cuda"):
        files = ["--out", f"{device}.csv", "--probabilities", f"p-{device}.csv", "--batch-size", 3]
        assert use("predict", trained.tiny_ca, trained.photos, *files, "--device", device) == 0
    cpu, gpu = probabilities("p-cpu.csv"), probabilities("p-cuda.csv")
    assert cpu.keys() == gpu.keys()
    assert all(np.allclose(cpu[name], gpu[name], atol=0.02) for name in cpu)
