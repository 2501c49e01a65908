from __future__ import annotations

from pathlib import Path

import pytest

from bench.config import RunConfig
from bench.data import parts as module
from bench.data.parts import cache_folder, decode_parts, find_index, find_parts
from bench.errors import BenchError


def config(folder: Path | None = None, **options) -> RunConfig:
    return RunConfig(data_dir=folder, **{"image_size": 32, "batch_size": 4, **options})


def test_parts_are_split_and_limited(photos: Path) -> None:
    parts = find_parts(config(photos, train_limit=12, valid_limit=3))
    whole, used = parts.split.as_dict(), parts.used.as_dict()
    assert sum(len(p) for p in whole.values()) == 40
    assert (len(used["train"]), len(used["valid"])) == (12, 3)
    assert used["test"] == whole["test"]
    assert set(used["train"]) <= set(whole["train"])
    assert parts.num_classes == 3
    assert parts.positions() == sorted(p for part in used.values() for p in part)


def test_the_seed_decides_the_split(photos: Path) -> None:
    assert find_parts(config(photos)).split == find_parts(config(photos)).split
    assert find_parts(config(photos)).split != find_parts(config(photos, seed=1)).split


def test_a_batch_larger_than_the_training_part(photos: Path) -> None:
    with pytest.raises(BenchError, match=r"--batch-size 64 is larger than the training part"):
        find_parts(config(photos, batch_size=64))


def test_what_cannot_be_decoded_is_left_out_and_recorded(photos: Path, tmp_path: Path) -> None:
    for folder in ("blast", "hispa"):
        (photos / folder / "broken.jpg").write_bytes(b"no picture")
    parts = find_parts(config(photos))
    kept, images = decode_parts(parts, config(photos), folder=tmp_path, workers=1)
    assert len(kept.positions()) == len(parts.positions()) - 2 == 40
    assert len([line for line in kept.warnings if "broken.jpg" in line]) == 2
    record = kept.as_record(images)
    assert sorted(record["unreadable"]) == ["blast/broken.jpg", "hispa/broken.jpg"]
    assert sum(record["used"].values()) == 40
    assert sum(sum(c.values()) for c in record["counts"].values()) == 42
    assert record["layout"] == "class-folders"
    assert record["synthetic"] is False
    assert record["root"] == str(photos)
    assert len(record["fingerprint"]) == 32


def test_too_few_readable_images(make_photos, tmp_path: Path) -> None:
    folder = make_photos({"a": 4, "b": 4})
    parts = find_parts(config(folder, batch_size=2))
    for position in parts.used.valid:
        parts.index.path(position).write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"too few images .* 0 to validate with"):
        decode_parts(parts, config(folder), folder=tmp_path, workers=1)


def test_a_class_that_training_lacks_is_warned_of(make_photos) -> None:
    folder = make_photos({"train/a": 4, "train/b": 4, "valid/a": 2, "valid/b": 2}, "set")
    parts = find_parts(config(folder))
    assert parts.warnings == ()
    assert len(parts.used.train) == 8


def test_no_data_means_the_synthetic_set(tmp_path: Path) -> None:
    parts = find_parts(config(synthetic_images=60, test_fraction=0.0), cwd=tmp_path)
    assert parts.index.synthetic
    assert parts.index.layout == "synthetic"
    assert parts.num_classes == 10
    assert len(parts.index) >= 60
    again = find_index(config(synthetic_images=60), cwd=tmp_path)
    assert again.fingerprint == parts.index.fingerprint
    other = find_index(config(synthetic_images=60, seed=1), cwd=tmp_path)
    assert other.fingerprint != parts.index.fingerprint
    assert str(parts.index.root).startswith(str(cache_folder()))


def test_the_caches_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("PADDY_BENCH_CACHE_DIR")
    monkeypatch.setattr(module, "user_cache_path", lambda name: tmp_path / name)
    assert cache_folder() == tmp_path / "paddy-bench"
