"""Tests of the whole report: what is written, how fast, and what is never imported."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time

import pytest

from bench.errors import BenchError
from bench.report.analysis.selection import Selection
from bench.report.render.document import all_tables, render
from bench.report.render.markdown import section, write_csv


def test_report_has_its_files_and_every_link_leads_somewhere(sweep, tmp_path):
    path = render(sweep[:4], tmp_path / "new", title="Trial")
    assert path == tmp_path / "new" / "report.md"
    text = path.read_text(encoding="utf8")
    assert text.startswith("# Trial\n")
    links = re.findall(r"\]\(((?:tables|figures)/[^)]+)\)", text)
    assert len(links) >= 17
    for link in links:
        assert (path.parent / link).stat().st_size > 0
    assert {p.name for p in (path.parent / "tables").iterdir()} >= {
        "runs.csv", "why-v2-s.csv", "variants.csv", "presets.csv", "parameters-model.csv",
    }  # fmt: skip
    assert len(list((path.parent / "figures").glob("confusion*"))) == 1


def test_every_table_in_the_report_is_whole(sweep, make_failed, tmp_path):
    hostile = "bad | `x`\n| <img src=x> |"
    sweep[0]["data"]["classes"][0] = "a|b"
    records = [*sweep[:2], make_failed(hostile, "ValueError", hostile, warnings=[hostile])]
    path = render(records, tmp_path, title=hostile, problems=[hostile])
    text = path.read_text(encoding="utf8")
    assert "<img" not in text
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 15
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_csv_cells_run_no_formula(make_failed, tmp_path):
    render([make_failed("ResNet18", "=cmd()", "x")], tmp_path, title="t")
    with (tmp_path / "tables" / "failures.csv").open(encoding="utf8", newline="") as file:
        assert list(csv.reader(file))[1][2] == "'=cmd(): x"


def test_failures_and_problems_are_named(sweep, make_failed, tmp_path):
    failed = make_failed("My_Plugin", "RuntimeError", "out of memory")
    problem = "results/x/run.json has schema version 9"
    text = render([*sweep[:1], failed], tmp_path, title="t", problems=[problem]).read_text("utf8")
    assert "RuntimeError: out of memory" in text
    assert problem in text


def test_synthetic_data_is_named_under_every_figure(make_record, tmp_path):
    text = render([make_record(synthetic=True)], tmp_path, title="t").read_text("utf8")
    figures = text.split("](figures/")[1:]
    assert len(figures) == 5
    for after in figures:
        assert "SYNTHETIC" in after.split("\n\n")[1]


def test_a_report_without_a_complete_run(make_failed, tmp_path):
    records = [make_failed("ResNet18", "RuntimeError", "x")]
    text = render(records, tmp_path, title="t").read_text("utf8")
    assert text.count("n/a (no valid complete run has") == 5
    assert list((tmp_path / "figures").iterdir()) == []


def test_a_report_of_nothing(tmp_path):
    text = render([], tmp_path, title="t", problems=["p"]).read_text("utf8")
    assert "variant not in this sweep" in text


def test_a_folder_that_is_a_file_is_a_user_error(sweep, tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(BenchError, match="choose another --reports-dir"):
        render(sweep[:1], tmp_path / "taken", title="t")


def test_two_renderings_are_the_same_bytes(sweep, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        render(sweep[:1], folder, title="t")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_tables_of_a_hundred_runs_with_all_their_pairs_take_seconds(make_record, tmp_path):
    records = [make_record(f"Variant_{index}", minute=index % 60) for index in range(100)]
    all_tables(Selection(records[:1]))  # imports scipy
    start = time.process_time()
    for chapter in all_tables(Selection(records)):
        for table in chapter.tables:
            section(table)
            if table.csv:
                write_csv(table, tmp_path)
    # About 2 s, and three times that while coverage is measured.
    assert time.process_time() - start < 10


CHECK = """
import json, sys
from pathlib import Path
import bench.report.render.document
heavy = ("torch", "timm", "torchvision", "variants", "matplotlib")
assert not set(heavy) & set(sys.modules), "import"
records = json.loads(Path(sys.argv[1]).read_text())
bench.report.render.document.render(records, Path(sys.argv[2]), title="t")
assert not set(heavy[:-1]) & set(sys.modules), "render"
"""


def test_reading_a_report_needs_no_training_stack(make_record, tmp_path):
    import json

    (tmp_path / "records.json").write_text(json.dumps([make_record()]))
    command = [sys.executable, "-c", CHECK, tmp_path / "records.json", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.md").is_file()
