"""A run's checkpoint is read without running code, and refused where it is not what it says."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.records import write_record
from tests.deploy.conftest import Trained


@pytest.fixture
def changed(trained: Trained) -> Iterator[Callable[..., Path]]:
    """``changed(record={…}, saved={…})`` → a copy of a run with other values."""
    folder = trained.results / "Changed"

    def change(record: dict[str, Any] | None = None, saved: dict[str, Any] | None = None) -> Path:
        shutil.copytree(trained.results / trained.tiny, folder)
        if record is not None:
            known = json.loads((folder / "run.json").read_text())
            write_record(folder, {**known, **record})
        if saved is not None:
            known = torch.load(folder / "best_model.pt", weights_only=True)
            merged = {**known, **saved}
            kept = {name: value for name, value in merged.items() if value is not None}
            torch.save(kept, folder / "best_model.pt")
        return folder

    yield change
    shutil.rmtree(folder, ignore_errors=True)


def refused(use, trained: Trained, capsys, *said: str) -> None:
    assert use("predict", "Changed", trained.photos, "--out", "s.csv") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert not Path("s.csv").exists()


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"variant": "Nobody"}, "'Nobody', which is not known here"),
        ({"variant_version": 99}, "is of version 99 of Tiny"),
        ({"variant": "Tiny_CA"}, "does not fit Tiny_CA"),
        ({"classes": ["a", "b"]}, "does not fit Tiny"),
        ({"classes": ["a", "b", "b"]}, "that no training writes"),
        ({"classes": ["a", "b", 3]}, "that no training writes"),
        ({"classes": None}, "says nothing usable of classes"),
        ({"image_size": 10**9}, "that no training writes"),
        ({"image_size": "32"}, "says nothing usable of image_size"),
        ({"mean": [0.5]}, "that no training writes"),
        ({"std": [0.0, 0.1, 0.1]}, "that no training writes"),
        ({"reduction": -1}, "says nothing usable of reduction"),
        ({"model": {"x": 1}}, "does not fit Tiny"),
        ({"model": [1]}, "says nothing usable of model"),
    ],
)
def test_what_does_not_fit_is_refused(use, trained, changed, capsys, saved, said: str) -> None:
    changed(saved=saved)
    refused(use, trained, capsys, said)


def test_a_run_without_weights(use, trained: Trained, changed, capsys) -> None:
    folder = changed()
    (folder / "best_model.pt").unlink()
    refused(use, trained, capsys, "has no best_model.pt (its status is complete)")
    shutil.rmtree(folder)
    error = {"type": "DivergedError", "message": "the loss is NaN", "traceback": ""}
    folder = changed(record={"status": "failed", "error": error})
    (folder / "best_model.pt").unlink()
    refused(use, trained, capsys, "it failed: the loss is NaN")
    shutil.rmtree(folder)
    folder = changed(record={"training": None})
    (folder / "best_model.pt").unlink()
    refused(use, trained, capsys, "a timing run trains nothing")


class Trap:
    """Pickled, it runs code when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trap"),)


def test_files_that_would_run_code_do_not(use, trained: Trained, changed, capsys) -> None:
    folder = changed()
    (folder / "best_model.pt").write_bytes(pickle.dumps(Trap()))
    refused(use, trained, capsys, "best_model.pt cannot be read")
    torch.save({"model": Trap()}, folder / "best_model.pt")
    refused(use, trained, capsys, "best_model.pt cannot be read")
    assert not Path("trap").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file"])
def test_a_damaged_file(use, trained: Trained, changed, capsys, content: bytes) -> None:
    (changed() / "best_model.pt").write_bytes(content)
    refused(use, trained, capsys, "best_model.pt cannot be read")


def test_a_damaged_record(use, trained: Trained, changed, capsys) -> None:
    folder = changed()
    (folder / "run.json").write_text("{")
    refused(use, trained, capsys, "run.json cannot be read (JSONDecodeError) (or name another run)")


def test_runs_of_different_classes_are_not_averaged(use, trained: Trained, changed, capsys) -> None:
    changed(saved={"classes": ["blast", "hispa", "tungro"]})
    line = [trained.photos, "--out", "s.csv", "--runs", trained.tiny, "Changed"]
    assert use("predict", *line) == 2
    assert "different classes ('normal', 'tungro' in one of them only)" in capsys.readouterr().err


def test_a_model_runs_in_the_format_it_was_trained_in(use, trained, changed, monkeypatch) -> None:
    from bench.deploy import predict

    seen = []
    real = predict._probabilities

    def look(model, images, views):
        weight = next(p for p in model.model.parameters() if p.dim() == 4 and min(p.shape) > 1)
        seen.append(weight.is_contiguous(memory_format=torch.channels_last))
        return real(model, images, views)

    monkeypatch.setattr(predict, "_probabilities", look)
    for number, form in enumerate(("contiguous", "channels_last")):
        known = json.loads((trained.results / trained.tiny / "run.json").read_text())
        known["training"]["setup"]["memory_format"] = form
        folder = changed(record={"training": known["training"]})
        assert use("predict", "Changed", trained.photos, "--out", f"{number}.csv") == 0
        shutil.rmtree(folder)
        assert set(seen) == {form == "channels_last"}
        seen.clear()
