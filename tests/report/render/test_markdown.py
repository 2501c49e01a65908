"""Tests that hostile text cannot break a table, a code block or a spreadsheet."""

from __future__ import annotations

import csv
import re

import pytest

from bench.report.render.markdown import (
    Table,
    csv_cell,
    escape,
    fence,
    pipe_table,
    section,
    write_csv,
)

HOSTILE = 'a|b\nc `code` <script>x</script> **bold** [l](u) # "q" \\| $x$ ~~s~~ & \x1b[31m\u2028z'


def unescaped_pipes(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


def test_a_hostile_cell_keeps_the_table_a_table():
    text = pipe_table(["name", "value"], [[HOSTILE, "1"], ["plain", "2"]])
    lines = text.splitlines()
    assert len(lines) == 4
    assert {unescaped_pipes(line) for line in lines} == {3}
    assert "<script>" not in text
    assert "\x1b" not in text


def test_every_markup_character_is_escaped():
    assert escape("`a` *b* [c] <d> & |") == r"\`a\` \*b\* \[c\] &lt;d&gt; &amp; \|"
    assert escape("a\\|b") == r"a\\\|b"


def test_names_with_underscores_stay_readable():
    assert escape("EfficientNetV2_S_CA") == "EfficientNetV2_S_CA"
    assert escape("_x_") == r"\_x\_"


def test_numbers_in_cells_are_left_as_written():
    assert "| 11.70 " in pipe_table(["a"], [["11.70"]])
    assert "| 1e-3 " in pipe_table(["a"], [["1e-3"]])


def test_a_fence_is_longer_than_the_backticks_inside():
    assert fence("a ```` b").splitlines() == ["`````text", "a ```` b", "`````"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd", "@sum", "\t=1", " =1"])
def test_formulas_in_csv_cells_are_quoted(text):
    assert csv_cell(text).startswith("'")


@pytest.mark.parametrize("value", ["-5.0", "+0.8", "1e-3", -5.0, 3, "plain", "93–95"])
def test_numbers_and_plain_text_in_csv_cells_are_left_alone(value):
    assert csv_cell(value) == value


def test_csv_cells_without_a_value_are_empty():
    assert csv_cell(None) == ""


def test_csv_round_trip_with_raw_rows(tmp_path):
    table = Table("t", "T", "c", ["shown"], [["1.2"]], raw=(["raw", "text"], [[1.23456, HOSTILE]]))
    path = write_csv(table, tmp_path)
    with path.open(encoding="utf8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["raw", "text"]
    assert rows[1][0] == "1.23456"
    assert rows[1][1].startswith("a|b c `code`")
    assert len(rows) == 2


def test_an_empty_table_says_so():
    text = section(Table("t", "Failed runs", "", ["a"], [], csv=False))
    assert text == "### Failed runs\n\nNone."


def test_marks_that_turn_the_direction_are_named():
    assert escape("a\u202egnp.exe\u202c") == "a(U+202E)gnp.exe(U+202C)"
    # Letters that are written from right to left are left alone.
    assert escape("\u0634\u0644\u062a\u0648\u0643") == "\u0634\u0644\u062a\u0648\u0643"
