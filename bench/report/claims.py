"""The documented numbers of ``claims.toml`` as objects, and how they are written in a cell."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import attrs

Documented = float | tuple[float, float] | str


@attrs.frozen
class Row:
    """One documented metric, for the variants that the guide gives it for.

    Attributes:
        metric: name of the measured figure that stands beside it (:mod:`bench.report.cells`).
        against: variant to which ``form`` ("ratio" or "difference") relates each figure.
        of: key of the row whose documented values this row is the ratio of.
        undocumented: why no documented value stands in this row.
        measured_only: no documented column at all (layout "variants").
        documented_unit: unit of the documented value where it differs from the measured one's.
    """

    key: str
    label: str
    metric: str
    unit: str
    documented: Mapping[str, Documented]
    conditions: str = ""
    remark: str = ""
    against: str | None = None
    form: str = "ratio"
    of: str | None = None
    approximate: bool = False
    undocumented: str | None = None
    measured_only: bool = False
    documented_unit: str | None = None


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
        pixels: image size behind each value, where the sizes differ.
    """

    quantity: str
    unit: str
    conditions: str
    source: str
    value: Mapping[str, float]
    pixels: Mapping[str, int] = attrs.field(factory=dict)

    def ratio(self, variant: str, base: str) -> float | None:
        """``variant`` ÷ ``base``, scaled to the base's image size; None where one is missing."""
        if variant not in self.value or base not in self.value:
            return None
        scale = (self.pixels[variant] / self.pixels[base]) ** 2 if self.pixels else 1.0
        return self.value[variant] * scale / self.value[base]


@attrs.frozen
class Claims:
    """Everything that ``claims.toml`` documents."""

    tables: tuple[ClaimTable, ...]
    parameters: tuple[ParameterTable, ...]
    published: tuple[Published, ...]
    presets: Mapping[str, Mapping[str, Any]]

    def documents(self, variant: str) -> bool:
        """Whether any of the guide's tables has a column for the variant."""
        return any(column.variant == variant for table in self.tables for column in table.columns)


@cache
def load_claims() -> Claims:
    """Read the package's ``claims.toml``."""
    text = resources.files("bench.report").joinpath("claims.toml").read_text(encoding="utf8")
    return parse_claims(tomllib.loads(text))


def parse_claims(raw: Mapping[str, Any]) -> Claims:
    """Objects from the parsed TOML; a key that is misspelt there raises TypeError."""
    return Claims(
        tables=tuple(_table(entry) for entry in raw["table"]),
        parameters=tuple(
            ParameterTable(
                id=entry["id"],
                title=entry["title"],
                source=entry["source"],
                parameters=tuple(Parameter(**item) for item in entry["options"]),
            )
            for entry in raw["parameters"]
        ),
        published=tuple(Published(**entry) for entry in raw["published"]),
        presets=raw["presets"],
    )


def _table(entry: Mapping[str, Any]) -> ClaimTable:
    rows = []
    for item in entry["row"]:
        given = {
            variant: tuple(value) if isinstance(value, list) else value
            for variant, value in item.get("documented", {}).items()
        }
        rows.append(Row(**{**item, "documented": given}))
    by_key = {row.key: row for row in rows}
    return ClaimTable(
        id=entry["id"],
        title=entry["title"],
        source=entry["source"],
        layout=entry["layout"],
        columns=tuple(Column(**column) for column in entry["columns"]),
        rows=tuple(_derive(row, by_key) for row in rows),
        note=entry.get("note", ""),
    )


def _derive(row: Row, by_key: Mapping[str, Row]) -> Row:
    """Fill the documented ratios of a row that is stated as the ratio of another."""
    if row.of is None or row.against is None:
        return row
    source = by_key[row.of]
    base = source.documented
    against = base[row.against]
    ratios: dict[str, Documented] = {
        variant: round(value / against, 2)
        for variant, value in base.items()
        if isinstance(value, (int, float)) and isinstance(against, (int, float))
    }
    return attrs.evolve(
        row,
        documented=ratios,
        approximate=source.approximate,
        conditions=row.conditions or source.conditions,
    )


def format_documented(value: Documented, *, approximate: bool = False) -> str:
    """The guide's figure as text: ``~350``, ``93–95``, ``Fast``."""
    if isinstance(value, str):
        return value
    tilde = "~" if approximate else ""
    if isinstance(value, (tuple, list)):
        low, high = value
        return tilde + (f"{low:g}" if low == high else f"{low:g}–{high:g}")
    return f"{tilde}{value:g}"
