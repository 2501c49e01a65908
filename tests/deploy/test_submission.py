"""Ids, columns and order of a submission are those of its template."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest

from bench.deploy.submission import find_images, read_template
from bench.errors import BenchError
from bench.system import files
from bench.system.files import new_file, refuse_existing
from tests.conftest import write_photos
from tests.deploy.conftest import Trained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``c/000.png`` to ``c/003.png``."""
    return write_photos(tmp_path / "unlabelled", {"c": 4}, size=(8, 8))


def template(path: Path, *ids: str, header: str = "image_id,label") -> Path:
    path.write_text("\n".join([header, *(f"{one}," for one in ids)]) + "\n")
    return path


@pytest.mark.parametrize("form", ["c/00{}.png", "00{}.png", "00{}"])
def test_ids_may_be_paths_names_or_stems(folder: Path, tmp_path: Path, form: str) -> None:
    wanted = [form.format(number) for number in (2, 0, 3, 1)]
    found = find_images(folder, template(tmp_path / "t.csv", *wanted, header="id,class"))
    assert found.columns == ("id", "class")
    assert list(found.ids) == wanted
    assert [path.name for path in found.paths] == ["002.png", "000.png", "003.png", "001.png"]


def test_kaggles_folder_means_its_test_images(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "kaggle"
    write_photos(root / "train_images", {"blast": 2}, size=(8, 8))
    folder.rename(root / "test_images")
    for place in (root, root / "test_images"):
        assert [path.name for path in find_images(place, None).paths] == [
            "000.png", "001.png", "002.png", "003.png"
        ]  # fmt: skip
    template(root / "sample_submission.csv", "003.png", "000.png")
    for place in (root, root / "test_images"):
        found = find_images(place, None)
        assert list(found.ids) == ["003.png", "000.png"]
        assert "2 image(s)" in found.notes[1]
        assert str(root / "sample_submission.csv") in found.notes[0]
    own = template(tmp_path / "own.csv", "001.png")
    assert list(find_images(root, own).ids) == ["001.png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "two columns"),
        ("image_id\n1.png\n", "two columns"),
        ("image_id,label,more\n1.png,,\n", "two columns"),
        ("image_id,\n1.png,\n", "two columns"),
        ("a,a\n1.png,\n", "two columns"),
        ("image_id,label\n", "no rows"),
        ("image_id,label\n,x\n", "without id"),
        ("image_id,label\n1.png,\n1.png,\n", "'1.png' twice"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("image_id,label\n" + "x" * 200_000 + ",\n", "cannot be read"),
    ],
)
def test_a_template_that_is_none(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BenchError, match=said) as error:
        read_template(path)
    assert "\n" not in str(error.value)


def test_a_template_with_other_ids(folder: Path, tmp_path: Path) -> None:
    other = template(tmp_path / "t.csv", "000.png", "xyz.png", "zzz.png")
    with pytest.raises(BenchError, match=r"2 image.*'xyz\.png', 'zzz\.png'"):
        find_images(folder, other)


def test_names_that_are_not_alone_are_not_guessed(folder: Path, tmp_path: Path) -> None:
    write_photos(folder / "more", {"d": 1}, size=(8, 8))
    with pytest.raises(BenchError, match=r"none or several.*'000\.png'"):
        find_images(folder, template(tmp_path / "t.csv", "000.png"))
    found = find_images(folder, template(tmp_path / "t.csv", "more/d/000.png"))
    assert [str(path.relative_to(folder)) for path in found.paths] == ["more/d/000.png"]


def test_nothing_to_predict(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file or folder"):
        find_images(tmp_path / "nowhere", None)
    with pytest.raises(BenchError, match="holds no images"):
        find_images(tmp_path, None)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BenchError, match="holds no images"):
        find_images(tmp_path / "notes.txt", None)


def test_no_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    refuse_existing(path, "--out")
    refuse_existing(None, "--out")
    path.write_text("mine")
    with pytest.raises(BenchError, match=r"--out .* is there already"):
        refuse_existing(path, "--out")
    with pytest.raises(BenchError, match="there is no folder"):
        refuse_existing(tmp_path / "no" / "s.csv", "--out")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BenchError, match="is there already"):
        refuse_existing(tmp_path / "link.csv", "--out")
    with pytest.raises(BenchError, match="is there already"), new_file(path) as part:
        part.write_text("theirs")
    assert path.read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.csv", "s.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BenchError, match="is not writable"):
        refuse_existing(tmp_path / "s.csv", "--out")
    tmp_path.chmod(0o755)


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> None:
        with new_file(tmp_path / "a") as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()

    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(files.os, "link", no_links)
    with new_file(tmp_path / "b") as part:
        part.write_text("whole")
    assert (tmp_path / "b").read_text() == "whole"
    with pytest.raises(FileExistsError), new_file(tmp_path / "b") as part:
        part.write_text("other")
    assert (tmp_path / "b").read_text() == "whole"

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="no space"), new_file(tmp_path / "c") as part:
        part.write_text("whole")
    assert [one.name for one in tmp_path.iterdir()] == ["b"]


def test_one_image_is_no_submission(tmp_path: Path, folder: Path) -> None:
    template(folder.parent / "sample_submission.csv", "000.png", "001.png")
    found = find_images(folder / "c" / "002.png", None)
    assert (found.ids, found.columns) == (("002.png",), ("image_id", "label"))
    assert find_images(folder / "c", None).ids[0] == "000.png"
    assert len(find_images(folder / "c", None).ids) == 4
    assert len(find_images(folder, None).ids) == 2


def test_the_folder_above_is_found_from_within(folder: Path, monkeypatch) -> None:
    template(folder.parent / "sample_submission.csv", "000.png")
    monkeypatch.chdir(folder)
    assert len(find_images(Path(), None).ids) == 1


def test_a_submission_is_written_by_its_template(use, trained: Trained, folder: Path) -> None:
    wanted = template(Path("t.csv"), "003", "001", header="id,disease")
    assert use("predict", trained.tiny, folder, "--out", "s.csv", "--template", wanted) == 0
    with Path("s.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["id", "disease"]
    assert [one for one, _ in table[1:]] == ["003", "001"]
    assert {label for _, label in table[1:]} <= {"blast", "hispa", "normal"}
    assert [path.name for path in Path().iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("RUN IMAGES --out there.csv", "--out there.csv is there already"),
        ("RUN IMAGES --out s.csv --probabilities there.csv", "--probabilities there.csv is there"),
        ("RUN IMAGES --out s.csv --probabilities s.csv", "name one file"),
        ("RUN IMAGES --out no/s.csv", "there is no folder no"),
        ("RUN empty --out s.csv", "empty holds no images"),
        ("RUN nowhere --out s.csv", "no such file or folder: nowhere"),
        ("RUN --out s.csv", "give RUN IMAGES"),
        ("RUN IMAGES more --out s.csv", "give RUN IMAGES"),
        ("RUN IMAGES --out s.csv --runs RUN", "give IMAGES before --runs"),
        ("IMAGES --out s.csv --runs RUN RUN", "twice"),
        ("unknown IMAGES --out s.csv", "no run 'unknown'"),
        ("RUN IMAGES", "--out"),
        ("RUN IMAGES --out s.csv --batch-size 0", "--batch-size must be from 1"),
        ("RUN IMAGES --out s.csv --tta all", "--tta"),
        ("RUN IMAGES --out s.csv --template other.csv", "asks for 1 image"),
        ("RUN IMAGES --out s.csv --template none.csv", "none.csv cannot be read"),
    ],
)
def test_mistakes_are_one_line(use, trained: Trained, capsys, arguments: str, said: str) -> None:
    Path("there.csv").write_text("mine")
    Path("empty").mkdir()
    template(Path("other.csv"), "xyz.png")
    known = {"RUN": trained.tiny, "IMAGES": str(trained.photos)}
    assert use("predict", *(known.get(word, word) for word in arguments.split())) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert Path("there.csv").read_text() == "mine"
    assert not Path("s.csv").exists()
