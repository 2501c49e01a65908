"""The guide's tables in the guide's form: documented and measured value side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.config.options import flag_of, options
from bench.report.analysis.selection import (
    Selection,
    caption,
    distinct,
    run_note,
    timing_note,
    training_note,
)
from bench.report.analysis.timings import RATIO_NOTE, TIMINGS
from bench.report.analysis.validity import Record
from bench.report.analysis.values import fixed
from bench.report.claims.compare import related
from bench.report.claims.model import Claims, ClaimTable, Published, Row, format_documented
from bench.report.render.markdown import Table, one_line


def guide_table(table: ClaimTable, selection: Selection, claims: Claims) -> Table:
    """One comparison table of the guide with the measured figures beside its own."""
    records = selection.shown()
    metrics = {row.metric for row in table.rows}
    timed = bool(metrics & {"cpu_images_per_s", "gpu_images_per_s", "any_images_per_s"})
    text = caption(
        f"Documented: {table.source}. Measured: this report's runs.",
        selection.data_note(),
        run_note(selection),
        "Accuracy: the part named in the cell; one seed with a 95 % Wilson interval, several with "
        "mean, 95 % interval and range."
        if "valid_accuracy" in metrics
        else "",
        timing_note(selection.speeds()) if timed else "",
        training_note(records) if "train_images_per_s" in metrics else "",
        *_ratio_notes(table),
        table.note,
    )
    by_layout = {"metrics": _by_metric, "variants": _by_variant}
    headers, rows = by_layout[table.layout](table, selection, claims)
    return Table(table.id, table.title, text, headers, rows)


def _ratio_notes(table: ClaimTable) -> list[str]:
    """How the measured ratios of a table are taken."""
    related_to = {row.metric for row in table.rows if row.against and row.form == "ratio"}
    quotients = "train_images_per_s" in related_to
    return [
        *([RATIO_NOTE] if related_to & set(TIMINGS) else []),
        *(["Ratios of training images/s are quotients of the two runs' own."] if quotients else []),
    ]


Grid = tuple[list[str], list[list[str]]]


def _by_metric(table: ClaimTable, selection: Selection, claims: Claims) -> Grid:
    remarks = any(row.remark for row in table.rows)
    headers = ["Metric", "Unit"]
    for column in table.columns:
        headers += [f"{column.heading}, documented", f"{column.heading}, measured"]
    headers += ["Conditions of the documented value"] + ["Remark"] * remarks
    rows = []
    for row in table.rows:
        cells = [row.label, row.unit]
        for column in table.columns:
            cells.append(_documented(row, column.variant))
            cells.append(related(selection, row, column.variant).cell())
        rows.append(
            cells
            + [row.conditions or ("" if row.undocumented else "unstated")]
            + [row.remark] * remarks
        )
    return headers, rows


def _by_variant(table: ClaimTable, selection: Selection, claims: Claims) -> Grid:
    documented = {column.variant: column.heading for column in table.columns}
    others = [name for name in selection.variants() if name not in documented]
    headers = ["Model"]
    for row in table.rows:
        if not row.measured_only:
            unit = row.unit if row.documented_unit is None else row.documented_unit
            headers.append(f"{row.label}, documented" + (f" ({unit})" if unit else ""))
        headers.append(f"{row.label}, measured ({row.unit})")
    rows = []
    for variant in [*documented, *others]:
        cells = [documented.get(variant, variant)]
        for row in table.rows:
            if not row.measured_only:
                known = variant in documented
                cells.append(_documented(row, variant) if known else _absent(variant, claims))
            cells.append(related(selection, row, variant).cell(with_device=False))
        rows.append(cells)
    return headers, rows


def _documented(row: Row, variant: str) -> str:
    if variant in row.documented:
        return format_documented(row.documented[variant], approximate=row.approximate)
    if variant == row.against:
        return "reference"
    return f"n/a ({row.undocumented or 'not in the guide'})"


def _absent(variant: str, claims: Claims) -> str:
    elsewhere = claims.documents(variant)
    return f"n/a (not in {'this table of ' if elsewhere else ''}the guide)"


# --- published figures -----------------------------------------------------------------------


def published_table(claims: Claims) -> Table:
    """What others published about the backbones, and the ratio of V2-S to ResNet18 that follows."""
    names = distinct(name for entry in claims.published for name in entry.value)
    headers = ["Quantity", "Unit", *names, "EfficientNetV2_S ÷ ResNet18", "Conditions", "Source"]
    rows = [
        [
            entry.quantity,
            entry.unit,
            *(f"{entry.value[name]:,g}" if name in entry.value else "n/a" for name in names),
            _published_ratio(entry),
            entry.conditions,
            entry.source,
        ]
        for entry in claims.published
    ]
    text = (
        "Nothing here was measured by this project. Where the image sizes differ, the ratio scales "
        "the speed with the number of pixels to the same size."
    )
    return Table("published", "Published figures of the same backbones", text, headers, rows)


def _published_ratio(entry: Published) -> str:
    ratio = entry.ratio("EfficientNetV2_S", "ResNet18")
    if entry.unit == "%" or ratio is None:
        return "n/a (not a speed)"
    return fixed(ratio, 2) + (" (scaled to equal size)" if entry.pixels else "")


# --- parameters ------------------------------------------------------------------------------


def parameter_tables(selection: Selection, claims: Claims) -> list[Table]:
    """The guide's parameter tables, then the options that it does not document."""
    declared = {field.name: field for field in options()}
    note, uses = selection.data_note(), uses_of(selection.records)
    tables = []
    for table in claims.parameters:
        rows = [
            [
                flag_of(item.name),
                item.default,
                _default(declared[item.name]),
                item.recommended,
                used(uses, item.name),
                declared[item.name].metadata["help"],
            ]
            for item in table.parameters
        ]
        headers = ["Parameter", "Default, documented", "Default, program"]
        headers += ["Recommended, documented", "Used in these runs", "Meaning"]
        text = caption(f"Documented: {table.source}.", note)
        tables.append(Table(table.id, table.title, text, headers, rows))
    return [*tables, _other_options(uses, claims, note)]


def _other_options(uses: Uses, claims: Claims, note: str) -> Table:
    documented = {item.name for table in claims.parameters for item in table.parameters}
    rows = [
        [
            flag_of(field.name),
            _default(field),
            used(uses, field.name),
            field.metadata["help"],
        ]
        for field in options()
        # Paths belong to the machine that ran, not to the result.
        if field.name not in documented and field.metadata["kind"].__name__ != "Path"
    ]
    headers = ["Parameter", "Default, program", "Used in these runs", "Meaning"]
    text = caption("Options that are in none of the guide's parameter tables.", note)
    return Table("parameters-other", "Other parameters", text, headers, rows)


def _default(field: Any) -> str:
    return "none" if field.default is None else written(field.default)


# Of a hundred seeds the first ones say enough; runs.csv has all.
MOST_VALUES = 12


PLAIN = (str, int, float, type(None))
Uses = Mapping[str, Mapping[tuple[Any, ...], None]]


def uses_of(records: Sequence[Record]) -> Uses:
    """The options of the runs: each with its different values and where they came from."""
    # Run by run: ten thousand records are far apart in memory.
    found: dict[str, dict[tuple[Any, ...], None]] = {}
    for record in records:
        sources = record.get("config_sources") or {}
        for name, value in (record.get("config") or {}).items():
            source = sources.get(name)
            # By its type too: 1 is not True. What has no hash is told apart by its text.
            if not isinstance(value, PLAIN):
                value = str(value)
            if not isinstance(source, PLAIN):
                source = str(source)
            found.setdefault(name, {})[type(value), value, source] = None
    return found


def used(uses: Uses, name: str) -> str:
    """The values of an option in the runs, with where they came from."""
    found: dict[str, list[str]] = {}
    for _, value, source in uses.get(name, ()):
        text = "none" if value is None else written(value)
        found.setdefault(text, []).append(one_line(source or "unrecorded"))
    if not found:
        return "n/a (not recorded)"
    texts = [f"{value} ({', '.join(distinct(by))})" for value, by in found.items()]
    more = len(texts) - MOST_VALUES
    return "; ".join(texts if more <= 0 else [*texts[:MOST_VALUES], f"and {more} other values"])


def written(value: Any) -> str:
    """An option's value as the guide types it: 0.0003 → ``3e-4``, True → ``on``."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        if 0 < value < 0.01:
            digits, exponent = f"{value:.5e}".split("e")
            return f"{float(digits):g}e{int(exponent)}"
        return f"{value:g}"
    return one_line(value)
