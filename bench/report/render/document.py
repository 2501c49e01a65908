"""A report from records alone: ``report.md``, ``report.html``, tables as CSV and figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from bench.report.analysis.ranking import ranking_table
from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import Remembered
from bench.report.chapters.attention import pair_tables
from bench.report.chapters.backends import mode_tables
from bench.report.chapters.bias import bias_table
from bench.report.chapters.deployment import deployment_tables
from bench.report.chapters.duplicates import copies_table, leak_table
from bench.report.chapters.guide import guide_table, parameter_tables, published_table
from bench.report.chapters.mistakes import mistakes_tables
from bench.report.chapters.models import overview_tables
from bench.report.chapters.progressive import progressive_tables
from bench.report.chapters.recommend import recommendations
from bench.report.chapters.seeds import spread_table
from bench.report.chapters.setup import (
    class_tables,
    failures_table,
    header,
    problem_list,
    warnings_table,
)
from bench.report.chapters.speed import speed_tables
from bench.report.claims.expected import presets_table
from bench.report.claims.model import load_claims
from bench.report.claims.statements import Claim
from bench.report.claims.verdicts import verdict_table
from bench.report.render.language import ENGLISH, Language, language
from bench.report.render.markdown import Table, escape, section, shortened, write_csv
from bench.report.render.page import write_page
from bench.report.render.pictured import draw_figures
from bench.report.render.thumbnails import Pictures

READING = (
    "Documented figures are the guide's; measured ones come from the run records alone and are "
    "rounded here only (`tables/runs.csv` has them unrounded). `n/a (reason)`: not measured. "
    "`invalid (reason)`: measured, and a sanity gate says why it cannot be believed. "
    "`undertrained (…)`: the accuracy says nothing about the model. A figure of another device "
    "than the documented one is no verdict on it; the ratio between two models may be compared."
)


@attrs.frozen
class Chapter:
    """A heading and the tables below it."""

    title: str
    tables: tuple[Table, ...]


def render(
    records: list[dict[str, Any]],
    out_dir: Path,
    *,
    title: str,
    problems: Sequence[str] = (),
    own_claims: Sequence[Claim] = (),
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    pictures: Pictures | None = None,
    others: Sequence[dict[str, Any]] = (),
    lang: str = ENGLISH,
) -> Path:
    """Write the report of some runs.

    Args:
        records: run records (schema "paddy-bench/run", version 2), complete and failed ones.
        out_dir: folder to write ``report.md``, ``report.html``, ``tables/`` and ``figures/`` into.
        title: first heading.
        problems: one line for each record that could not be read.
        own_claims: the user's claims, judged after the guide's.
        max_latency_ms, max_size_mb: budgets of the recommendations (latency at batch 1; MB = 10⁶
            bytes), or none.
        pictures: gives images of runs for the page's worst mistakes; none: it shows none.
        others: records of other sweeps, in which plain and progressive runs find their pairs.
        lang: of :data:`bench.LANGUAGES`; CSV files and figures are English in any.

    Returns:
        Path of ``report.md``.

    Raises:
        BenchError: the folder cannot be written.
    """
    translate = language(lang)
    with Remembered([*records, *others]):
        selection = Selection(records)
        chapters = all_tables(
            selection,
            own_claims,
            max_latency_ms=max_latency_ms,
            max_size_mb=max_size_mb,
            others=others,
        )
        try:
            return _write(selection, chapters, out_dir, title, problems, pictures, translate)
        except OSError as error:
            raise BenchError(
                f"cannot write the report to {out_dir}: {error.strerror}: choose another "
                "--reports-dir"
            ) from error


def _write(
    selection: Selection,
    chapters: list[Chapter],
    out_dir: Path,
    title: str,
    problems: Sequence[str],
    pictures: Pictures | None,
    translate: Language,
) -> Path:
    for folder in (out_dir, out_dir / "tables", out_dir / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
    for table in chain.from_iterable(chapter.tables for chapter in chapters):
        if table.csv:
            write_csv(table, out_dir / "tables")
    chapters = [
        Chapter(chapter.title, tuple(map(shortened, chapter.tables))) for chapter in chapters
    ]
    figures = draw_figures(selection, out_dir / "figures", translate)
    path = out_dir / "report.md"
    text = _document(selection, chapters, figures, title, problems, translate)
    path.write_text(text, encoding="utf8")
    write_page(
        selection,
        chapters,
        out_dir,
        title=title,
        reading=READING,
        problems=problems,
        pictures=pictures,
        translate=translate,
    )
    return path


def all_tables(
    selection: Selection,
    own_claims: Sequence[Claim] = (),
    *,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    others: Sequence[dict[str, Any]] = (),
) -> list[Chapter]:
    """Every table of the report, in its order."""
    claims = load_claims()
    guide = [guide_table(table, selection, claims) for table in claims.tables]
    accuracies = (bias_table, spread_table, leak_table, copies_table)
    choice = recommendations(selection, max_latency_ms, max_size_mb)
    chapters: dict[str, Sequence[Table]] = {
        "Runs": overview_tables(selection),
        "What to choose": [choice, ranking_table(selection)],
        "What attention costs and gains": pair_tables(selection),
        "Progressive learning": progressive_tables(selection, others),
        "Where they are wrong": mistakes_tables(selection),
        "Speed": [*speed_tables(selection), *mode_tables(selection)],
        "Deployment": deployment_tables(selection),
        "Claims": [verdict_table(selection, own_claims)],
        "The guide's tables": [*guide, presets_table(selection)],
        "Published elsewhere, not measured here": [published_table(claims)],
        "How far to trust the accuracies": [table(selection) for table in accuracies],
        "Parameters": parameter_tables(selection, claims),
        "Data": class_tables(selection),
        "Failures and warnings": [failures_table(selection), warnings_table(selection)],
    }
    return [Chapter(title, tuple(tables)) for title, tables in chapters.items() if tables]


def in_language(table: Table, translate: Language) -> Table:
    """A table as it is shown in a language."""
    return attrs.evolve(
        table,
        title=translate(table.title),
        caption=translate(table.caption),
        headers=[translate(header) for header in table.headers],
        rows=[
            [translate.cell(header, cell) for header, cell in zip(table.headers, row, strict=True)]
            for row in table.rows
        ],
    )


def _document(
    selection: Selection,
    chapters: Sequence[Chapter],
    figures: Sequence[str],
    title: str,
    problems: Sequence[str],
    translate: Language,
) -> str:
    blocks = [f"# {escape(title)}", header(selection, translate), translate(READING)]
    for chapter in chapters:
        blocks.append(f"## {translate(chapter.title)}")
        blocks += [
            section(in_language(table, translate), none=translate("None."))
            for table in chapter.tables
        ]
        if chapter.title == "Runs":
            blocks += figures
    blocks.append(problem_list(problems, translate))
    return "\n\n".join(blocks) + "\n"
