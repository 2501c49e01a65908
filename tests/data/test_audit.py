from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench.cli.main import main
from bench.data.audit import LISTED, across_classes, across_parts, audit
from bench.data.index import ImageIndex, Location, load_index
from bench.data.splitting.duplicates import Duplicates
from bench.data.splitting.splits import Split, split

Folders = Callable[..., Path]


def index_of(root: Path) -> ImageIndex:
    return load_index(Location(root, "class-folders"))


@pytest.fixture
def messy(folders: Folders) -> ImageIndex:
    """a: 000, 001, copy of 000; b: 000, 001, copy of a/000, broken; one size differs."""
    root = folders({"aa": 2, "b": 2})
    shutil.copy(root / "aa/000.png", root / "aa/copy.png")
    shutil.copy(root / "aa/000.png", root / "b/copy.png")
    (root / "b/broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (20, 10)).save(root / "b/large.png")
    return index_of(root)


def test_unreadable_sizes_and_duplicates(messy: ImageIndex) -> None:
    found = audit(messy)
    assert found.unreadable == (("b/broken.jpg", "not an image of a known format"),)
    assert found.image_sizes == {"8×6": 6, "20×10": 1}
    assert [group.paths for group in found.duplicates] == [
        ("aa/000.png", "aa/copy.png", "b/copy.png")
    ]
    assert found.duplicates[0].classes == ("aa", "b")
    assert across_classes(found.duplicates) == [*found.duplicates]
    assert across_parts(found.duplicates) == []
    assert found.imbalance_ratio == pytest.approx(5 / 3)
    assert found.part_counts == {}


def test_same_size_is_not_yet_a_duplicate(folders: Folders) -> None:
    root = folders({"a": 2, "b": 2})
    for number, name in enumerate(("a/000.png", "a/001.png", "b/000.png", "b/001.png")):
        (root / name).write_bytes(bytes([number]) * 10)
    found = audit(index_of(root), workers=3)
    assert found.duplicates == ()
    assert len(found.unreadable) == 4


def test_empty_files_are_unreadable_not_duplicates(folders: Folders) -> None:
    root = folders({"a": 2, "b": 1})
    for name in ("a/x.jpg", "a/y.jpg"):
        (root / name).touch()
    found = audit(index_of(root))
    assert found.duplicates == ()
    assert [why for _, why in found.unreadable] == ["the file is empty"] * 2


def test_groups_across_parts(messy: ImageIndex) -> None:
    first, copy = messy.paths.index("aa/000.png"), messy.paths.index("aa/copy.png")
    rest = tuple(i for i in range(len(messy)) if i not in (first, copy))
    apart = audit(messy, Split((first, copy), rest, ()).as_dict())
    assert apart.duplicates[0].parts == ("train", "valid")
    assert across_parts(apart.duplicates) == [*apart.duplicates]
    together = audit(messy, Split((first, *rest), (), (copy,)).as_dict())
    assert together.duplicates[0].parts == ("train", "test")
    everything = audit(messy, {"train": range(len(messy))})
    assert across_parts(everything.duplicates) == []
    assert everything.part_counts == {"train": {"aa": 3, "b": 5}}


def test_own_parts_are_used_without_a_split(folders: Folders) -> None:
    root = folders({"train/a": 1, "train/b": 1, "valid/a": 0})
    shutil.copy(root / "train/a/000.png", root / "valid/a/again.png")
    found = audit(load_index(Location(root, "split-folders")))
    assert across_parts(found.duplicates)[0].paths == ("train/a/000.png", "valid/a/again.png")
    assert found.part_counts == {"train": {"a": 1, "b": 1}, "valid": {"a": 1, "b": 0}}


def test_progress_counts_to_the_end(messy: ImageIndex) -> None:
    seen: list[tuple[int, int]] = []
    audit(messy, workers=2, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, len(messy)) for i in range(1, len(messy) + 1)]


def test_interruption_ends_the_audit(messy: ImageIndex) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(messy, on_progress=stop)


def test_result_does_not_depend_on_the_workers(messy: ImageIndex) -> None:
    assert audit(messy, workers=1) == audit(messy, workers=4)


def test_as_dict_is_json(messy: ImageIndex) -> None:
    got = json.loads(json.dumps(audit(messy).as_dict()))
    assert got["images"] == 8
    assert got["images_by_class"] == {"aa": 3, "b": 5}
    assert got["bytes"] == sum(messy.file_sizes)
    assert got["images_by_width_x_height_pixels"] == {"8×6": 6, "20×10": 1}
    assert got["unreadable"][0]["path"] == "b/broken.jpg"
    duplicates = got["duplicates"]
    assert (duplicates["groups"], duplicates["files"], duplicates["redundant_files"]) == (1, 3, 2)
    assert (duplicates["groups_across_parts"], duplicates["groups_across_classes"]) == (0, 1)
    assert duplicates["list"][0]["paths"] == ["aa/000.png", "aa/copy.png", "b/copy.png"]


def test_text_says_it_all(messy: ImageIndex) -> None:
    text = audit(messy, Split((0, 1, 2), (3, 4, 5), (6, 7)).as_dict()).render_text()
    lines = text.splitlines()
    assert "8 in 2 classes" in text
    assert "8×6 (6), 20×10 (1)" in text
    assert "1.67 (largest class / smallest)" in text
    assert "  b/broken.jpg: not an image of a known format" in lines
    assert "1 group of identical files: 3 files, 2 redundant" in text
    assert "aa/000.png = aa/copy.png = b/copy.png" in text
    table = [line for line in lines if line.split()[:1] in (["class"], ["aa"], ["b"], ["total"])]
    assert [line.split() for line in table] == [
        ["class", "images", "train", "valid", "test"],
        ["aa", "3", "3", "0", "0"],
        ["b", "5", "0", "3", "2"],
        ["total", "8", "3", "3", "2"],
    ]
    assert len({len(line) for line in table}) == 1


def test_text_shows_hostile_names_harmlessly_and_marks_synthetic(folders: Folders) -> None:
    root = folders({"a\x1b[31m\nb": 1, "c": 1, ".": 1})
    (root / "synthetic.json").touch()
    text = audit(load_index(Location(root, "synthetic"))).render_text()
    assert "a\\x1b[31m\\nb" in text
    assert "\x1b" not in text
    assert "SYNTHETIC" in text
    assert "warning" in text


def test_near_copies_are_shown_on_their_own(messy: ImageIndex) -> None:
    paths = messy.paths
    pairs = tuple(
        tuple(sorted((paths.index(one), paths.index(other))))
        for one, other in (("aa/000.png", "aa/copy.png"), ("b/000.png", "b/large.png"))
    )
    copies = Duplicates(groups=pairs, exact=pairs[:1])
    found = audit(
        messy,
        {"fold 1": pairs[1][:1], "fold 2": (*pairs[0], pairs[1][1])},
        copies=copies,
        warnings=["mind\nthis"],
    )
    assert [group.paths for group in found.duplicates] == [("aa/000.png", "aa/copy.png")]
    assert [group.paths for group in found.near] == [("b/000.png", "b/large.png")]
    assert found.near[0].parts == ("fold 1", "fold 2")
    text = found.render_text()
    assert "1 group of images that look the same (within 8 bits): 2 files, 1 redundant" in text
    assert "  b/000.png ~ b/large.png [parts: fold 1, fold 2]" in text.splitlines()
    assert "warning      mind\\nthis" in text.splitlines()
    got = found.as_dict()
    assert got["images_by_part_and_class"]["fold 2"] == {"aa": 2, "b": 1}
    assert got["duplicates"]["groups_across_parts"] == 0
    near = got["near_duplicates"]
    assert (near["groups"], near["groups_across_parts"], near["threshold_bits"]) == (1, 1, 8)
    assert near["list"][0]["paths"] == ["b/000.png", "b/large.png"]
    assert got["copies"] == {"groups": 2, "files": 4, "redundant_files": 2}
    assert got["warnings"] == ["mind\nthis"]
    assert "across parts 1 of 3 fold 2 images have a copy in fold 1" in text.splitlines()
    assert got["images_with_copy_in_another_part"] == [
        {"part": "fold 2", "copy_in": "fold 1", "images": ["b/large.png"]}
    ]


def test_long_lists_are_cut_and_say_so(folders: Folders) -> None:
    root = folders({"a": 1, "b": 1})
    for number in range(LISTED + 7):
        (root / "a" / f"bad{number:02}.jpg").touch()
    text = audit(index_of(root)).render_text()
    assert "… and 7 more" in text
    assert text.count("the file is empty") == LISTED


def test_the_command_shows_folds_and_keeps_copies_together(
    messy: ImageIndex, draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        draw(messy.root / ("aa", "b")[number % 2] / f"more{number}.png", seed=500 + number)
    for number in range(2):
        for name in ("aa", "b"):
            shutil.copy(
                messy.root / name / f"{number:03}.png", messy.root / name / f"z{number}.png"
            )
    folder = ["data", "--data-dir", str(messy.root), "--folds", "3", "--json"]
    assert main([*folder, "--dedup", "group"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["dedup"], got["folds"]) == ("group", 3)
    assert list(got["images_by_part_and_class"]) == ["fold 1", "fold 2", "fold 3"]
    assert got["duplicates"]["groups_across_parts"] == 0
    assert got["duplicates"]["groups"] == 4
    assert got["near_duplicates"]["groups"] == 0
    assert any("several classes" in line for line in got["warnings"])
    assert main(["data", "--data-dir", str(messy.root), "--folds", "20"]) == 2
    assert "--folds 20 needs 20 images in every class" in capsys.readouterr().err


def test_rice3_duplicates(rice3: Path) -> None:
    index = index_of(rice3)
    parts = split(index, valid_fraction=0.15, test_fraction=0.1, seed=0)
    found = audit(index, parts.as_dict(), workers=2)
    assert len(found.duplicates) == 16
    assert sum(len(group.paths) for group in found.duplicates) == 33
    assert found.as_dict()["duplicates"]["redundant_files"] == 17
    assert {group.classes for group in found.duplicates} == {("bacterial_leaf_blight",)}
    assert across_classes(found.duplicates) == []
    assert found.unreadable == ()
    assert found.image_sizes == {"300×300": 235}
