"""The drawn set: deterministic, imbalanced, neither trivial nor hopeless."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.images import square
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.splitting.duplicates import find_duplicates
from bench.data.synthetic import dataset as synthetic
from bench.data.synthetic.dataset import (
    CLASSES,
    cached_synthetic,
    class_counts,
    draw_image,
    write_synthetic,
)
from bench.errors import BenchError
from tests.support.drawings import draw_quickly


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    """300 images."""
    root = tmp_path_factory.mktemp("deep") / "set"
    write_synthetic(root, 300, seed=2)
    return load_index(find_data(root, cwd=root))


def test_the_ten_classes_and_their_imbalance() -> None:
    assert CLASSES == (
        "bacterial_leaf_blight",
        "bacterial_leaf_streak",
        "bacterial_panicle_blight",
        "blast",
        "brown_spot",
        "dead_heart",
        "downy_mildew",
        "hispa",
        "normal",
        "tungro",
    )
    counts = class_counts(1000)
    assert sum(counts) == 1000
    assert max(counts) == counts[CLASSES.index("normal")]
    assert min(class_counts(60)) == 6
    with pytest.raises(BenchError, match="at least 60"):
        class_counts(59)


def test_an_image_depends_on_seed_class_and_number_alone() -> None:
    image = draw_image(3, 1, seed=0)
    assert image.size == (480, 640)
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert np.array_equal(pixels, np.asarray(draw_image(3, 1, seed=0)))
    for other in ((3, 1, 1), (3, 2, 0), (4, 1, 0)):
        assert not np.array_equal(pixels, np.asarray(draw_image(*other)))


def test_a_written_set_is_found_as_synthetic(drawn: ImageIndex) -> None:
    assert (drawn.layout, drawn.synthetic, len(drawn)) == ("synthetic", True, 300)
    assert drawn.classes == CLASSES
    about = json.loads((drawn.root / "synthetic.json").read_text())
    assert about == {"synthetic": True, "version": 1, "images": 300, "seed": 2}
    assert [path.name for path in drawn.root.parent.iterdir()] == ["set"]


def test_drawings_are_no_copies(drawn: ImageIndex) -> None:
    assert find_duplicates(drawn, workers=2).groups == ()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    for taken in (tmp_path, tmp_path / "x"):
        with pytest.raises(BenchError, match="is not an empty folder"):
            write_synthetic(taken, 60, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(BenchError, match="cannot be written"):
        write_synthetic(tmp_path / "x" / "y", 60, seed=0)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_):
        raise OSError(28, "No space left on device")

    draw_quickly(monkeypatch)
    monkeypatch.setattr(synthetic.Path, "replace", refuse)
    with pytest.raises(BenchError, match="No space left on device"):
        write_synthetic(tmp_path / "set", 60, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_draws_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch)
    root = cached_synthetic(tmp_path, 60, 0)
    monkeypatch.setattr(synthetic, "write_synthetic", lambda *a: pytest.fail("drawn again"))
    assert cached_synthetic(tmp_path, 60, 0) == root


def test_a_set_drawn_meanwhile_by_another_process_is_used(tmp_path: Path, monkeypatch) -> None:
    def late(root: Path, images: int, seed: int) -> None:
        root.mkdir()
        (root / "synthetic.json").write_text("{}")
        raise BenchError("taken")

    monkeypatch.setattr(synthetic, "write_synthetic", late)
    assert cached_synthetic(tmp_path, 60, 0).is_dir()

    def refuse(*_):
        raise BenchError("no room")

    monkeypatch.setattr(synthetic, "write_synthetic", refuse)
    with pytest.raises(BenchError, match="no room"):
        cached_synthetic(tmp_path, 61, 0)


def probe(pictures: Iterable[tuple[Image.Image, int]]) -> float:
    """Accuracy of a linear probe on thumbnails, fitted on seven tenths."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    thumbnails, labels = [], []
    for image, label in pictures:
        thumbnails.append(np.asarray(square(image, 16), dtype=float).ravel())
        labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = np.array(thumbnails)[order], np.array(labels)[order]
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-2))
    training = 7 * len(labels) // 10
    return fitted.fit(x[:training], y[:training]).score(x[training:], y[training:])


def test_a_linear_probe_on_thumbnails_stays_below_forty_percent(drawn: ImageIndex) -> None:
    images = (Image.open(drawn.root / path) for path in drawn.paths)
    assert probe(zip(images, drawn.labels, strict=True)) < 0.40


@pytest.mark.ci
def test_a_linear_probe_on_twice_as_many_stays_below_it_too() -> None:
    counts = enumerate(class_counts(600))
    told = [(label, number) for label, count in counts for number in range(count)]
    assert probe((draw_image(*one, seed=7), one[0]) for one in told) < 0.40
