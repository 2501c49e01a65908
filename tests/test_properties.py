"""What holds for every input, not for those alone that somebody thought of."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import variants
from bench.config.options import RunConfig, build, options
from bench.config.presets import resolve
from bench.data.index import ImageIndex
from bench.data.splitting.splits import largest_remainder, split, stratified_subset
from bench.errors import BenchError
from bench.report.render.markdown import (
    Table,
    csv_cell,
    escape,
    fence,
    pipe_table,
    section,
    write_csv,
)
from bench.runner.manifest import _config
from bench.system.files import Damaged, read_sealed, write_sealed

quick = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="|`*_[]<>#~!$&\\=+-@\n\r\t\u2028\u202e\x00\x1b'\"/.", max_size=40),
    st.sampled_from(
        [
            "../../etc/passwd", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "x" * 300,
            "а" + "b", "\u202egnp.exe", "| a | b |", "```\nrm\n```", "[x](javascript:1)", "&lt;",
        ]
    ),
)  # fmt: skip


# --- options ---------------------------------------------------------------------------------


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """Values of an option's type, in and out of its bounds."""
    meta = field.metadata
    kind = meta["kind"]
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(-5, 2000)
    if issubclass(kind, float):
        return st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.01, 0.9)
    if kind is Path:
        return st.text(string.ascii_letters, min_size=1, max_size=8).map(Path)
    return st.sampled_from(["model", "model,train", "eager", "eager,folded", "nothing"])


@quick
@given(st.data())
def test_a_config_is_refused_in_a_line_or_comes_back_from_its_record(data: Any) -> None:
    chosen = data.draw(st.lists(st.sampled_from(list(options())), max_size=4, unique=True))
    values = {field.name: data.draw(values_of(field), label=field.name) for field in chosen}
    try:
        config = build(values)
    except BenchError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    again = _config(json.loads(json.dumps(config.as_record())))
    assert again == config


@quick
@given(st.sampled_from([f.name for f in options()]), st.text(max_size=20))
def test_an_option_from_the_environment_is_refused_in_a_line(name: str, text: str) -> None:
    try:
        found = resolve({}, environ={f"PADDY_BENCH_{name.upper()}": text}).config
    except BenchError as error:
        assert "\n" not in str(error).replace(text, "").replace(repr(text), "")  # noqa: PT017
    else:
        assert isinstance(found, RunConfig)


# --- selection -------------------------------------------------------------------------------

TOKENS = st.one_of(
    st.sampled_from([*variants.names(), "all", "baselines", "*", "*18*", "EfficientNetV2_S_*", ""]),
    st.text(string.printable, max_size=12),
)


@quick
@given(st.lists(st.lists(TOKENS, max_size=3).map(",".join), max_size=3))
def test_a_selection_names_each_variant_once_or_says_what_is_unknown(patterns: list[str]) -> None:
    try:
        found = [variant.name for variant in variants.select(patterns)]
    except variants.VariantError:
        return
    assert found
    assert len(set(found)) == len(found)
    assert set(found) <= set(variants.names())
    # Asked for by their names, they are the same ones.
    assert [variant.name for variant in variants.select(found)] == found


# --- index and splits ------------------------------------------------------------------------


def index_of(labels: list[int], groups: list[str | None] | None = None) -> ImageIndex:
    count = len(labels)
    return ImageIndex(
        root=Path(),
        layout="class-folders",
        synthetic=False,
        classes=tuple(f"c{number}" for number in range(max(labels) + 1)),
        paths=tuple(f"{position:05}.png" for position in range(count)),
        labels=tuple(labels),
        parts=(None,) * count,
        file_sizes=(1,) * count,
        fingerprint="",
    )


LABELS = st.lists(st.integers(0, 3), min_size=2, max_size=120)


@quick
@given(LABELS, st.floats(0.05, 0.45), st.sampled_from([0.0, 0.1, 0.3]), st.integers(0, 5))
def test_a_split_holds_every_image_once_and_every_class_in_every_part(
    labels: list[int], valid: float, test: float, seed: int
) -> None:
    index = index_of(labels)
    try:
        found = split(index, valid_fraction=valid, test_fraction=test, seed=seed)
    except BenchError as error:
        assert "too few to split" in str(error)  # noqa: PT017
        wanted = 3 if test else 2
        assert min(labels.count(label) for label in set(labels)) < wanted
        return
    parts = found.as_dict()
    together = [position for positions in parts.values() for position in positions]
    assert sorted(together) == list(range(len(labels)))
    for part, positions in parts.items():
        assert list(positions) == sorted(positions)
        if part != "test" or test:
            assert {labels[position] for position in positions} == set(labels)
    assert found == split(index, valid_fraction=valid, test_fraction=test, seed=seed)


@quick
@given(LABELS, st.integers(1, 130), st.integers(0, 5))
def test_a_subset_has_its_size_and_all_classes(labels: list[int], limit: int, seed: int) -> None:
    positions = range(0, len(labels), 2)
    here = [labels[position] for position in positions]
    try:
        found = stratified_subset(positions, labels, limit, seed)
    except BenchError:
        assert limit < len(set(here))
        return
    assert len(found) == min(limit, len(positions))
    assert set(found) <= set(positions)
    assert {labels[position] for position in found} == set(here)


@quick
@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 200))
def test_shares_sum_to_the_whole_and_are_off_by_less_than_one(
    weights: list[int], total: int
) -> None:
    found = largest_remainder(total, weights, [0] * len(weights))
    assert sum(found) == total
    for count, weight in zip(found, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) < 1 + 1e-6


# --- records ---------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
    max_size=4),
    max_leaves=12,
)  # fmt: skip


@quick
@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key != "checksum"), JSON, max_size=6))
def test_a_record_comes_back_as_it_was(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "run.json"
    try:
        write_sealed(path, content)
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return
    assert read_sealed(path) == json.loads(json.dumps(content))


@quick
@given(st.data())
def test_a_record_with_another_byte_is_damaged_or_says_the_same(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "run.json"
    content = {"variant": "ResNet18", "accuracy": 0.875, "predictions": [1, 2, 3], "note": None}
    write_sealed(path, content)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    with contextlib.suppress(Damaged):
        assert read_sealed(path) == content
    path.write_bytes(whole[:place])
    with contextlib.suppress(Damaged):
        assert read_sealed(path) == content


# --- text from outside -----------------------------------------------------------------------


@quick
@given(st.lists(st.lists(HOSTILE, min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_table_stays_a_table(rows: list[list[str]]) -> None:
    lines = pipe_table(["a", "b", "c"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    for line in lines:
        borders = re.findall(r"(?<!\\)(?:\\\\)*\|", line)
        assert len(borders) == 4
        assert "<" not in line
        assert ">" not in line


@quick
@given(HOSTILE, HOSTILE)
def test_headings_and_captions_are_one_line_without_markup(title: str, caption: str) -> None:
    text = section(Table("t", title, caption, ["a"], [["1"]], csv=False))
    first, _, rest = text.partition("\n")
    assert first.startswith("### ")
    assert "<" not in first + rest
    assert len(escape(title).splitlines()) <= 1


@quick
@given(HOSTILE)
def test_a_code_block_ends_where_it_should(text: str) -> None:
    lines = fence(text).split("\n")
    ticks = lines[0].removesuffix("text")
    assert set(ticks) == {"`"}
    assert not any(line.strip().startswith(ticks) for line in "\n".join(lines[1:-1]).split("\n"))


@quick
@given(st.lists(st.lists(HOSTILE, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_csv_has_its_cells_and_no_formula(tmp_path: Path, rows: list[list[str]]) -> None:
    path = write_csv(Table("t", "t", "", ["a", "b"], rows), tmp_path)
    found = list(csv.reader(io.StringIO(path.read_text(encoding="utf8"), newline="")))
    assert len(found) == 1 + len(rows)
    assert all(len(row) == 2 for row in found)
    for row in found[1:]:
        for cell in row:
            if cell.startswith(("=", "+", "-", "@")):
                float(cell)


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1"])
def test_formulas_are_text(text: str) -> None:
    assert csv_cell(text).startswith("'")
