"""The documented numbers of ``claims.toml`` as objects, and how they are written in a cell."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import attrs

from bench.report.claims.quantities import Documented, as_documented


def _documented(values: Mapping[str, Any]) -> dict[str, Documented]:
    return {variant: as_documented(value) for variant, value in values.items()}


@attrs.frozen
class Row:
    """One documented metric, for the variants that the guide gives it for.

    Attributes:
        metric: name of the measured figure beside it (:mod:`bench.report.analysis.metrics`).
        against: variant to which ``form`` ("ratio" or "difference") relates each figure.
        of: key of the row whose documented values this row is the ratio of.
        undocumented: why no documented value stands in this row.
        measured_only: no documented column at all (layout "variants").
        documented_unit: unit of the documented value where it differs from the measured one's.
        when: the conditions as data (:data:`bench.report.claims.conditions.KINDS`); absent is
            unstated.
        tolerance: absolute, or a share such as "5 %"; None for the metric's default.
        remark_for: variants that the remark is about; empty for all.
        judged: whether the values are claims; false where claims of their own state them better.
    """

    key: str
    label: str
    metric: str
    unit: str
    documented: Mapping[str, Documented] = attrs.field(converter=_documented, factory=dict)
    conditions: str = ""
    remark: str = ""
    against: str | None = None
    form: str = "ratio"
    of: str | None = None
    approximate: bool = False
    undocumented: str | None = None
    measured_only: bool = False
    documented_unit: str | None = None
    when: Mapping[str, Any] = attrs.field(factory=dict)
    tolerance: float | str | None = None
    remark_for: Collection[str] = ()
    judged: bool = True


@attrs.frozen
class Column:
    """A variant of a comparison table and the guide's name for it."""

    variant: str
    heading: str


@attrs.frozen
class ClaimTable:
    """One comparison table of the guide."""

    id: str
    title: str
    source: str
    layout: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


@attrs.frozen
class Parameter:
    """The guide's default and recommendation for one option, as it writes them."""

    name: str
    default: str
    recommended: str


@attrs.frozen
class ParameterTable:
    """One of the guide's parameter tables."""

    id: str
    title: str
    source: str
    parameters: tuple[Parameter, ...]


@attrs.frozen
class Published:
    """A figure that others published for several backbones under one set of conditions.

    Attributes:
        pixels: image size behind each speed, where the sizes differ.
        sizes: image size behind each accuracy.
        device: "cpu" or "cuda", for speeds.
    """

    quantity: str
    unit: str
    conditions: str
    source: str
    value: Mapping[str, float]
    pixels: Mapping[str, int] = attrs.field(factory=dict)
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    device: str | None = None

    def ratio(self, variant: str, base: str) -> float | None:
        """Return ``variant`` ÷ ``base``, scaled to equal image sizes; None where one is missing."""
        if variant not in self.value or base not in self.value:
            return None
        scale = (self.pixels[variant] / self.pixels[base]) ** 2 if self.pixels else 1.0
        return self.value[variant] * scale / self.value[base]


@attrs.frozen
class Reference:
    """A published figure of other data or models: orientation beside the claims that it names."""

    metric: str
    variants: Collection[str]
    text: str
    source: str


@attrs.frozen
class Claims:
    """Everything that ``claims.toml`` documents.

    Attributes:
        stated: claims that stand in none of the tables, as they are in the file.
        references: published figures for orientation.
        data: class names of the data sets that conditions name.
        backbones: the published name of the backbone inside a variant.
    """

    tables: tuple[ClaimTable, ...]
    parameters: tuple[ParameterTable, ...]
    published: tuple[Published, ...]
    presets: Mapping[str, Mapping[str, Any]]
    stated: Sequence[Mapping[str, Any]]
    references: tuple[Reference, ...]
    data: Mapping[str, Collection[str]]
    backbones: Mapping[str, str]

    def documents(self, variant: str) -> bool:
        """Return whether any of the guide's tables has a column for the variant."""
        return any(column.variant == variant for table in self.tables for column in table.columns)


@cache
def load_claims() -> Claims:
    """Read the package's ``claims.toml``."""
    text = resources.files("bench.report.claims").joinpath("claims.toml").read_text(encoding="utf8")
    return parse_claims(tomllib.loads(text))


def parse_claims(raw: Mapping[str, Any]) -> Claims:
    """Return objects from the parsed TOML; a key that is misspelt there raises TypeError."""
    return Claims(
        tables=tuple(_table(**entry) for entry in raw["table"]),
        parameters=tuple(_parameters(**entry) for entry in raw["parameters"]),
        published=tuple(Published(**entry) for entry in raw["published"]),
        presets=raw["presets"],
        stated=raw["claim"],
        references=tuple(Reference(**entry) for entry in raw["reference"]),
        data=raw["data"],
        backbones=raw["backbones"],
    )


def _table(
    *, row: Iterable[Mapping[str, Any]], columns: Iterable[Mapping[str, str]], **entry: str
) -> ClaimTable:
    rows = {item["key"]: Row(**item) for item in row}
    return ClaimTable(
        **entry,
        columns=tuple(Column(**column) for column in columns),
        rows=tuple(_derive(each, rows) for each in rows.values()),
    )


def _parameters(*, options: Iterable[Mapping[str, str]], **entry: str) -> ParameterTable:
    return ParameterTable(**entry, parameters=tuple(Parameter(**item) for item in options))


def _derive(row: Row, rows: Mapping[str, Row]) -> Row:
    """Fill the documented ratios of a row that is stated as the ratio of another."""
    if row.of is None or row.against is None:
        return row
    source = rows[row.of]
    base = source.documented[row.against]
    return attrs.evolve(
        row,
        documented={
            variant: rounded(value / base)
            for variant, value in source.documented.items()
            if isinstance(value, (int, float)) and isinstance(base, (int, float))
        },
        approximate=source.approximate,
        conditions=row.conditions or source.conditions,
        when=row.when or source.when,
    )


def rounded(ratio: float) -> float:
    """Round a ratio of two documented figures to three significant digits."""
    return float(f"{ratio:.3g}")


def format_documented(value: Documented, *, approximate: bool = False) -> str:
    """Write the guide's figure: ``~350``, ``93–95``, ``Fast``."""
    if isinstance(value, str):
        return value
    low, high = value if isinstance(value, (tuple, list)) else (value, value)
    text = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"~{text}" if approximate else text
