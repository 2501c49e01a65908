from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from bench.data.index import ImageIndex, Location, find_data, load_index
from bench.errors import BenchError

Folders = Callable[..., Path]


def found(root: Path, layout: str | None = None) -> ImageIndex:
    location = find_data(root, cwd=Path("nowhere"), kaggle_root=Path("nowhere"))
    assert location is not None
    assert layout is None or location.layout == layout
    index = load_index(location)
    assert list(index.paths) == sorted(index.paths)
    for position in range(len(index)):
        assert os.stat(index.path(position)).st_size == index.file_sizes[position]
    return index


def refused(root: Path) -> str:
    with pytest.raises(BenchError) as caught:
        found(root)
    message = str(caught.value)
    assert "\n" not in message
    assert ": " in message  # what is wrong: and the mend
    return message


def write_csv(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def kaggle(folders: Folders, name: str = "set") -> Path:
    root = folders({"train_images/blast": 2, "train_images/hispa": 1, "test_images": 2}, name)
    rows = [["image_id", "label", "variety", "age"]]
    rows += [[f"00{i}.png", "blast", "ADT45", "45"] for i in range(2)]
    write_csv(root / "train.csv", [*rows, ["000.png", "hispa", "KarnatakaPonni", "70"]])
    return root


# --- one folder per class --------------------------------------------------------------------


def test_class_folders(folders: Folders) -> None:
    root = folders({"tungro": 2, "blast": 1, "blast/deep/er": 1})
    index = found(root, "class-folders")
    assert index.classes == ("blast", "tungro")
    assert index.paths == (
        "blast/000.png",
        "blast/deep/er/000.png",
        "tungro/000.png",
        "tungro/001.png",
    )
    assert index.labels == (0, 0, 1, 1)
    assert index.parts == (None,) * 4
    assert index.root == root
    assert not index.synthetic
    assert index.warnings == ()
    assert index.counts() == {"blast": 2, "tungro": 2}
    assert index.counts([3]) == {"blast": 0, "tungro": 1}
    assert len(index) == 4


def test_synthetic_marker_makes_it_synthetic(folders: Folders) -> None:
    root = folders({"a": 1, "b": 1})
    (root / "synthetic.json").write_text("{}")
    assert found(root, "synthetic").synthetic


def test_other_and_hidden_files_are_ignored(folders: Folders, tmp_path: Path) -> None:
    root = folders({"a": 1, "b": 1, ".cache": 1, "__MACOSX": 1, "a/.hidden": 1})
    (root / "a" / "Thumbs.db").write_text("x")
    (root / "a" / "._000.png").write_text("x")
    (root / "a" / "UPPER.JPG").write_text("x")
    (root / "README.md").write_text("x")
    assert found(root).paths == ("a/000.png", "a/UPPER.JPG", "b/000.png")


def test_images_outside_class_folders_are_warned_of(folders: Folders) -> None:
    index = found(folders({"a": 1, "b": 1, ".": 3}))
    assert len(index) == 2
    assert "3 image(s)" in index.warnings[0]


def test_class_names_are_kept_but_for_outer_blanks(folders: Folders) -> None:
    index = found(folders({" b ": 1, "<script>|`x`": 1, "lá\nlúa": 1}))
    assert index.classes == ("<script>|`x`", "b", "lá\nlúa")
    assert " b /000.png" in index.paths


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_text_are_warned_of(folders: Folders) -> None:
    root = folders({"a": 1, "b": 1})
    shutil.copy(root / "a" / "000.png", os.fsencode(root / "a") + b"/\xff.png")
    index = found(root)
    assert len(index) == 2
    assert "xff.png" in index.warnings[0]


def test_links_in_circles_end_and_linked_folders_count_once(folders: Folders) -> None:
    root = folders({"a": 1, "b": 1})
    folders({"elsewhere": 2}, "other")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "more").symlink_to(root.parent / "other" / "elsewhere")
    index = found(root)
    inside_b = [path for path in index.paths if path.startswith("b/")]
    assert inside_b == ["b/000.png", "b/more/000.png", "b/more/001.png"]


def test_link_to_nothing_is_listed_not_lost(folders: Folders) -> None:
    root = folders({"a": 1, "b": 1})
    (root / "a" / "gone.jpg").symlink_to(root / "nothing.jpg")
    index = load_index(Location(root, "class-folders"))
    assert index.paths[1] == "a/gone.jpg"
    assert index.file_sizes[1] == 0


def test_class_folder_without_images_is_named(folders: Folders) -> None:
    assert "'" + "empty" in refused(folders({"a": 1, "b": 1, "empty": 0})).replace("/", "'")


def test_one_class_only(folders: Folders) -> None:
    assert "one class only ('a')" in refused(folders({"a": 2, "b": 0}))


def test_images_without_folders_have_no_labels(folders: Folders) -> None:
    assert "no labels" in refused(folders({".": 2}))


def test_missing_empty_and_file(tmp_path: Path) -> None:
    assert "no such data folder" in refused(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "no labelled images" in refused(tmp_path / "empty")
    (tmp_path / "file.zip").write_text("x")
    assert "is a file" in refused(tmp_path / "file.zip")


# --- train, valid, test ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["valid", "val", "validation", "Valid"])
def test_split_folders(folders: Folders, name: str) -> None:
    index = found(
        folders({"train/a": 2, "train/b": 1, f"{name}/a": 1, f"{name}/b": 1, "test/b": 1}),
        "split-folders",
    )
    assert index.classes == ("a", "b")
    placed = dict(zip(index.paths, index.parts, strict=True))
    assert placed == {
        "train/a/000.png": "train",
        "train/a/001.png": "train",
        "train/b/000.png": "train",
        f"{name}/a/000.png": "valid",
        f"{name}/b/000.png": "valid",
        "test/b/000.png": "test",
    }
    assert ["no images of 'a'" in warning for warning in index.warnings] == [True]


def test_unlabelled_test_folder_is_warned_of(folders: Folders) -> None:
    index = found(folders({"train/a": 1, "train/b": 1, "test": 3}))
    assert set(index.parts) == {"train"}
    assert "unlabelled" in index.warnings[0]


def test_other_folders_beside_train_are_warned_of(folders: Folders) -> None:
    index = found(folders({"train/a": 1, "train/b": 1, "raw": 3}))
    assert len(index) == 2
    assert "'raw'" in index.warnings[0]


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"train/a": 1, "train/b": 1, "valid/c": 1}, "class 'c', which train lacks"),
        ({"train/a": 1, "train/b": 1, "valid/a": 1, "val/a": 1}, "keep one"),
        ({"train/a": 1, "train/b": 1, "valid": 2}, "valid/<class>/"),
        ({"train": 2, "valid/a": 1}, "train/<class>/"),
        ({"train/a": 1, "train/b": 0}, "has no images"),
        ({"train/a": 1, "valid/a": 1}, "one class only"),
        ({"valid/a": 1, "test/a": 1}, "no train/"),
    ],
)
def test_split_folders_refused(folders: Folders, counts: dict[str, int], named: str) -> None:
    assert named in refused(folders(counts))


# --- Kaggle ----------------------------------------------------------------------------------


def test_kaggle(folders: Folders) -> None:
    index = found(kaggle(folders), "kaggle")
    assert index.classes == ("blast", "hispa")
    assert index.paths == (
        "train_images/blast/000.png",
        "train_images/blast/001.png",
        "train_images/hispa/000.png",
    )
    assert index.labels == (0, 0, 1)
    assert index.parts == (None,) * 3
    assert index.warnings == ()


def test_kaggle_table_with_mark_blank_lines_and_blanks(folders: Folders) -> None:
    root = kaggle(folders)
    text = (root / "train.csv").read_text()
    text = "\ufeff" + text.replace("blast", " blast ") + "\r\n\r\n"
    (root / "train.csv").write_text(text, encoding="utf-8")
    assert len(found(root)) == 3


def test_kaggle_unlisted_and_repeated_images_are_warned_of(folders: Folders) -> None:
    root = kaggle(folders)
    with (root / "train.csv").open("a") as file:
        file.write("000.png,blast,ADT45,45\n")
    shutil.copy(root / "train_images/blast/000.png", root / "train_images/blast/extra.png")
    index = found(root)
    assert len(index) == 3
    assert "1 repeated row(s)" in index.warnings[0]
    assert "1 image(s) in train_images/ not named" in index.warnings[1]


def test_kaggle_missing_files_are_counted_and_named(folders: Folders) -> None:
    root = kaggle(folders)
    with (root / "train.csv").open("a") as file:
        file.writelines(f"9{i}.png,blast,ADT45,45\n" for i in range(5))
        file.write("../../x.png,blast,ADT45,45\n")
    message = refused(root)
    assert "names 6 file(s) that are not there" in message
    assert "train_images/blast/90.png" in message
    assert "…" in message


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("image_id,variety\n000.png,x\n", "lacks the column 'label'"),
        ("", "lacks the column 'image_id', 'label'"),
        ("image_id,label\n000.png,\n", "line 2"),
        ("image_id,label\n000.png\n", "line 2"),
        ("image_id,label\n", "no labelled images"),
        ("image_id,label\n000.png,blast\n", "one class only"),
        (b"image_id,label\n\xff\xfe,blast\n", "UTF-8"),
        ("image_id,label\n" + "x" * 200_000 + ",blast\n", "cannot be read"),
    ],
)
def test_kaggle_table_refused(folders: Folders, table: str | bytes, named: str) -> None:
    root = kaggle(folders)
    (root / "train.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    assert named in refused(root)


def test_kaggle_halves(folders: Folders) -> None:
    root = kaggle(folders)
    (root / "train.csv").rename(root / "labels.csv")
    assert "no train.csv" in refused(root)
    other = folders({"x": 0}, "other")
    shutil.copy(root / "labels.csv", other / "train.csv")
    assert "no train_images/" in refused(other)


# --- metadata.csv ----------------------------------------------------------------------------


def metadata(folders: Folders, rows: list[list[str]], ids: object = None) -> Path:
    root = folders({"images": 4})
    write_csv(root / "metadata.csv", [["path", "label", "split"], *rows])
    if ids is not None:
        (root / "label2id.json").write_text(ids if isinstance(ids, str) else json.dumps(ids))
    return root


ROWS = [
    ["images/000.png", "b", "train"],
    ["images\\001.png", "a", "train"],
    ["./images/x/../002.png", "b", "val"],
    ["images/003.png", "a", "TEST"],
]


def test_metadata(folders: Folders) -> None:
    index = found(metadata(folders, ROWS), "metadata-csv")
    assert index.paths == tuple(f"images/00{i}.png" for i in range(4))
    assert index.classes == ("a", "b")
    assert index.labels == (1, 0, 1, 0)
    assert index.parts == ("train", "train", "valid", "test")


def test_label2id_gives_the_order(folders: Folders) -> None:
    index = found(metadata(folders, ROWS, {"b": 0, "a": 1}))
    assert index.classes == ("b", "a")
    assert index.labels == (0, 1, 0, 1)


def test_metadata_without_split(folders: Folders) -> None:
    index = found(metadata(folders, [[path, label, ""] for path, label, _ in ROWS]))
    assert index.parts == (None,) * 4
    root = folders({"images": 4})
    write_csv(root / "metadata.csv", [["label", "path"], ["a", ROWS[0][0]], ["b", ROWS[3][0]]])
    assert found(root).parts == (None,) * 2


def test_metadata_groups(folders: Folders) -> None:
    root = metadata(folders, ROWS)
    bare = found(root)
    assert bare.groups == ()
    groups = ["plant 1", "", " plant 1 ", "plant 2"]
    lines = [[*row, group] for row, group in zip(ROWS, groups, strict=True)]
    write_csv(root / "metadata.csv", [["path", "label", "split", "group"], *lines])
    index = found(root)
    assert index.groups == ("plant 1", None, "plant 1", "plant 2")
    assert index.fingerprint != bare.fingerprint
    write_csv(root / "metadata.csv", [["path", "label", "split", "group"], *lines, [*ROWS[0], "x"]])
    assert "different label, split or group" in refused(root)


def test_metadata_repeated_row_is_used_once(folders: Folders) -> None:
    index = found(metadata(folders, [*ROWS, ROWS[0]]))
    assert len(index) == 4
    assert "1 repeated row(s)" in index.warnings[0]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (["images/000.png", "b", "dev"], "unknown split 'dev'"),
        (["../secret.png", "b", "train"], "must lie in"),
        (["images/../../secret.png", "b", "train"], "must lie in"),
        (["/etc/secret.png", "b", "train"], "must lie in"),
        (["C:\\secret.png", "b", "train"], "must lie in"),
        (["", "b", "train"], "must lie in"),
        (["images/999.png", "b", "train"], "names 1 file(s) that are not there"),
        (["images", "b", "train"], "names 1 file(s) that are not there"),
        (["images/0\0.png", "b", "train"], "names 1 file(s) that are not there"),
        (["images/000.png", "", "train"], "no label"),
        (["images/000.png", "b", "test"], "listed twice"),
        (["images/000.png", "a", "train"], "listed twice"),
        (["images/x/../000.png", "a", "train"], "listed twice"),
        (["images/009.png", "a", ""], "names 1 file(s)"),
    ],
)
def test_metadata_row_refused(folders: Folders, row: list[str], named: str) -> None:
    message = refused(metadata(folders, [*ROWS, row]))
    assert named in message
    assert "line 6" in message or "names" in message


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([[*ROWS[0][:2], ""], *ROWS[1:]], "some rows only"),
        ([[path, label, "test"] for path, label, _ in ROWS], "no row with split train"),
        ([*ROWS[:3], [ROWS[3][0], "c", "test"]], "class 'c', which train lacks"),
        ([], "no labelled images"),
    ],
)
def test_metadata_refused(folders: Folders, rows: list[list[str]], named: str) -> None:
    assert named in refused(metadata(folders, rows))


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ({"a": 0}, "line 2: label 'b' is not in label2id.json"),
        ({"a": 0, "b": 1, "c": 2}, "names 'c'"),
        ({"a": 1, "b": 2}, "0, 1, 2"),
        ({"a": 0, "b": True}, "0, 1, 2"),
        ({"a": 0, "b": "1"}, "0, 1, 2"),
        (["a", "b"], "0, 1, 2"),
        ({"a": 0, "a ": 1, "b": 2}, "twice"),
        ("{", "cannot be read"),
    ],
)
def test_label2id_refused(folders: Folders, ids: object, named: str) -> None:
    assert named in refused(metadata(folders, ROWS, ids))


def test_metadata_lacking_columns(folders: Folders) -> None:
    root = folders({"images": 2})
    write_csv(root / "metadata.csv", [["file_name", "label"], ["images/000.png", "a"]])
    assert "lacks the column 'path'" in refused(root)


# --- where data is looked for ----------------------------------------------------------------


def test_nothing_given_and_nothing_there(tmp_path: Path) -> None:
    assert find_data(None, cwd=tmp_path, kaggle_root=tmp_path / "kaggle") is None


@pytest.mark.parametrize("counts", [{"data": 0}, {"data/a": 3}, {"data/train": 0, "data/test": 0}])
def test_data_folder_of_another_kind_is_passed_over(
    folders: Folders, counts: dict[str, int]
) -> None:
    root = folders(counts)
    assert find_data(None, cwd=root, kaggle_root=root / "kaggle") is None


def test_own_data_folder_comes_before_kaggles(folders: Folders) -> None:
    root = folders({"data/a": 1, "data/b": 1})
    assert find_data(None, cwd=root, kaggle_root=root) == Location(root / "data", "class-folders")


@pytest.mark.parametrize(
    "place",
    [
        "paddy-disease-classification",
        "competitions/paddy-disease-classification",
        "some-user/copy-of-paddy/files",
        "zzz",
    ],
)
def test_kaggles_input_is_found_by_itself(folders: Folders, tmp_path: Path, place: str) -> None:
    made = kaggle(folders)
    target = tmp_path / "input" / place
    target.parent.mkdir(parents=True)
    made.rename(target)
    (tmp_path / "input" / "other-data" / "train_images").mkdir(parents=True)
    location = find_data(None, cwd=tmp_path, kaggle_root=tmp_path / "input")
    assert location == Location(target, "kaggle")


def test_kaggles_input_is_not_searched_deeper(folders: Folders, tmp_path: Path) -> None:
    made = kaggle(folders)
    target = tmp_path / "input" / "1" / "2" / "3" / "4"
    target.parent.mkdir(parents=True)
    made.rename(target)
    assert find_data(None, cwd=tmp_path, kaggle_root=tmp_path / "input") is None


def test_given_folder_may_hold_kaggles_in_a_subfolder(folders: Folders, tmp_path: Path) -> None:
    made = kaggle(folders)
    made.rename(tmp_path / "inner")
    (tmp_path / "data").mkdir()
    (tmp_path / "inner").rename(tmp_path / "data" / "paddy")
    assert found(tmp_path / "data", "kaggle").root == tmp_path / "data" / "paddy"


# --- fingerprint and speed -------------------------------------------------------------------


def test_fingerprint_is_of_the_content_listed(folders: Folders, tmp_path: Path) -> None:
    root = folders({"a": 2, "b": 2})
    first = found(root).fingerprint
    assert len(first) == 32
    copy = tmp_path / "copy"
    for name in ("b/001.png", "a/001.png", "b/000.png", "a/000.png"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    assert found(copy).fingerprint == first


def test_fingerprint_changes_with_name_size_label_and_part(folders: Folders) -> None:
    seen = {found(metadata(folders, ROWS)).fingerprint}
    relabelled = [[ROWS[0][0], "a", "train"], [ROWS[1][0], "b", "train"], *ROWS[2:]]
    seen.add(found(metadata(folders, relabelled)).fingerprint)
    moved = [[*ROWS[0][:2], "train"], ROWS[1], [*ROWS[2][:2], "test"], ROWS[3]]
    seen.add(found(metadata(folders, moved)).fingerprint)
    root = metadata(folders, ROWS)
    with (root / "images/000.png").open("ab") as file:
        file.write(b"x")
    seen.add(found(root).fingerprint)
    seen.add(found(metadata(folders, ROWS[:2])).fingerprint)
    assert len(seen) == 5


def test_index_is_frozen(folders: Folders) -> None:
    index = found(folders({"a": 1, "b": 1}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        index.layout = "kaggle"  # type: ignore[misc]


def test_ten_thousand_images_are_listed_in_seconds(tmp_path: Path) -> None:
    rows = [["image_id", "label"]]
    for label in "abcdefghij":
        (tmp_path / "train_images" / label).mkdir(parents=True)
        for number in range(1_000):
            (tmp_path / "train_images" / label / f"{number}.jpg").touch()
            rows.append([f"{number}.jpg", label])
    write_csv(tmp_path / "train.csv", rows)
    started = time.perf_counter()
    assert len(load_index(Location(tmp_path, "kaggle"))) == 10_000
    assert time.perf_counter() - started < 2


def test_rice3(rice3: Path) -> None:
    index = found(rice3, "class-folders")
    assert index.counts() == {"bacterial_leaf_blight": 82, "blast": 57, "brown_spot": 96}
