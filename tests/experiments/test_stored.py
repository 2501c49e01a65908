"""Rows, tables and figures of stored quick records, one of each kind that has a quick test run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from experiments.faults import hostile
from tests.experiments.stored import RECORDS, SUITES, keys

STORED = sorted(RECORDS.glob("*/*.json"))


@pytest.mark.parametrize("path", STORED, ids=[f"{p.parent.name}-{p.stem}" for p in STORED])
def test_a_stored_record_is_rendered(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    suite = SUITES[path.parent.name]
    page, rows = suite.render(tmp_path)
    text = page.read_text("utf8")
    assert f"## {path.stem}" in text
    assert text.count("QUICK RUN") == 1
    assert rows
    for row in rows:
        assert row.found
        assert row.required
    # What is lost or broken is so in a quick run too; seconds and rates say nothing there.
    if suite.name == "faults" or path.stem == "counting":
        assert [row.bar for row in rows if row.met is False] == []
    assert hostile._uneven(text) == []
    drawn = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert {file.name for file in tmp_path.glob("*.png")} == set(drawn)
    assert all((tmp_path / name).stat().st_size > 5000 for name in drawn)


@pytest.mark.parametrize("path", STORED, ids=[f"{p.parent.name}-{p.stem}" for p in STORED])
def test_a_stored_record_is_a_quick_run_of_no_machine_in_particular(path: Path) -> None:
    text = path.read_text("utf8")
    record = json.loads(text)
    assert record["quick"]
    assert record["command"] == f"python -m experiments.{path.parent.name} {path.stem}"
    assert record["machine"]["cpu_model"] == "a CPU"
    assert re.findall(r"/(?:tmp|home|root|work|Users)/[^\" ]*", text) == []
    assert len(text) < 60_000


def test_keys_are_those_of_every_entry() -> None:
    record = {"a": [{"b": 1}, {"c": [[2, 3]]}], "d": {"e": None}}
    assert keys(record) == {".a[].b", ".a[].c[][]", ".d.e"}
    assert keys({"a": []}) == set()
