"""The Python API does what the commands do."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.cli.main import main
from bench.errors import BenchError

FAST = {
    "epochs": 2,
    "base_lr": 1e-2,
    "head_lr": 1e-2,
    "batch_size": 8,
    "image_size": 32,
    "num_workers": 0,
    "timing": False,
    "threads": 1,
}


def test_run_load_and_compare(here: Path, photos: Path, tiny_plugin: Path, capsys) -> None:
    said = io.StringIO()
    records = bench.run(
        ["Tiny", "Tiny_CA"],
        plugins=[tiny_plugin],
        data_dir=str(photos),
        cache_limit="1GB",
        stream=said,
        **FAST,
    )
    assert [record["variant"]["name"] for record in records] == ["Tiny", "Tiny_CA"]
    assert "epoch 2/2" in said.getvalue()
    assert "photos (class-folders)" in said.getvalue()
    for record in records:
        kept = json.loads((Path(record["folder"]) / "run.json").read_text())
        assert kept["status"] == record["status"] == "complete"
        assert kept["test"]["predictions"] == record["test"]["predictions"]
        assert kept["config"]["data_dir"] == str(photos)
        assert kept["config"]["cache_limit"] == 1e9
        assert kept["sweep"]["command"].startswith("bench.run(['Tiny', 'Tiny_CA'], plug")
    table = bench.load()
    assert table["variant"].tolist() == ["Tiny", "Tiny_CA"]
    assert table["test_acc"].tolist() == [record["test"]["accuracy"] for record in records]
    assert len(bench.load(sweep=records[0]["sweep"]["id"])) == 2
    assert len(bench.load(runs=[records[0]["folder"]])) == 1
    found = bench.compare("Tiny", "Tiny_CA")
    assert isinstance(found, pd.DataFrame)
    (row,) = found.to_dict("records")
    one, other = (record["test"]["accuracy"] for record in records)
    assert (row["variant"], row["other"]) == ("Tiny_CA", "Tiny")
    assert row["difference"] == pytest.approx(other - one)
    assert row["low"] <= row["difference"] <= row["high"]
    assert bench.compare().equals(found)
    assert bench.compare(what="speed").empty
    capsys.readouterr()
    assert main(["compare", "--json"]) == 0
    (same,) = json.loads(capsys.readouterr().out)["accuracy"]
    assert same["difference"] == row["difference"]
    assert same["sentence"] == row["sentence"]


def test_a_variant_that_fails_is_a_record(here: Path, photos: Path, tiny_plugin: Path) -> None:
    tiny_plugin.write_text(
        tiny_plugin.read_text() + "\n\ndef broken(**how):\n    raise RuntimeError('planted')\n\n\n"
        "register(Variant(name='Broken', backbone='test_efficientnet', build=broken))\n"
    )
    records = bench.run(
        "Broken,Tiny", plugins=[tiny_plugin], data_dir=photos, stream=io.StringIO(), **FAST
    )
    assert [record["status"] for record in records] == ["failed", "complete"]
    assert "planted" in records[0]["error"]["message"]


def test_hours_that_are_over_leave_what_has_begun(here, photos: Path, tiny_plugin: Path) -> None:
    said = io.StringIO()
    bench.run("Tiny_CA", plugins=[tiny_plugin], data_dir=photos, stream=said, **FAST)
    options = {**FAST, "epochs": 500, "patience": 500, "hours": 1e-3}
    records = bench.run("Tiny", plugins=[tiny_plugin], data_dir=photos, stream=said, **options)
    assert [record["status"] for record in records] in (["running"], [])
    assert "hours=0.001 are over" in said.getvalue()
    assert "--resume" in said.getvalue()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "unknown option 'epoch': did you mean epochs?"),
        ({"epochs": 0}, "--epochs"),
        ({"epochs": "many"}, "epochs must be"),
        ({"preset": "fast"}, "unknown preset 'fast'"),
        ({"variants": "Nobody"}, "Nobody"),
        ({"plugins": ["nowhere.py"]}, "nowhere.py"),
        ({"data_dir": "nowhere"}, "no such data folder: nowhere"),
    ],
)
def test_mistakes_are_one_line(here: Path, options: dict, said: str) -> None:
    with pytest.raises(BenchError) as error:
        bench.run(stream=io.StringIO(), **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(here.iterdir()) == []


def test_nothing_to_load_or_compare(here: Path) -> None:
    with pytest.raises(BenchError, match="no results folder"):
        bench.load()
    (here / "results").mkdir()
    with pytest.raises(BenchError, match="no readable records"):
        bench.load()
    with pytest.raises(BenchError, match="what='size' must be"):
        bench.compare(what="size")
    with pytest.raises(BenchError, match="no readable records"):
        bench.compare()


def test_a_damaged_record_is_warned_of(here, photos: Path, tiny_plugin: Path) -> None:
    records = bench.run(
        "Tiny,Tiny_CA", plugins=[tiny_plugin], data_dir=photos, stream=io.StringIO(), **FAST
    )
    (Path(records[0]["folder"]) / "run.json").write_text("{")
    with pytest.warns(UserWarning, match=r"run\.json cannot be read"):
        assert bench.load()["variant"].tolist() == ["Tiny_CA"]
    with pytest.raises(BenchError, match="no sweep 'x'"), pytest.warns(match="cannot be read"):
        bench.load(sweep="x")


def test_loading_needs_no_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from bench import load, compare, run\n"
        "assert 'pandas' not in sys.modules\n"
        "try: load('nowhere')\n"
        "except Exception as error: print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no results folder nowhere" in done.stdout


def test_nothing_else_is_offered() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        bench.fit  # noqa: B018


@pytest.mark.parametrize(("old", "new"), bench.MOVED.items())
def test_a_module_that_has_moved_is_found_at_its_old_path(old: str, new: str) -> None:
    there = importlib.import_module(new)
    assert importlib.import_module(old) is there
    assert there.__spec__.name == there.__name__ == new
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{old}_too")
