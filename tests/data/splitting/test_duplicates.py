from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bench.data.index import ImageIndex, Location, load_index
from bench.data.splitting.duplicates import ROWS, Duplicates, duplicate_groups, find_duplicates

Picture = Callable[[int], Image.Image]


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Soft blobs of colour: another seed, another picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def index_of(root: Path) -> ImageIndex:
    return load_index(Location(root, "class-folders"))


def named(index: ImageIndex, groups: tuple[tuple[int, ...], ...]) -> list[set[str]]:
    return [{index.paths[position] for position in group} for group in groups]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two different pictures each."""
    for number, name in enumerate(("a/0", "a/1", "b/0", "b/1")):
        save(picture(number), tmp_path / "set" / f"{name}.png")
    return tmp_path / "set"


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


def turned_by_tag(image: Image.Image) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned by 90° clockwise
    return image.transpose(Image.Transpose.ROTATE_90), exif


def test_different_pictures_are_no_copies(root: Path) -> None:
    for number in range(100):
        save(picture(100 + number), root / "a" / f"more{number}.png")
    found = find_duplicates(index_of(root))
    assert found.groups == found.exact == ()


def test_exact_copies(root: Path) -> None:
    shutil.copy(root / "a/0.png", root / "a/again.png")
    shutil.copy(root / "a/0.png", root / "b/other.png")
    index = index_of(root)
    found = find_duplicates(index)
    assert named(index, found.exact) == [{"a/0.png", "a/again.png", "b/other.png"}]
    assert found.groups == found.exact


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda image: image, {"quality": 40}),
        (lambda image: image.resize((80, 60)), {"quality": 90}),
        (lambda image: image.resize((900, 675)), {"quality": 90}),
        (brighter, {"quality": 90}),
        (lambda image: image.crop((2, 1, 158, 119)), {"quality": 90}),
    ],
    ids=["saved anew", "smaller", "larger, decoded at a quarter", "brighter", "cut"],
)
def test_near_copies(root: Path, change: Picture, options: dict[str, int]) -> None:
    save(change(picture(0)), root / "b/near.jpg", **options)
    index = index_of(root)
    found = find_duplicates(index)
    assert found.exact == ()
    assert named(index, found.groups) == [{"a/0.png", "b/near.jpg"}]


def test_a_picture_that_is_shown_turned_is_compared_as_shown(root: Path) -> None:
    image, exif = turned_by_tag(picture(0))
    save(image, root / "b/tagged.jpg", exif=exif)
    index = index_of(root)
    assert named(index, find_duplicates(index).groups) == [{"a/0.png", "b/tagged.jpg"}]


def test_copies_of_copies_are_copies(root: Path) -> None:
    save(picture(0), root / "b/jpeg.jpg", quality=60)
    shutil.copy(root / "b/jpeg.jpg", root / "b/jpeg2.jpg")
    index = index_of(root)
    found = find_duplicates(index)
    assert named(index, found.exact) == [{"b/jpeg.jpg", "b/jpeg2.jpg"}]
    assert named(index, found.groups) == [{"a/0.png", "b/jpeg.jpg", "b/jpeg2.jpg"}]
    record = found.as_record(index)
    assert record["exact"] == {"groups": 1, "files": 2, "redundant_files": 1}
    assert record["near"] == {"groups": 1, "files": 3, "redundant_files": 2}
    assert record["groups"] == [["a/0.png", "b/jpeg.jpg", "b/jpeg2.jpg"]]
    assert record["threshold_bits"] == 8
    assert "phash" in record["method"]


def test_flat_pictures_are_not_one_group(root: Path) -> None:
    for grey in range(0, 250, 25):
        save(Image.new("RGB", (60, 40), (grey, grey, grey)), root / "a" / f"flat{grey}.png")
    shutil.copy(root / "a/flat25.png", root / "a/flat25b.png")
    index = index_of(root)
    found = find_duplicates(index)
    assert named(index, found.groups) == [{"a/flat25.png", "a/flat25b.png"}]


def test_faint_shading_does_not_make_plain_pictures_copies(root: Path) -> None:
    """Empty frames of one camera share its shading; that is too little to call them copies."""
    shading = np.linspace(0, 6, 60)[None, :, None] + np.linspace(0, 2, 40)[:, None, None]
    for grey in range(20, 240, 40):
        pixels = (grey + shading).astype(np.uint8).repeat(3, axis=2)
        save(Image.fromarray(pixels), root / "a" / f"plain{grey}.png")
    assert find_duplicates(index_of(root)).groups == ()


def test_colour_alone_makes_another_picture(root: Path) -> None:
    """Discs of equal lightness: the hash sees only that, the thumbnails see the colour."""
    for name, colour in (("red", (179, 0, 0)), ("green", (0, 91, 0))):
        pixels = np.full((96, 96, 3), 128, np.uint8)
        y, x = np.mgrid[:96, :96]
        pixels[(y - 30) ** 2 + (x - 60) ** 2 < 500] = colour
        save(Image.fromarray(pixels), root / "a" / f"{name}.png")
    assert find_duplicates(index_of(root)).groups == ()


def test_what_cannot_be_decoded_is_passed_over(root: Path) -> None:
    for name in ("a/x.jpg", "a/y.jpg"):
        (root / name).touch()
    (root / "b/one.jpg").write_bytes(b"no picture")
    (root / "b/two.jpg").write_bytes(b"no picture either")
    save(picture(9), root / "b/cut.jpg")
    whole = (root / "b/cut.jpg").read_bytes()
    (root / "b/cut.jpg").write_bytes(whole[: len(whole) // 2])
    index = index_of(root)
    (root / "a/1.png").unlink()
    assert find_duplicates(index).groups == ()


def test_the_result_does_not_depend_on_threads_or_blocks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        save(picture(number), root / "b" / f"near{number}.jpg", quality=70)
    one = find_duplicates(index_of(root))
    assert len(one.groups) == 4
    monkeypatch.setattr("bench.data.splitting.duplicates.ROWS", 3)
    assert ROWS > 3
    assert find_duplicates(index_of(root), workers=3) == one


# --- groups ----------------------------------------------------------------------------------


def test_group_and_twins() -> None:
    copies = Duplicates(groups=((0, 3), (2, 5, 6)), exact=((0, 3),))
    assert [copies.group_of(p) for p in range(4)] == [0, None, 1, 0]
    assert copies.leaked((3, 4, 5), (0, 1)) == (3,)
    assert copies.leaked([6, 5, 4], [2]) == (6, 5)
    assert copies.leaked([1, 4], [0, 1, 2, 4]) == ()
    assert copies.leaked([0, 1], []) == ()
    parts = {"train": (0, 1), "valid": (2, 3), "test": (4, 5, 6)}
    assert copies.leaked_between(parts) == {
        ("valid", "train"): (3,), ("test", "train"): (), ("test", "valid"): (5, 6),
    }  # fmt: skip


def test_images_to_keep_together(root: Path) -> None:
    index = attrs.evolve(index_of(root), groups=("p", None, "p", None))
    copies = Duplicates(groups=((2, 3),), exact=())
    plant = duplicate_groups(index)
    assert plant is not None
    assert plant[0] == plant[2]
    assert len(set(plant)) == 3
    both = duplicate_groups(index, copies)
    assert both is not None
    assert both[0] == both[2] == both[3] != both[1]
    bare = attrs.evolve(index, groups=())
    assert duplicate_groups(bare) is None
    assert duplicate_groups(bare, Duplicates(groups=(), exact=())) is None


def test_rice3(rice3: Path) -> None:
    index = index_of(rice3)
    found = find_duplicates(index, workers=2)
    record = found.as_record(index)
    assert record["exact"] == {"groups": 16, "files": 33, "redundant_files": 17}
    assert record["near"] == {"groups": 17, "files": 35, "redundant_files": 18}
    near = [group for group in found.groups if group not in found.exact]
    assert named(index, tuple(near)) == [{"blast/blast_orig_033.JPG", "blast/blast_orig_035.JPG"}]
