"""Reports of many runs: found once, the first rows shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.analysis.validity import Remembered, invalid_reason, part_accuracy
from bench.report.chapters import models
from bench.report.render import markdown
from bench.report.render.document import render
from bench.report.render.markdown import MOST_ROWS, Table, shortened


def test_the_first_rows_of_a_long_table_are_shown_and_all_are_in_its_file() -> None:
    rows = [[str(number)] for number in range(1000)]
    table = Table("runs", "Runs", "All of them.", ["Number"], rows)
    short = shortened(table)
    assert short.rows == rows[:MOST_ROWS]
    assert short.caption == (
        f"The first {MOST_ROWS} of 1,000 rows; all are in tables/runs.csv. All of them."
    )
    few = Table("runs", "Runs", "", ["Number"], rows[:MOST_ROWS])
    assert shortened(few) is few
    known = Table("runs-speed", "Speed", "", ["Number"], few.rows, csv=False, total=5000)
    assert "of 5,000 rows; all are in tables/runs.csv." in shortened(known).caption


def test_what_is_found_once_is_found_of_that_run_alone(make_record: Callable[..., Any]) -> None:
    one, other = make_record(), make_record()
    other["validation"]["predictions"] = [0] * len(other["validation"]["labels"])
    expected = [part_accuracy(record, "validation") for record in (one, other)]
    with Remembered([one]):
        for _ in range(2):
            assert [part_accuracy(record, "validation") for record in (one, other)] == expected
        # A run that is not among them is looked at anew, and so is one with images left out.
        other["validation"]["predictions"] = list(other["validation"]["labels"])
        assert part_accuracy(other, "validation") != expected[1]
        left_out = one["validation"]["ids"][:1]
        assert part_accuracy(one, "validation", left_out).total == expected[0].total - 1
        assert invalid_reason(one) is invalid_reason(one) is None
    one["validation"]["predictions"] = list(one["validation"]["labels"])
    assert part_accuracy(one, "validation").share == 1.0


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("seeds", "most"), [(40, 60), pytest.param(200, MOST_ROWS, marks=pytest.mark.ci)]
)
def test_hundreds_of_runs_are_reported_by_their_first(
    make_record: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seeds: int,
    most: int,
) -> None:
    for module in (markdown, models):
        monkeypatch.setattr(module, "MOST_ROWS", most)
    records = []
    for seed in range(seeds):
        for name in ("ResNet18", "ResNet18_Hybrid"):
            record = make_record(name)
            record["config"]["seed"], record["timing"], record["session"] = seed, [], None
            records.append(record)
    path = render(records, tmp_path / "report", title="many")
    text = path.read_text(encoding="utf8")
    runs = 2 * seeds
    assert f"The first {most} of {runs} rows; all are in tables/runs.csv." in text
    lines = (tmp_path / "report" / "tables" / "runs.csv").read_text(encoding="utf8").splitlines()
    assert len(lines) == runs + 1
    assert (tmp_path / "report" / "report.html").stat().st_size < 8e6
    assert f"and {seeds - 12} other values" in text
