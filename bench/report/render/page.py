"""The report as one page that opens from disk: sortable, filterable, with charts to look into."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import Record
from bench.report.chapters.setup import commands_of, header_items
from bench.report.render.language import ENGLISH, Language, language
from bench.report.render.markdown import Table, one_line
from bench.report.render.page_data import page_data
from bench.report.render.thumbnails import Pictures, thumbnail, worst_mistakes

if TYPE_CHECKING:
    from bench.report.render.document import Chapter

NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
GONE = (
    "The images are no longer where they were when the models were run, or lie outside of the data "
    "folder."
)
_FIRST_NUMBER = re.compile(r"[+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


@attrs.frozen
class Cell:
    """A cell of a sortable table: its text, and the number that it is sorted by, or none."""

    text: str
    number: float | None = None


def write_page(
    selection: Selection,
    chapters: Sequence[Chapter],
    out_dir: Path,
    *,
    title: str,
    reading: str,
    problems: Sequence[str] = (),
    pictures: Pictures | None = None,
    translate: Language | None = None,
) -> Path:
    """Write ``report.html``: one file that needs no network.

    Args:
        selection: the runs.
        chapters: the tables of ``report.md``.
        out_dir: an existing folder.
        title: first heading.
        reading: how the figures are to be read.
        problems: one line for each record that could not be read.
        pictures: gives images of runs, for the worst mistakes; none: no pictures.
        translate: the language; none: English.

    Raises:
        OSError: it cannot be written.
    """
    from plotly.offline import get_plotlyjs

    translate = translate or language(ENGLISH)
    data = page_data(selection)
    for axis in data["axes"]:
        axis["label"] = translate(axis["label"])
        axis["no_front"] = translate(axis["no_front"])
    data["scope"] = translate(data["scope"])
    data["words"] = translate.script
    columns, rows = _comparison(data, translate)
    text = _template().render(
        title=one_line(title),
        synthetic="SYNTHETIC" in selection.data_note(),
        lang=translate.name,
        t=translate,
        reading=translate(reading).replace("`", ""),
        items=[
            (translate(name), one_line(translate(text))) for name, text in header_items(selection)
        ],
        commands=list(map(one_line, commands_of(selection.records))),
        columns=columns,
        rows=rows,
        data=data,
        mistakes=_mistakes(selection.shown(), pictures, translate),
        chapters=[
            (translate(chapter.title), [_table(table, translate) for table in chapter.tables])
            for chapter in chapters
        ],
        problems=list(map(one_line, problems)),
        style=(TEMPLATES / "report.css").read_text(encoding="utf8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf8"),
        plotly=get_plotlyjs(),
    )
    path = out_dir / NAME
    path.write_text(text, encoding="utf8")
    return path


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template("report.html.j2")


# --- the table to compare in -----------------------------------------------------------------


def _comparison(data: dict[str, Any], translate: Language) -> tuple[list[str], list[list[Cell]]]:
    """Return headings and rows, a row for each variant."""
    columns = [
        "Variant", "Accuracy (%), 95 % interval", "Rank", "Cannot be told from",
        "Macro-F1, 95 % interval", *(axis["label"] for axis in data["axes"]),
    ]  # fmt: skip
    rows = [
        [
            Cell(translate.cell(column, cell.text), cell.number)
            for column, cell in zip(columns, _row(variant, data), strict=True)
        ]
        for variant in data["variants"]
    ]
    return list(map(translate, columns)), rows


def _row(variant: dict[str, Any], data: dict[str, Any]) -> list[Cell]:
    rank, missing_reason = variant["rank"], variant["reason"] or "nothing to compare with"
    return [
        Cell(variant["name"]),
        _accuracy_cell(variant["accuracy"], missing_reason),
        Cell(f"n/a ({missing_reason})") if rank is None else Cell(str(rank), rank),
        Cell("n/a" if rank is None else variant["tied"]),
        _figure_cell(variant["macro_f1"], "not recorded"),
        *(_figure_cell(variant["costs"].get(axis["key"]), "not measured") for axis in data["axes"]),
    ]


def _accuracy_cell(found: dict[str, Any] | None, missing_reason: str) -> Cell:
    if found is None:
        return Cell(f"n/a ({missing_reason})")
    text, seeds = f"{found['value']:.1f}", f"{found['seeds']} seeds"
    if found["low"] is not None:
        span = f"{found['low']:.1f}–{found['high']:.1f}"
        text += f" ({seeds}, range {span})" if found["range"] else f" [{span}]"
    text += f", {seeds}" * (found["seeds"] > 1 and not found["range"])
    if found["undertrained"]:
        text = f"undertrained ({text}: {found['undertrained']})"
    return Cell(text, found["value"])


def _figure_cell(figure: dict[str, Any] | None, missing_reason: str) -> Cell:
    if figure is None:
        return Cell(f"n/a ({missing_reason})")
    return Cell(figure["text"], figure["value"])


# --- the other tables ------------------------------------------------------------------------


def _table(table: Table, translate: Language) -> dict[str, Any]:
    return {
        "id": table.id,
        "title": one_line(translate(table.title)),
        "caption": one_line(translate(table.caption)),
        "headers": [one_line(translate(header)) for header in table.headers],
        "rows": [
            [
                Cell(one_line(translate.cell(header, cell)), number_in(cell))
                for header, cell in zip(table.headers, row, strict=True)
            ]
            for row in table.rows
        ],
    }


def number_in(text: str) -> float | None:
    """The number that a cell begins with, for sorting; none where it is text."""
    found = _FIRST_NUMBER.match(str(text).lstrip("~ ").removeprefix("below "))
    if found is None:
        return None
    value = float(found[0].replace(",", ""))
    return value if math.isfinite(value) else None


def _mistakes(
    runs: Sequence[Record], pictures: Pictures | None, translate: Language
) -> dict[str, Any]:
    """Pictures of the worst mistakes; what stands there where there are none."""
    if pictures is None:
        return {"shown": [], "absent": translate("Pictures were left out (--no-pictures).")}
    mistakes = worst_mistakes(runs)
    if not mistakes:
        return {"shown": [], "absent": translate("No mistake is on record.")}
    shown = [
        {
            "picture": address,
            "id": one_line(mistake.id),
            "truth": one_line(mistake.truth),
            "guesses": [
                f"{variant}: {one_line(guess)} ({100 * share:.0f} %)"
                for variant, guess, share in mistake.guesses
            ],
        }
        for mistake in mistakes
        if (address := thumbnail(mistake, pictures)) is not None
    ]
    return {"shown": shown, "absent": translate(GONE)}
