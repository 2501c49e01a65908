from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.config.options import RunConfig
from bench.data.cache import DecodedImages
from bench.data.parts import (
    DataSplits,
    decode_images,
    find_data_set,
    find_index,
    find_parts,
)
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.system import paths
from bench.system.paths import cache_folder
from tests.support.drawings import draw_quickly


def config(folder: Path | None = None, **options) -> RunConfig:
    return RunConfig(data_dir=folder, **{"image_size": 32, "batch_size": 4, **options})


def decoded(parts: DataSplits, own: RunConfig) -> tuple[DataSplits, DecodedImages]:
    """The images, and the parts without what could not be decoded."""
    images = decode_images(parts.index, parts.positions(), own, workers=1)
    return parts.without(images), images


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


def test_what_cannot_be_decoded_is_left_out_and_recorded(photos: Path) -> None:
    for folder in ("blast", "hispa"):
        (photos / folder / "broken.jpg").write_bytes(b"no picture")
    parts = find_parts(config(photos))
    kept, images = decoded(parts, config(photos))
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
    assert record["loader"] == LOADER
    assert record["fold"] is None


def test_too_few_readable_images(make_photos) -> None:
    folder = make_photos({"a": 4, "b": 4})
    parts = find_parts(config(folder, batch_size=2))
    for position in parts.used.valid:
        parts.index.path(position).write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"too few images .* 0 to validate with"):
        decoded(parts, config(folder))


def test_a_class_that_training_lacks_is_warned_of(make_photos) -> None:
    folder = make_photos({"train/a": 4, "train/b": 4, "valid/a": 2, "valid/b": 2}, "set")
    parts = find_parts(config(folder))
    assert parts.warnings == ()
    assert len(parts.used.train) == 8


def test_copies_are_recorded_and_warned_of(photos: Path) -> None:
    for number in range(16):
        shutil.copy(photos / f"blast/{number:03}.png", photos / f"blast/copy{number}.png")
    parts = find_parts(config(photos))
    valid = [p for p in parts.used.valid if parts.copies.leaked([p], parts.used.train)]
    tested = [p for p in parts.used.test if parts.copies.leaked([p], parts.used.train)]
    chosen = [p for p in parts.used.test if parts.copies.leaked([p], parts.used.valid)]
    assert valid
    assert tested
    assert chosen
    tests = len(parts.used.test)
    counts = [(len(valid), len(parts.used.valid)), (len(tested), tests), (len(chosen), tests)]
    assert [line.split()[:3:2] for line in parts.warnings] == [[str(a), str(b)] for a, b in counts]
    assert all(line.endswith("--dedup group keeps copies together") for line in parts.warnings)
    kept, images = decoded(parts, config(photos))
    record = kept.as_record(images)
    copies = record["copies"]
    evaluated = {parts.index.paths[p] for p in (*parts.used.valid, *parts.used.test)}
    originals = {f"blast/{number:03}.png" for number in range(16)}
    assert record["units"] == {
        name: name.replace("copy", "00" if len(name) == 15 else "0") if "copy" in name else name
        for name in evaluated
        if name in originals or "copy" in name
    }
    counts_of_copies = {"groups": 16, "files": 32, "redundant_files": 16}
    assert copies["exact"] == copies["near"] == counts_of_copies
    assert copies["dedup"] == "none"
    assert ["blast/000.png", "blast/copy0.png"] in copies["groups"]
    assert copies["valid_with_twin"] == [parts.index.paths[p] for p in valid]
    assert copies["test_with_twin"] == [parts.index.paths[p] for p in tested]
    assert copies["test_with_twin_in_valid"] == [parts.index.paths[p] for p in chosen]
    assert set(copies) == {
        "method", "threshold_bits", "dedup", "exact", "near", "groups", "valid_with_twin",
        "test_with_twin", "test_with_twin_in_valid",
    }  # fmt: skip


def test_dedup_leaves_no_twin(photos: Path) -> None:
    for number in range(8):
        shutil.copy(photos / f"blast/{number:03}.png", photos / f"blast/copy{number}.png")
    own = config(photos, dedup="group")
    parts = find_parts(own)
    assert parts.warnings == ()
    kept, images = decoded(parts, own)
    copies = kept.as_record(images)["copies"]
    assert (copies["dedup"], copies["valid_with_twin"], copies["test_with_twin"]) == (
        "group",
        [],
        [],
    )


def test_twins_are_those_of_the_images_that_are_used(photos: Path) -> None:
    """A copy that --train-limit leaves out is not trained on."""
    for number in range(8):
        shutil.copy(photos / f"blast/{number:03}.png", photos / f"blast/copy{number}.png")
    data = find_data_set(config(photos))
    whole = find_parts(config(photos), data=data)
    few = find_parts(config(photos, train_limit=4), data=data)
    assert few.split == whole.split
    assert data.copies.leaked(few.used.valid, few.used.train) == ()
    assert not [line for line in few.warnings if "among the training" in line]
    assert [line for line in whole.warnings if "validation" in line]
    recorded = []
    for parts in (few, whole):
        kept, images = decoded(parts, config(photos))
        recorded.append(kept.as_record(images)["copies"]["valid_with_twin"])
    assert recorded[0] == []
    assert recorded[1]


def test_a_given_seed_draws_split_and_limits(photos: Path) -> None:
    data = find_data_set(config(photos))
    own = config(photos, train_limit=12)
    assert find_parts(own, data=data, seed=1) == find_parts(
        config(photos, train_limit=12, seed=1), data=data
    )
    assert find_parts(own, data=data, seed=1).split != find_parts(own, data=data).split
    assert find_parts(own, data=data) == find_parts(own)


def test_folds(photos: Path) -> None:
    own = config(photos, folds=4)
    data = find_data_set(own)
    parts = [find_parts(own, data=data, fold=fold) for fold in range(4)]
    assert sorted(p for one in parts for p in one.split.test) == list(range(40))
    assert find_parts(own, data=data) == parts[0]
    kept, images = decoded(parts[2], own)
    assert kept.as_record(images)["fold"] == {"number": 3, "of": 4}
    assert find_parts(own, data=data, fold=0, seed=5).split.test != parts[0].split.test


def test_folds_larger_than_a_class(photos: Path) -> None:
    with pytest.raises(BenchError, match=r"--folds 12 needs 12 .* 'normal' has 10"):
        find_parts(config(photos, folds=12))


def test_folds_of_data_with_its_own_split(make_photos) -> None:
    folder = make_photos({"train/a": 4, "train/b": 4, "valid/a": 2, "valid/b": 2}, "set")
    with pytest.raises(BenchError, match=r"--folds divides the data itself"):
        find_parts(config(folder, folds=2))


def test_hashes_are_kept_for_the_next_time(photos: Path) -> None:
    seen: list[int] = []
    first = find_data_set(config(photos), on_progress=lambda done, _: seen.append(done))
    assert seen == list(range(41))
    seen.clear()
    again = find_data_set(config(photos), on_progress=lambda done, _: seen.append(done))
    assert seen == [40]
    assert again == first


def test_no_data_means_the_synthetic_set(tmp_path: Path, monkeypatch) -> None:
    draw_quickly(monkeypatch)
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
    monkeypatch.setattr(paths, "user_cache_path", lambda name: tmp_path / name)
    assert cache_folder() == tmp_path / "paddy-bench"


def test_the_config_says_whether_and_how_pixels_are_kept(photos: Path) -> None:
    parts = find_parts(config(photos))
    kept = decode_images(parts.index, parts.positions(), config(photos), workers=1)
    assert kept.describe()["kind"] == "cache"
    assert (cache_folder() / "decoded").is_dir()
    lines: list[str] = []
    small = config(photos, cache_limit=1000.0, image_size=64)
    none = decode_images(parts.index, parts.positions(), small, workers=1, say=lines.append)
    assert none.read(0).shape == (64, 64, 3)
    assert none.describe()["kind"] == "decoded at each access"
    assert "--cache-limit is 0.001 MB" in lines[0]
    without = config(photos, cache=False)
    again = decode_images(parts.index, parts.positions(), without, workers=1, say=lines.append)
    assert again.file is None
    assert len(lines) == 1
