"""Short measurements are kept between sweeps, and a bad file costs a measurement only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.system.paths import recall, remember


def test_what_is_added_stays_beside_what_was_there() -> None:
    remember("speeds", {"a": [1.0]})
    remember("speeds", {"b": [2.0]})
    remember("others", {"a": 3})
    assert recall("speeds") == {"a": [1.0], "b": [2.0]}
    assert recall("others") == {"a": 3}


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00"])
def test_a_damaged_file_is_an_empty_one_and_is_replaced(text: str) -> None:
    folder = Path(os.environ["PADDY_BENCH_CACHE_DIR"])
    (folder / "speeds.json").write_text(text)
    assert recall("speeds") == {}
    remember("speeds", {"a": 1})
    assert recall("speeds") == {"a": 1}
    assert [path.name for path in folder.iterdir()] == ["speeds.json"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PADDY_BENCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    remember("speeds", {"a": 1})
    assert recall("speeds") == {}
