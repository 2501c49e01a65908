"""Data sets in tar files: written, found, divided and read as folders are."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import main
from bench.config.options import RunConfig
from bench.data.cache import open_images
from bench.data.images import UnreadableImage, load_rgb
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.sources import storage
from bench.data.sources.prefixes import real_folder
from bench.data.sources.shard_writer import write_shards
from bench.data.sources.shards import key_of
from bench.data.sources.storage import read_bytes, stamp
from bench.data.splitting.division import find_splits, hashed_folds, hashed_split
from bench.data.splitting.duplicates import Duplicates, duplicate_groups
from bench.data.splitting.splits import Split
from bench.data.transforms import AT_ONCE, shuffled
from bench.errors import BenchError
from tests.data.indexes import make_index


def index_of(folder: Path) -> ImageIndex:
    return load_index(find_data(folder, cwd=folder))


@pytest.fixture
def sharded(photos: Path, tmp_path: Path) -> Path:
    """The photographs in shards of about seven."""
    out = tmp_path / "shards"
    index = index_of(photos)
    write_shards(index, out, shard_bytes=7 * max(index.file_sizes), seed=0)
    return out


def make_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


# --- what is in them -------------------------------------------------------------------------


def test_shards_hold_what_the_folder_holds(photos: Path, sharded: Path) -> None:
    folder, shards = index_of(photos), index_of(sharded)
    assert shards.layout == "shards"
    assert shards.classes == folder.classes
    assert len(shards) == len(folder) == 40
    assert len({path.split("/")[0] for path in shards.paths}) > 4
    mine = {
        key_of(path): (shards.classes[label], read_bytes(shards.path(p)))
        for p, (path, label) in enumerate(zip(shards.paths, shards.labels, strict=True))
    }
    yours = {
        str(Path(path).with_suffix("")): (folder.classes[label], folder.path(p).read_bytes())
        for p, (path, label) in enumerate(zip(folder.paths, folder.labels, strict=True))
    }
    assert mine == yours


def test_every_shard_has_images_of_several_classes(sharded: Path) -> None:
    index = index_of(sharded)
    for name in {path.split("/")[0] for path in index.paths}:
        labels = {
            label
            for path, label in zip(index.paths, index.labels, strict=True)
            if path.startswith(name)
        }
        assert len(labels) > 1


def test_timm_reads_them(sharded: Path) -> None:
    info = json.loads((sharded / "_info.json").read_text())
    (split,) = info["splits"].values()
    assert split["num_samples"] == sum(split["shard_lengths"]) == 40
    assert split["filenames"] == sorted(path.name for path in sharded.glob("*.tar"))
    with tarfile.open(sharded / split["filenames"][0]) as archive:
        names = archive.getnames()
    # A sample's members follow each other.
    assert [name.rsplit(".", 1)[0] for name in names[::2]] == [
        name.rsplit(".", 1)[0] for name in names[1::2]
    ]


def test_pixels_are_those_of_the_files(photos: Path, sharded: Path, tmp_path: Path) -> None:
    folder, shards = index_of(photos), index_of(sharded)
    places = {str(Path(path).with_suffix("")): p for p, path in enumerate(folder.paths)}
    options = {"image_size": 32, "limit": 1e9, "workers": 2}
    for cache in (None, tmp_path / "cache"):
        one = open_images(folder, range(40), cache=cache, **options)
        other = open_images(shards, range(40), cache=cache, **options)
        for position, path in enumerate(shards.paths):
            assert np.array_equal(other.read(position), one.read(places[key_of(path)]))


def test_a_shard_that_is_changed_is_noticed(sharded: Path, tmp_path: Path) -> None:
    index = index_of(sharded)
    before = stamp(index.path(0))
    content = read_bytes(index.path(0))
    shard, name = index.paths[0].split("/", 1)
    other = sharded / "other.tar"
    make_shard(other, {"first.jpg": b"x" * 2000, name: content[::-1]})
    other.replace(sharded / shard)
    assert stamp(index.path(0)) != before
    assert read_bytes(index.path(0)) == content[::-1]


def test_groups_and_parts_go_along(make_photos: Callable, tmp_path: Path) -> None:
    root = make_photos({"train/a": 4, "train/b": 4, "valid/a": 2, "valid/b": 2})
    out = tmp_path / "out"
    write_shards(index_of(root), out, shard_bytes=1e9, seed=0)
    assert {path.name for path in out.glob("*.tar")} == {"train-000000.tar", "valid-000000.tar"}
    index = index_of(out)
    assert sorted(set(index.parts)) == ["train", "valid"]
    assert index.parts.count("valid") == 4
    # Of a folder whose images name their plants.
    flat = make_photos({"a": 3, "b": 3}, "flat")
    rows = ["path,label,group"] + [
        f"{path.relative_to(flat).as_posix()},{path.parent.name},plant {path.stem}"
        for path in sorted(flat.glob("*/*.png"))
    ]
    (flat / "metadata.csv").write_text("\n".join(rows))
    write_shards(index_of(flat), tmp_path / "grouped", shard_bytes=1e9, seed=0)
    assert sorted(set(index_of(tmp_path / "grouped").groups)) == [
        "plant 000", "plant 001", "plant 002",
    ]  # fmt: skip


def test_keys_have_no_dots_and_are_each_their_own(make_photos: Callable, tmp_path: Path) -> None:
    root = make_photos({"a": 2, "b": 2})
    (root / "a" / "000.png").rename(root / "a" / "leaf.v1.png")
    (root / "a" / "leaf_v1.jpg").write_bytes((root / "a" / "001.png").read_bytes())
    write_shards(index_of(root), tmp_path / "out", shard_bytes=1e9, seed=0)
    keys = sorted(key_of(path) for path in index_of(tmp_path / "out").paths)
    assert keys == ["a/001", "a/leaf_v1_jpg", "a/leaf_v1_png", "b/000", "b/001"]


# --- how they are divided and read -----------------------------------------------------------


def test_an_image_stays_in_its_part_when_the_data_grow(make_photos: Callable, tmp_path) -> None:
    def parts(counts: dict[str, int], name: str, shard_bytes: float) -> dict[str, str]:
        write_shards(
            index_of(make_photos(counts, name)), tmp_path / f"{name}-shards",
            shard_bytes=shard_bytes, seed=3,
        )  # fmt: skip
        index = index_of(tmp_path / f"{name}-shards")
        split = hashed_split(index, valid_fraction=0.2, test_fraction=0.2, seed=0)
        assert sorted(p for part in split.as_dict().values() for p in part) == list(
            range(len(index))
        )
        return {
            key_of(index.paths[position]): part
            for part, positions in split.as_dict().items()
            for position in positions
        }

    before = parts({"a": 40, "b": 40}, "few", 50_000)
    after = parts({"a": 60, "b": 55}, "more", 1e9)
    assert len(after) == 115
    assert {key: after[key] for key in before} == before
    shares = [list(after.values()).count(part) / 115 for part in ("train", "valid", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.12)


@pytest.mark.parametrize("prefix", ["train", "data"])
def test_shards_of_one_part_are_divided_by_their_keys(
    photos: Path, tmp_path: Path, prefix: str
) -> None:
    write_shards(index_of(photos), tmp_path / "own", shard_bytes=1e9, seed=0)
    (shard,) = (tmp_path / "own").glob("*.tar")
    shard.rename(shard.with_name(f"{prefix}-0.tar"))
    index, config = index_of(tmp_path / "own"), RunConfig()
    (found,) = find_splits(config, index, Duplicates(groups=(), exact=()))
    assert found == hashed_split(
        index,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )


def test_a_group_stays_where_it_is_when_it_grows(make_photos: Callable, tmp_path: Path) -> None:
    def part_of(name: str, first: str) -> dict[str | None, str]:
        root = make_photos({"a": 30, "b": 30}, name)
        (root / "a" / "000.png").rename(root / "a" / f"{first}.png")
        rows = ["path,label,group"] + [
            f"{path.relative_to(root).as_posix()},{path.parent.name},plant {number // 3}"
            for number, path in enumerate(sorted(root.glob("*/*.png")))
        ]
        (root / "metadata.csv").write_text("\n".join(rows))
        write_shards(index_of(root), tmp_path / f"{name}-out", shard_bytes=1e9, seed=0)
        index = index_of(tmp_path / f"{name}-out")
        split = hashed_split(
            index, valid_fraction=0.2, test_fraction=0.2, seed=0, groups=duplicate_groups(index)
        )
        return {
            index.groups[position]: part
            for part, positions in split.as_dict().items()
            for position in positions
        }

    assert part_of("one", "000") == part_of("other", "0")


def test_shards_of_which_only_some_name_their_part(tmp_path: Path) -> None:
    text = broken(
        tmp_path,
        data={"1.jpg": b"1", "1.cls": b"0"},
        val={"2.jpg": b"1", "2.cls": b"1"},
    )
    assert "some shards name their part (train-, valid-, test-) and others do not" in text


def test_groups_are_divided_whole_and_another_seed_divides_anew(sharded: Path) -> None:
    index = index_of(sharded)
    groups = [position // 4 for position in range(40)]
    fractions = {"valid_fraction": 0.3, "test_fraction": 0.2}
    split = hashed_split(index, **fractions, seed=0, groups=groups)
    for part in split.as_dict().values():
        assert all(part.count(p) == 1 for p in part)
        assert {groups[p] for p in part}.isdisjoint(
            groups[p] for other in split.as_dict().values() if other is not part for p in other
        )
    assert split != hashed_split(index, **fractions, seed=1, groups=groups)
    # Copies go where the first of their keys would go alone.
    alone = hashed_split(index, **fractions, seed=0).as_dict()
    for group in set(groups):
        mine = [p for p in range(40) if groups[p] == group]
        first = min(mine, key=lambda p: key_of(index.paths[p]))
        (part,) = (name for name, positions in alone.items() if first in positions)
        assert set(mine) <= set(split.as_dict()[part])


def test_each_image_is_tested_in_one_fold(sharded: Path) -> None:
    index = index_of(sharded)
    folds = hashed_folds(index, 3, valid_fraction=0.2, seed=0)
    assert sorted(p for fold in folds for p in fold.test) == list(range(40))
    for fold in folds:
        assert sorted((*fold.train, *fold.valid, *fold.test)) == list(range(40))


def test_the_shares_of_hashed_parts_and_folds_and_what_decides_them() -> None:
    index = make_index({"a": 2000, "b": 2000})
    split = hashed_split(index, valid_fraction=0.1, test_fraction=0.3, seed=0)
    assert shares_of(split) == pytest.approx([0.6, 0.1, 0.3], abs=0.03)
    folds = hashed_folds(index, 3, valid_fraction=0.2, seed=0)
    for fold in folds:
        # Validation is a share of all images, as without folds.
        assert shares_of(fold) == pytest.approx([2 / 3 - 0.2, 0.2, 1 / 3], abs=0.03)
    assert hashed_folds(index, 3, valid_fraction=0.2, seed=0) == folds
    others = hashed_folds(index, 3, valid_fraction=0.2, seed=1)
    for one, other in zip(folds, others, strict=True):
        assert one.test != other.test
        assert one.valid != other.valid


def shares_of(split: Split) -> list[float]:
    parts = split.as_dict().values()
    return [len(part) / sum(map(len, parts)) for part in parts]


def test_a_part_that_chance_leaves_empty(sharded: Path) -> None:
    with pytest.raises(BenchError, match="leave none for the validation part"):
        hashed_split(index_of(sharded), valid_fraction=1e-9, test_fraction=0.2, seed=0)


def test_an_epoch_reads_each_shard_in_one_go() -> None:
    shards = np.repeat(np.arange(30), 20)
    np.random.default_rng(0).shuffle(shards)
    order = shuffled(600, 0, 1, shards)
    assert sorted(order) == list(range(600))
    first = {number: np.flatnonzero(shards[order] == number) for number in range(30)}
    for number in range(30):
        assert np.ptp(first[number]) < AT_ONCE * 20
    # They are mixed, and otherwise in each epoch.
    assert len(set(shards[order[: AT_ONCE * 20]])) == AT_ONCE
    assert len(set(shards[order[:20]])) > 3
    assert not np.array_equal(order, shuffled(600, 0, 2, shards))
    assert np.array_equal(order, shuffled(600, 0, 1, shards))


@pytest.mark.slow
def test_a_sweep_trains_on_shards(sharded: Path, tiny_plugin: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        f"run --variants Tiny --plugin {tiny_plugin} --data-dir wds/{sharded} --epochs 2 "
        "--batch-size 8 --image-size 32 --no-timing --tune off --threads 1"
    )
    assert main(line.split()) == 0
    assert main(f"{line} --no-cache --results-dir other".split()) == 0
    found = []
    for root in ("results", "other"):
        (path,) = tmp_path.glob(f"{root}/*/run.json")
        found.append(json.loads(path.read_text()))
    one, other = found
    assert one["data"]["layout"] == "shards"
    assert all(name.partition("/")[0].endswith(".tar") for name in one["validation"]["ids"])
    for key in ("labels", "predictions", "confidences"):
        assert one["validation"][key] == other["validation"][key], "the cache changes nothing"
    assert main(["report"]) == 0


# --- what is wrong with them -----------------------------------------------------------------


def broken(tmp_path: Path, **shards: dict[str, bytes]) -> str:
    for name, members in shards.items():
        make_shard(tmp_path / "broken" / f"{name}.tar", members)
    with pytest.raises(BenchError) as error:
        index_of(tmp_path / "broken")
    return str(error.value)


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    one = {"x/1.jpg": b"1", "x/1.cls": b"0"}
    text = broken(tmp_path, a=one, b=one)
    assert "key 'x/1' is in a.tar and in b.tar: give every image a key of its own" in text


def test_two_images_of_one_key(tmp_path: Path) -> None:
    text = broken(tmp_path, a={"1.jpg": b"1", "1.png": b"1", "1.cls": b"0"})
    assert "key '1' has two images (1.jpg and 1.png)" in text


def test_an_image_without_a_class_and_a_class_without_an_image(tmp_path: Path) -> None:
    text = broken(tmp_path, a={"1.jpg": b"1", "1.cls": b"0", "2.jpg": b"2", "3.jpg": b"2"})
    assert "2 images have no class (first: 2): give each a .cls beside it" in text
    (tmp_path / "broken" / "a.tar").unlink()
    text = broken(tmp_path, b={"1.jpg": b"1", "1.cls": b"0", "2.cls": b"1"})
    assert "1 classes have no image (first: 2): the shard is not whole" in text


def test_a_class_that_is_not_named(tmp_path: Path) -> None:
    make_shard(tmp_path / "broken" / "a.tar", {"1.jpg": b"1", "1.cls": b"7"})
    (tmp_path / "broken" / "_info.json").write_text('{"classes": ["a", "b"]}')
    with pytest.raises(BenchError, match=r"has class 7, and _info\.json names 2"):
        index_of(tmp_path / "broken")
    (tmp_path / "broken" / "_info.json").write_text("{")
    with pytest.raises(BenchError, match=r"_info\.json cannot be read .*mend it, or remove it"):
        index_of(tmp_path / "broken")


def test_a_name_that_is_not_among_the_classes(tmp_path: Path) -> None:
    make_shard(tmp_path / "broken" / "a.tar", {"1.jpg": b"1", "1.cls": b"rust"})
    (tmp_path / "broken" / "_info.json").write_text('{"classes": ["a", "b"]}')
    with pytest.raises(BenchError, match=r"has class 'rust', which _info\.json does not name"):
        index_of(tmp_path / "broken")


def test_a_label_that_is_null_is_none(tmp_path: Path) -> None:
    text = broken(tmp_path, a={"1.jpg": b"1", "1.json": b'{"label": null}'})
    assert "1 images have no class (first: 1)" in text


@pytest.mark.parametrize("content", [b"no archive at all", b"\0" * 100 + b"x" * 2000])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.tar").write_bytes(content)
    with pytest.raises(BenchError, match=r"a\.tar cannot be read as a tar file"):
        index_of(tmp_path / "broken")


def test_a_shard_that_is_cut_short_has_unreadable_images(sharded: Path) -> None:
    index = index_of(sharded)
    shard = sharded / index.paths[0].split("/")[0]
    shard.write_bytes(shard.read_bytes()[:1000])
    storage._contents.cache_clear()
    with pytest.raises(UnreadableImage):
        load_rgb(index.path(0))
    shard.unlink()
    with pytest.raises(UnreadableImage, match="no such file"):
        load_rgb(index.path(0))


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"secret")
    members = {
        "../outside.jpg": b"1", "../outside.cls": b"0", "/etc/x.jpg": b"2", "/etc/x.cls": b"1",
    }  # fmt: skip
    make_shard(tmp_path / "hostile" / "a.tar", members)
    with tarfile.open(tmp_path / "hostile" / "a.tar", "a") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
    index = index_of(tmp_path / "hostile")
    assert len(index) == 2
    assert {read_bytes(index.path(p)) for p in range(2)} == {b"1", b"2"}


def test_where_shards_may_be_written(photos: Path, tmp_path: Path, capsys) -> None:
    assert main(f"data shard --data-dir {photos} --out {photos}".split()) == 2
    assert "is not empty: give a new folder" in capsys.readouterr().err
    assert main(f"data shard --data-dir {photos}".split()) == 2
    assert "give --out" in capsys.readouterr().err
    assert main(f"data --data-dir {photos} --out {tmp_path / 'x'}".split()) == 2
    assert "--out is of shard" in capsys.readouterr().err
    line = f"data shard --data-dir {photos} --out {tmp_path / 'x'} --shard-size much"
    assert main(line.split()) == 2
    assert "--shard-size must be an amount of storage" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_shards_from_the_command_line(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(f"data shard --data-dir {photos} --out own --shard-size 1MB".split()) == 0
    out = capsys.readouterr().out
    assert "40 images of 3 classes: written to 1 shard\n" in out
    assert "next: python -m bench data --data-dir wds/own" in out
    assert main(["data", "--data-dir", "wds/own", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 40


def test_what_a_data_sets_name_means(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    assert real_folder(Path("wds/own")) == Path("own")
    assert real_folder(Path(f"wds/{tmp_path}/own")) == tmp_path / "own"
    (tmp_path / "wds" / "own").mkdir(parents=True)
    assert real_folder(Path("wds/own")) == Path("wds/own"), "a folder of that very name"
    with pytest.raises(BenchError, match="no such data folder: gone"):
        real_folder(Path("wds/gone"))
    assert real_folder(Path("wds/s3://bucket/shards")) == Path("s3://bucket/shards")
    # A name of the hub is looked for there when the data are.
    assert real_folder(Path("hfds/somebody/own")) == Path("hfds/somebody/own")
    assert real_folder(Path("hfds/own")) == Path("own")
    with pytest.raises(BenchError, match="no such data folder: a/b/c"):
        real_folder(Path("hfds/a/b/c"))
