"""Data sets of Hugging Face: read in place, as the package ``datasets`` has written them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli.main import main
from bench.cli.report import _row
from bench.config.options import RunConfig
from bench.data.cache import open_images
from bench.data.images import load_rgb
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.sources import hub
from bench.data.sources.arrow import key_of as row_key
from bench.data.sources.shard_writer import write_shards
from bench.data.sources.shards import key_of
from bench.data.sources.storage import read_bytes, stamp
from bench.data.splitting.division import find_splits, hashed_split
from bench.data.splitting.duplicates import Duplicates
from bench.errors import BenchError
from bench.report.render.thumbnails import open_picture

datasets = pytest.importorskip("datasets", reason="needs the extra hf")
pa = pytest.importorskip("pyarrow", reason="needs the extra hf")
CLASSES = ["blast", "hispa", "normal"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def index_of(folder: Path) -> ImageIndex:
    return load_index(find_data(folder, cwd=Path.cwd()))


def rows_of(root: Path, *, named: bool = True) -> dict[str, list[Any]]:
    files = sorted(root.glob("*/*.png"))
    return {
        "image": [
            {
                "bytes": path.read_bytes(),
                "path": f"{path.parent.name}_{path.name}" if named else None,
            }
            for path in files
        ],
        "label": [CLASSES.index(path.parent.name) for path in files],
    }


def table(rows: dict[str, list[Any]], **features: Any) -> datasets.Dataset:
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES), **features}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


@pytest.fixture
def saved(photos: Path, tmp_path: Path) -> Path:
    table(rows_of(photos)).save_to_disk(tmp_path / "saved", num_shards=3)
    return tmp_path / "saved"


# --- what is in them -------------------------------------------------------------------------


def test_rows_hold_what_the_folder_holds(photos: Path, saved: Path, tmp_path: Path) -> None:
    folder, rows = index_of(photos), index_of(saved)
    assert rows.layout == "arrow"
    assert rows.classes == folder.classes
    assert len({path.split("/")[0] for path in rows.paths}) == 3
    mine = {
        key_of(path): (label, read_bytes(rows.path(p)), size)
        for p, (path, label, size) in enumerate(
            zip(rows.paths, rows.labels, rows.file_sizes, strict=True)
        )
    }
    yours = {
        path.removesuffix(".png").replace("/", "_"): (label, folder.path(p).read_bytes(), size)
        for p, (path, label, size) in enumerate(
            zip(folder.paths, folder.labels, folder.file_sizes, strict=True)
        )
    }
    assert mine == yours


def test_pixels_are_those_of_the_files(photos: Path, saved: Path, tmp_path: Path) -> None:
    folder, rows = index_of(photos), index_of(saved)
    places = {path.removesuffix(".png").replace("/", "_"): p for p, path in enumerate(folder.paths)}
    options = {"image_size": 32, "limit": 1e9, "workers": 2}
    for cache in (None, tmp_path / "cache"):
        one = open_images(folder, range(40), cache=cache, **options)
        other = open_images(rows, range(40), cache=cache, **options)
        for position, path in enumerate(rows.paths):
            assert np.array_equal(other.read(position), one.read(places[key_of(path)]))


def test_both_forms_of_arrow(photos: Path, saved: Path) -> None:
    before = index_of(saved)
    bytes_of = [read_bytes(before.path(p)) for p in range(40)]
    for path in saved.glob("*.arrow"):
        with pa.memory_map(str(path)) as source:
            whole = pa.ipc.open_stream(source).read_all()
        with pa.OSFile(str(path) + ".new", "wb") as sink, pa.ipc.new_file(sink, whole.schema) as to:
            # Several batches, and binary with wide offsets, as newer versions may write.
            to.write_table(whole, max_chunksize=5)
        Path(str(path) + ".new").replace(path)
    after = index_of(saved)
    assert after.paths == before.paths
    assert [read_bytes(after.path(p)) for p in range(40)] == bytes_of


def test_wide_offsets_and_other_columns(photos: Path, tmp_path: Path) -> None:
    rows = rows_of(photos)
    columns = {
        "group": pa.array([f"plant {n // 4}" for n in range(40)]),
        "img": pa.array([one["bytes"] for one in rows["image"]], pa.large_binary()),
        "label": pa.array([CLASSES[label] for label in rows["label"]]),
    }
    write(tmp_path / "own", pa.table(columns))
    index = index_of(tmp_path / "own")
    assert index.classes == tuple(CLASSES)
    assert sorted(set(index.groups)) == sorted({f"plant {n}" for n in range(10)})
    for position, path in enumerate(index.paths):
        row = int(path.split("/")[1])
        assert read_bytes(index.path(position)) == rows["image"][row]["bytes"]
        assert index.groups[position] == f"plant {row // 4}"


def write(folder: Path, content: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    path = folder / "data-00000-of-00001.arrow"
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, content.schema, options=options) as to,
    ):
        to.write_table(content)
    return path


def test_splits_are_parts(make_photos: Callable, tmp_path: Path) -> None:
    few = {"blast": 3, "hispa": 3, "normal": 3}
    whole = datasets.DatasetDict(
        {
            "train": table(rows_of(make_photos(few, "one"))),
            "validation": table(rows_of(make_photos(few, "two"))),
            "extra": table(rows_of(make_photos(few, "three"))),
            "test": table({**rows_of(make_photos(few, "four")), "label": [-1] * 9}),
        }
    )
    whole.save_to_disk(tmp_path / "saved")
    index = index_of(tmp_path / "saved")
    assert sorted(index.parts) == ["train"] * 9 + ["valid"] * 9
    assert all(path.startswith(("train/data-", "validation/data-")) for path in index.paths)
    assert [line.split(str(tmp_path))[0] for line in index.warnings] == ["split 'extra' of ", ""]
    assert "unlabelled, not used" in index.warnings[1]
    (found,) = find_splits(RunConfig(), index, Duplicates(groups=(), exact=()))
    assert (len(found.train) + len(found.test), len(found.valid)) == (9, 9)


def test_what_load_dataset_keeps(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    table(rows_of(photos)).to_parquet(
        tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet"
    )
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.chdir(tmp_path)
    index = index_of(Path("hfds/parquet"))
    assert (index.layout, set(index.parts), len(index)) == ("arrow", {"train"}, 40)
    assert index.root.is_relative_to(tmp_path / "hf")
    # Its folder is as good, and is what a record names.
    assert index_of(index.root) == index
    # What ``map`` keeps beside it is of another table.
    (kept,) = index.root.glob("*.arrow")
    (index.root / "cache-train.arrow").write_bytes(kept.read_bytes())
    assert index_of(index.root) == index
    assert {load_rgb(index.path(p)).size for p in range(40)} == {(40, 48)}


def test_a_name_of_the_hub(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str) -> datasets.DatasetDict:
        asked.append(name)
        table(rows_of(photos)).to_parquet(tmp_path / "x.parquet")
        return datasets.DatasetDict(
            {
                "train": datasets.Dataset.from_parquet(
                    str(tmp_path / "x.parquet"), cache_dir=tmp_path
                )
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(index_of(Path("hfds/somebody/leaves"))) == 40
    assert asked == ["somebody/leaves"]


@pytest.mark.parametrize("named", [True, False])
def test_they_can_be_sharded(photos: Path, tmp_path: Path, named: bool) -> None:
    table(rows_of(photos, named=named)).save_to_disk(tmp_path / "saved")
    rows = index_of(tmp_path / "saved")
    write_shards(rows, tmp_path / "shards", shard_bytes=20_000, seed=0)
    shards = index_of(tmp_path / "shards")
    assert all(path.endswith(".png") for path in shards.paths)
    images = {
        what: sorted(
            (index.classes[label], read_bytes(index.path(p)))
            for p, label in enumerate(index.labels)
        )
        for what, index in (("rows", rows), ("shards", shards))
    }
    assert images["rows"] == images["shards"]
    if named:
        assert {key_of(path) for path in rows.paths} == {key_of(path) for path in shards.paths}


# --- how they are divided and read -----------------------------------------------------------


def test_rows_with_names_stay_in_their_part_when_the_data_grow(
    make_photos: Callable, tmp_path: Path
) -> None:
    def parts(counts: dict[str, int], name: str, shards: int) -> dict[str, str]:
        content = table(rows_of(make_photos(counts, name))).shuffle(seed=len(name))
        content.save_to_disk(tmp_path / f"{name}-saved", num_shards=shards)
        index = index_of(tmp_path / f"{name}-saved")
        (split,) = find_splits(
            RunConfig(valid_fraction=0.3), index, Duplicates(groups=(), exact=())
        )
        return {
            key_of(index.paths[p]): part
            for part, positions in split.as_dict().items()
            for p in positions
        }

    before = parts({"blast": 30, "hispa": 30}, "few", 1)
    after = parts({"blast": 45, "hispa": 36, "normal": 5}, "more", 3)
    assert len(after) == 86
    assert {key: after[key] for key in before} == before


def test_rows_without_names_go_by_their_place(photos: Path, tmp_path: Path) -> None:
    table(rows_of(photos, named=False)).save_to_disk(tmp_path / "saved")
    index = index_of(tmp_path / "saved")
    (archive,) = {path.split("/")[0] for path in index.paths}
    assert {key_of(path) for path in index.paths} == {f"{archive}/{row}" for row in range(40)}
    # Names, or keys, that come twice are none.
    for number, name in enumerate(["blast_001.png", "blast_001.jpg"]):
        rows = rows_of(photos)
        rows["image"][0]["path"] = name
        table(rows).save_to_disk(tmp_path / f"twice-{number}")
        twice = index_of(tmp_path / f"twice-{number}")
        assert {key_of(path) for path in twice.paths} == {key_of(path) for path in index.paths}
    assert hashed_split(index, valid_fraction=0.2, test_fraction=0.2, seed=0).train


def test_a_key_has_all_of_a_name_but_its_suffix(photos: Path, tmp_path: Path) -> None:
    assert row_key("a.arrow", "7/leaf.v2.jpg") == "leaf.v2"
    rows = rows_of(photos)
    for number, image in enumerate(rows["image"]):
        image["path"] = f"leaf.{number}.png"
    table(rows).save_to_disk(tmp_path / "saved")
    index = index_of(tmp_path / "saved")
    assert {key_of(path) for path in index.paths} == {f"leaf.{number}" for number in range(40)}
    write_shards(index, tmp_path / "shards", shard_bytes=1e9, seed=0)
    assert len({key_of(path) for path in index_of(tmp_path / "shards").paths}) == 40


@pytest.mark.parametrize("name", ["my.arrow", "my.tar"])
def test_a_folder_may_be_called_as_an_archive_is(photos: Path, tmp_path: Path, name: str) -> None:
    table(rows_of(photos)).save_to_disk(tmp_path / name)
    index = index_of(tmp_path / name)
    assert len({read_bytes(index.path(p)) for p in range(40)}) == 40


def test_a_file_that_is_changed_is_noticed(photos: Path, saved: Path) -> None:
    index = index_of(saved)
    before, content = stamp(index.path(0)), read_bytes(index.path(0))
    archive = saved / index.paths[0].split("/")[0]
    with pa.memory_map(str(archive)) as source:
        whole = pa.ipc.open_stream(source).read_all()
    # The first row is gone, and the second one lies in another place.
    path = write(saved / "new", whole.slice(1))
    path.replace(archive)
    assert stamp(index.path(0)) != before
    assert read_bytes(index.path(0)) != content


def test_a_report_shows_a_row_as_it_shows_a_file(saved: Path, tmp_path: Path) -> None:
    index = index_of(saved)
    for position in (0, 39):
        found = open_picture(saved, index.paths[position], _row)
        assert np.array_equal(np.asarray(found), np.asarray(load_rgb(index.path(position))))
    (archive,) = {path.split("/")[0] for path in index.paths[:1]}
    for name in (f"{archive}/99", f"{archive}/x", f"../saved/../{archive}/0", "no.arrow/0"):
        assert open_picture(saved, name, _row) is None
    assert open_picture(saved / "..", f"saved/{archive}/0", _row) is not None
    assert open_picture(saved / "sub", f"../{archive}/0", _row) is None
    assert open_picture(saved, index.paths[0]) is None


def test_rows_that_are_not_there(saved: Path) -> None:
    archive = next(saved.glob("*.arrow"))
    for name in ("99", "-1", "x", "²", "99/leaf.jpg"):
        with pytest.raises(FileNotFoundError):
            read_bytes(archive / name)


@pytest.mark.slow
def test_a_sweep_trains_on_them(saved: Path, tiny_plugin: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = (
        f"run --variants Tiny --plugin {tiny_plugin} --data-dir hfds/saved --epochs 2 "
        "--batch-size 8 --image-size 32 --no-timing --tune off --threads 1"
    )
    assert main(line.split()) == 0
    assert main(f"{line} --no-cache --num-workers 1 --results-dir other".split()) == 0
    found = []
    for root in ("results", "other"):
        (path,) = tmp_path.glob(f"{root}/*/run.json")
        found.append(json.loads(path.read_text()))
    one, other = found
    assert one["data"]["layout"] == "arrow"
    for key in ("labels", "predictions", "confidences"):
        assert one["validation"][key] == other["validation"][key]
    assert main(["report"]) == 0


# --- what is wrong with them -----------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(BenchError) as error:
        index_of(folder)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_what_is_no_table_of_images(photos: Path, tmp_path: Path) -> None:
    rows = rows_of(photos)
    whole = table(rows).data.table
    cases = {
        "compressed": (whole, "it is compressed: save it without compression"),
        "columns": (pa.table({"x": [1]}), "it has no column of images (columns: 'x')"),
        "two": (
            whole.append_column("img2", whole["image"]).rename_columns(["image", "label", "img"]),
            "several columns of images",
        ),
        "text": (pa.table({"image": ["a.jpg"], "label": [0]}), "is of the type string"),
        "paths": (
            pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}], "label": [0]}),
            "its column of images is of the type null",
        ),
        "outside": (
            pa.table(
                {
                    "image": pa.array(
                        [{"bytes": None, "path": "/etc/passwd"}],
                        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
                    ),
                    "label": [0],
                }
            ),
            "its images lie in files of their own: give the folder of these",
        ),
        "null": (
            pa.table({"image": pa.array([b"x", None]), "label": [0, 1]}),
            "1 rows have no image: remove them",
        ),
        "classless": (pa.table({"image": pa.array([b"x"])}), "1 rows have no class (first: row 0)"),
    }
    for name, (content, said) in cases.items():
        if name == "two":
            content = content.replace_schema_metadata({})
        options = pa.ipc.IpcWriteOptions(compression="lz4") if name == "compressed" else None
        write(tmp_path / name, content, options)
        assert said in refused(tmp_path / name), name
    folder = tmp_path / "cut"
    path = write(folder, whole)
    path.write_bytes(path.read_bytes()[:100])
    assert "it is no Arrow file" in refused(folder)


def test_classes_that_are_wrong(photos: Path, tmp_path: Path) -> None:
    rows = rows_of(photos)
    rows["label"][3] = None
    table(rows).save_to_disk(tmp_path / "one")
    assert "1 rows have no class (first: row 3): remove them" in refused(tmp_path / "one")
    content = table(rows_of(photos)).data.table
    wrong = content.set_column(1, "label", pa.array([7] * 40, pa.int64()))
    write(tmp_path / "two", wrong.replace_schema_metadata(content.schema.metadata))
    assert "it has class 7, and names 3" in refused(tmp_path / "two")


def test_a_class_that_the_table_does_not_name(photos: Path, tmp_path: Path) -> None:
    content = table(rows_of(photos)).data.table
    texts = pa.array([*["blast"] * 39, "bird"])
    wrong = content.set_column(1, "label", texts).replace_schema_metadata(content.schema.metadata)
    write(tmp_path / "own", wrong)
    assert "it has class 'bird', and does not name it" in refused(tmp_path / "own")


@pytest.mark.parametrize("place", [0, 1, 39])
def test_images_that_end_before_they_begin(photos: Path, tmp_path: Path, place: int) -> None:
    content = table(rows_of(photos)).data.table
    path = write(tmp_path / "own", content.combine_chunks())
    ends = np.frombuffer(content.combine_chunks()["image"].chunk(0).field("bytes").buffers()[1],
                         np.int32)[:41]  # fmt: skip
    data = path.read_bytes()
    where = data.index(ends.tobytes())
    for value in (-5000, 2**31 - 1):
        edited = ends.copy()
        edited[place] = value
        path.write_bytes(data[:where] + edited.tobytes() + data[where + ends.nbytes :])
        assert "it is damaged: its images end before they begin" in refused(tmp_path / "own")


def test_text_that_is_none(photos: Path, tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    write(tmp_path / "own", pa.table({"image": pa.array([b"x"]), "label": bad}))
    assert "it is no Arrow file" in refused(tmp_path / "own")


def test_a_picture_of_several_is_a_jpeg(tmp_path: Path) -> None:
    def several(shade: int) -> bytes:
        buffer = io.BytesIO()
        one = Image.new("RGB", (40, 40), (shade, 90, 20))
        one.save(buffer, "MPO", save_all=True, append_images=[one.rotate(90)])
        return buffer.getvalue()

    rows = {
        "image": [{"bytes": several(10 * n), "path": None} for n in range(6)],
        "label": [0, 1] * 3,
    }
    table(rows).save_to_disk(tmp_path / "saved")
    write_shards(index_of(tmp_path / "saved"), tmp_path / "shards", shard_bytes=1e9, seed=0)
    assert len(index_of(tmp_path / "shards")) == 6


def test_a_class_without_images_is_none(make_photos: Callable, tmp_path: Path) -> None:
    table(rows_of(make_photos({"blast": 4, "normal": 4}))).save_to_disk(tmp_path / "saved")
    index = index_of(tmp_path / "saved")
    assert index.classes == ("blast", "normal")
    assert sorted(index.labels) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("name", ["../../secret.arrow", "/etc/passwd", 3, None, "..", ".", ""])
def test_files_elsewhere_are_not_read(saved: Path, name: Any) -> None:
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert "which is not in it: save the data set anew" in refused(saved)
    (saved / "state.json").unlink()
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["..", name]}))
    assert "save the data set anew" in refused(saved)


def test_lists_that_cannot_be_read(saved: Path) -> None:
    (saved / "state.json").write_text("{")
    assert "state.json cannot be read" in refused(saved)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.txt"}]}))
    assert "x.txt is no Arrow file" in refused(saved)
    (saved / "state.json").write_text("[]")
    assert "state.json names no files" in refused(saved)


def test_what_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(name: str) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    text = refused(Path("hfds/somebody/leaves"))
    assert text == (
        "--data-dir hfds/somebody/leaves: no such folder, and datasets cannot load it "
        "(ConnectionError: no route to host)"
    )
    # Three levels are no name of the hub.
    assert "no such data folder" in refused(Path("hfds/a/b/c"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'paddy-bench[hf]'" in refused(Path("hfds/somebody/leaves"))


def test_without_pyarrow(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "data sets in Arrow files need pyarrow" in refused(saved)


def test_a_data_set_in_several_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Split:
        def __init__(self, folder: str) -> None:
            self.cache_files = [{"filename": f"{folder}/x.arrow"}]

    monkeypatch.setattr(datasets, "load_dataset", lambda _: {"a": Split("/a"), "b": Split("/b")})
    with pytest.raises(BenchError, match="is kept in 2 folders: save it into one"):
        hub.fetch("x")
