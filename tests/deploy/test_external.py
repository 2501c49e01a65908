"""``evaluate``: classes by name, shares that can be counted by hand, and does it transfer?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from bench.deploy import external, saved_model
from bench.deploy.external import _own, describe, match_classes, transfer
from bench.deploy.predict import Predicted
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.stats.accuracy import difference_of_shares, wilson
from bench.system.files import read_sealed
from tests.deploy.conftest import Trained

OURS = ("bacterial_leaf_blight", "blast", "normal")


def test_names_that_differ_in_case_and_blanks_only_are_the_same() -> None:
    found = match_classes(["Bacterial Leaf-Blight", "blast", "NORMAL"], OURS)
    assert found == {
        "Bacterial Leaf-Blight": "bacterial_leaf_blight", "blast": "blast", "NORMAL": "normal"
    }  # fmt: skip


def test_mappings_rename_merge_and_leave_out() -> None:
    found = match_classes(
        ["Healthy", "neck blast", "blast", "weeds"],
        OURS,
        ["Healthy=normal", "neck blast=blast", "weeds="],
    )
    assert found == {"Healthy": "normal", "neck blast": "blast", "blast": "blast", "weeds": ""}


def test_what_is_given_goes_before_names() -> None:
    assert match_classes(["blast", "normal"], OURS, ["blast=normal"])["blast"] == "normal"


def test_names_with_equals_signs() -> None:
    assert match_classes(["a=b", "normal"], ("=c", "normal"), ["a=b==c"])["a=b"] == "=c"


@pytest.mark.parametrize(
    ("theirs", "given", "said"),
    [
        (["blast", "brown spot"], [], "knows no class 'brown spot'.*--map 'brown spot="),
        (["blast"], ["blast=rust"], "must be THEIRS=OURS"),
        (["blast"], ["rust=blast"], "must be THEIRS=OURS"),
        (["blast"], ["blast=normal", "blast="], "names 'blast' twice"),
        (["blast"], ["blast"], "must be THEIRS=OURS"),
        (["blast", "normal"], ["blast=", "normal="], "every class is left out"),
    ],
)
def test_classes_without_a_counterpart(theirs: list[str], given: list[str], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        match_classes(theirs, OURS, given)


def test_two_of_ours_that_look_alike_are_not_guessed() -> None:
    with pytest.raises(BenchError, match="knows no class 'Leaf Spot'"):
        match_classes(["Leaf Spot", "blast"], ("leaf_spot", "leaf-spot", "blast"))
    assert match_classes(["leaf-spot"], ("leaf_spot", "leaf-spot"))["leaf-spot"] == "leaf-spot"


def test_the_interval_of_a_difference_of_shares() -> None:
    """Newcombe (1998), table II, first contrast, method 10: 56/70 − 48/80."""
    low, high = difference_of_shares((56, 70), (48, 80))
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((0.01, 0.2), "better than on its own images"),
        ((-0.2, -0.01), "worse than on its own images"),
        ((-0.2, 0.0), "no difference could be shown"),
        ((0.0, 0.2), "no difference could be shown"),
    ],
)
def test_whether_it_transfers(bounds: tuple[float, float], said: str) -> None:
    assert said in transfer({"difference": 0.05, "difference_interval": bounds})


def written(trained: Trained) -> dict:
    paths = sorted(trained.results.glob("external-*.json"))
    assert len(paths) == 1
    found = read_sealed(paths[0])
    paths[0].unlink()
    return found


def test_an_external_set_with_other_names(
    use, trained: Trained, make_photos: Callable[..., Path], capsys
) -> None:
    other = make_photos({"Blast": 6, "Tungro": 5, "healthy": 4})
    maps = ["--map", "healthy=normal", "--map", "Tungro="]
    assert use("evaluate", trained.tiny, "--data-dir", other, *maps) == 0
    out, err = capsys.readouterr()
    record = written(trained)
    assert record["mapping"] == {"Blast": "blast", "Tungro": "", "healthy": "normal"}
    assert record["images"] == 10
    assert record["labels"] == [0] * 6 + [2] * 4
    assert record["ids"][6:] == [f"healthy/00{number}.png" for number in range(4)]
    hits = sum(a == b for a, b in zip(record["labels"], record["predictions"], strict=True))
    assert (record["correct"], record["accuracy"]) == (hits, hits / 10)
    assert record["interval"][0] <= record["accuracy"] <= record["interval"][1]
    f1 = f1_score(record["labels"], record["predictions"], average="macro", zero_division=0)
    assert record["macro_f1"] == pytest.approx(f1)
    assert record["environment"]["command"].startswith(f"python -m bench evaluate {trained.tiny}")
    known = json.loads((trained.results / trained.tiny / "run.json").read_text())
    own = record["own"]
    pairs = zip(known["test"]["labels"], known["test"]["predictions"], strict=True)
    same = [a == b for a, b in pairs if a != 1]
    assert (own["part"], own["images"], own["correct"]) == ("test", len(same), sum(same))
    assert own["difference"] == pytest.approx(hits / 10 - sum(same) / len(same))
    assert "'Blast' is 'blast', 'Tungro' is left out, 'healthy' is 'normal'" in out
    assert f"accuracy  {hits / 10:.3f} (" in out
    assert "transfer  " in out
    assert "images    10 of 15" in out
    assert err == ""


def test_a_run_of_another_image_loader_is_warned_of(
    use, trained: Trained, capsys, make_photos, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(saved_model, "LOADER", 99)
    other = make_photos({"blast": 6, "hispa": 5, "normal": 4})
    line = f"was trained on pixels of image loader {LOADER}, and loader 99 reads the images now"
    assert use("evaluate", trained.tiny, "--data-dir", other, "--json") == 0
    out, err = capsys.readouterr()
    assert line in err
    assert any(line in one for one in json.loads(out)["warnings"])
    assert written(trained)["data"]["loader"] == LOADER
    assert use("predict", trained.tiny, other, "--out", tmp_path / "x.csv") == 0
    assert line in capsys.readouterr().err


def test_the_runs_own_folder_is_warned_of(use, trained: Trained, capsys) -> None:
    assert use("evaluate", trained.tiny, "--data-dir", trained.photos, "--json") == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert "was trained on images of this very folder" in err
    assert record["warnings"]
    kept = written(trained)
    assert kept["accuracy"] == record["accuracy"]
    known = json.loads((trained.results / trained.tiny / "run.json").read_text())["test"]
    found = dict(zip(record["ids"], record["predictions"], strict=True))
    assert [found[name] for name in known["ids"]] == known["predictions"]
    sure = dict(zip(record["ids"], record["confidences"], strict=True))
    assert [sure[name] for name in known["ids"]] == pytest.approx(known["confidences"], abs=1e-5)


def test_an_ensemble_and_unreadable_images(
    use, trained: Trained, make_photos: Callable[..., Path], capsys
) -> None:
    other = make_photos({"blast": 3, "hispa": 3, "normal": 3})
    (other / "hispa" / "001.png").write_bytes(b"")
    line = ["--runs", trained.tiny, trained.tiny_ca, "--data-dir", other, "--tta", "flip"]
    assert use("evaluate", *line) == 1
    out, err = capsys.readouterr()
    record = written(trained)
    assert record["runs"] == [trained.tiny, trained.tiny_ca]
    assert record["own"] is None
    assert record["views"] == "flip"
    assert record["images"] == 8
    assert record["interval"] == pytest.approx(wilson(record["correct"], 8))
    assert record["unreadable"] == {"hispa/001.png": "the file is empty"}
    assert "hispa/001.png" not in record["ids"]
    assert "'hispa/001.png' (the file is empty)" in err
    assert "own test" not in out


def test_other_views_are_not_compared_with_the_records(use, trained: Trained, capsys) -> None:
    assert use("evaluate", trained.tiny, "--data-dir", trained.photos, "--tta", "d4") == 0
    assert written(trained)["own"] is None
    assert "transfer" not in capsys.readouterr().out


def test_a_run_by_its_path_and_results_elsewhere(use, trained: Trained) -> None:
    run = trained.results / trained.tiny
    line = [run, "--data-dir", trained.photos, "--results-dir", "new"]
    assert use("evaluate", *line) == 0
    (path,) = Path("new").iterdir()
    assert read_sealed(path)["runs"] == [trained.tiny]
    assert read_sealed(path)["environment"]["load_after"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("RUN", "--data-dir is missing"),
        ("RUN --data-dir nowhere", "no such data folder: nowhere"),
        ("RUN --data-dir OTHER", "knows no class 'rust'"),
        ("RUN --data-dir OTHER --map rust", "must be THEIRS=OURS"),
        ("--data-dir OTHER", "give RUN"),
        ("RUN RUN --data-dir OTHER", "give RUN"),
        ("RUN --data-dir OTHER --runs RUN", "give no RUN beside --runs"),
        ("unknown --data-dir OTHER", "no run 'unknown'"),
    ],
)
def test_mistakes_are_one_line(
    use, trained: Trained, make_photos: Callable[..., Path], capsys, arguments: str, said: str
) -> None:
    known = {"RUN": trained.tiny, "OTHER": str(make_photos({"blast": 2, "rust": 2}))}
    assert use("evaluate", *(known.get(word, word) for word in arguments.split())) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert list(trained.results.glob("external-*")) == []


def test_the_difference_is_the_external_accuracy_minus_the_own() -> None:
    record = {"test": {"labels": [0, 0, 1, 1, 2], "predictions": [0, 0, 0, 0, 2]}}
    found = _own(record, {0, 1}, hits=1, images=4)
    assert found is not None
    assert (found["accuracy"], found["difference"]) == (0.5, -0.25)
    low, high = found["difference_interval"]
    assert low < -0.25 < high


@pytest.mark.parametrize(
    ("own", "elsewhere", "low", "high", "said"),
    [
        ((48, 80), (56, 70), 0.0524, 0.3339, "better than on its own images"),
        ((56, 70), (48, 80), -0.3339, -0.0524, "worse than on its own images"),
    ],
)
def test_the_interval_of_the_difference_has_its_sign(own, elsewhere, low, high, said) -> None:
    """Newcombe (1998), table II, first contrast, method 10, both ways round."""
    right, images = own
    record = {"test": {"labels": [0] * images, "predictions": [0] * right + [1] * (images - right)}}
    found = _own(record, {0}, hits=elsewhere[0], images=elsewhere[1])
    assert found is not None
    assert found["difference_interval"] == pytest.approx([low, high], abs=5e-5)
    assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1]
    assert transfer(found).endswith(said)
    points = f"{100 * found['difference']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    assert transfer(found).startswith(points)


def test_shares_of_each_class_are_those_that_can_be_counted(
    use, trained: Trained, make_photos: Callable[..., Path], monkeypatch, capsys
) -> None:
    """Six of blast, half taken for hispa; three of hispa, all found; one normal as blast."""
    guesses = [0, 0, 0, 1, 1, 1, 1, 1, 1, 0]

    def planted(models, paths, **_):
        assert len(paths) == len(guesses)
        return Predicted(models[0].classes, np.eye(3, dtype=np.float32)[guesses], {})

    monkeypatch.setattr(external, "predict", planted)
    other = make_photos({"blast": 6, "hispa": 3, "normal": 1})
    assert use("evaluate", trained.tiny, "--data-dir", other) == 0
    record, out = written(trained), capsys.readouterr().out
    assert record["accuracy"] == 0.6
    assert record["macro_f1"] == pytest.approx((0.6 + 2 / 3 + 0) / 3)
    rows = [
        [one[key] for key in ("class", "images", "predicted", "precision", "recall", "f1")]
        for one in record["by_class"]
    ]
    assert rows == [
        ["blast", 6, 4, 0.75, 0.5, pytest.approx(0.6)],
        ["hispa", 3, 6, 0.5, 1.0, pytest.approx(2 / 3)],
        ["normal", 1, 0, None, 0.0, 0.0],
    ]
    table = [line.split() for line in out.splitlines()]
    assert ["class", "images", "precision", "recall", "f1"] in table
    assert ["blast", "6", "0.750", "0.500", "0.600"] in table
    assert ["hispa", "3", "0.500", "1.000", "0.667"] in table
    assert ["normal", "1", "n/a", "0.000", "0.000"] in table
    own = record["own"]
    low, high = difference_of_shares((6, 10), (own["correct"], own["images"]))
    assert own["difference_interval"] == [low, high]
    assert transfer(own) in "\n".join(describe(record))
    assert transfer(own) in out


def test_the_interval_of_the_own_accuracy_is_that_of_its_own_images() -> None:
    record = {"test": {"labels": [0, 0, 1, 1, 2], "predictions": [0, 0, 0, 0, 2]}}
    found = _own(record, {0, 1}, hits=9, images=10)
    assert found is not None
    # Wilson's interval of 2 of 4.
    assert found["interval"] == pytest.approx([0.150039, 0.849961], abs=1e-6)
