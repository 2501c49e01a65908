"""Renders the outcomes of all calibration experiments as one README from their records."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.report.markdown import escape, pipe_table
from experiments.calibration.common import Record, Row

EXPERIMENTS = (
    "simulated_sessions",
    "accuracy_intervals",
    "counting",
    "sessions",
    "agreement",
    "repeatability",
)
VERDICT = {True: "yes", False: "**NO**", None: "–"}
INTRODUCTION = """\
# Calibration: the harness measured as an instrument

Experiments with planted truth: what the harness says is compared with what was put in. Rates have
their exact (Clopper-Pearson) 95 % interval beside them; “exact” marks rates that were summed over
all outcomes. “informs” marks figures without a bar. Each section below says when, on which machine
and by which command its figures were made; the JSON file of the same name holds the raw counts.
This file is rendered from those files by `python -m experiments.calibration --table`.
"""


def module_of(name: str) -> Any:
    """The module of an experiment.

    Raises:
        BenchError: there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise BenchError(f"no experiment {name!r}: choose from {', '.join(EXPERIMENTS)}")
    return importlib.import_module(f"experiments.calibration.{name}")


def load(folder: Path) -> list[Record]:
    """Records in ``folder``, in the order of :data:`EXPERIMENTS`."""
    paths = [folder / f"{name}.json" for name in EXPERIMENTS]
    return [json.loads(path.read_text(encoding="utf8")) for path in paths if path.exists()]


def render(folder: Path) -> tuple[Path, list[Row]]:
    """Write README.md and the figures beside the records; returns its path and all rows.

    An experiment's module gives ``rows(record)``; where it has them, ``details(record)`` further
    tables as (caption, header, cells) and ``draw(record, folder)`` figures as (what is seen, file).
    """
    outcomes: list[Row] = []
    sections: list[str] = []
    for record in load(folder):
        module = module_of(record["experiment"])
        rows = module.rows(record)
        outcomes.extend(rows)
        sections.append(section(module, record, rows, folder))
    judged = [row.met for row in outcomes if row.met is not None]
    summary = f"**{sum(judged)} of {len(judged)} bars met.**"
    done = {record["experiment"] for record in load(folder)}
    absent = [name for name in EXPERIMENTS if name not in done]
    if absent:
        summary += f" **No record of {escape(', '.join(absent))}: their bars are not judged.**"
    missed = [f"- {escape(row.bar)}: {escape(row.found)}" for row in outcomes if row.met is False]
    if missed:
        summary += " Not met:\n\n" + "\n".join(missed)
    path = folder / "README.md"
    path.write_text("\n\n".join([INTRODUCTION.strip(), summary, *sections]) + "\n", "utf8")
    return path, outcomes


def section(module: Any, record: Record, rows: list[Row], folder: Path) -> str:
    name = record["experiment"]
    parts = [f"## {escape(name)}", escape((module.__doc__ or "").strip()), _made(record)]
    parts.append(_outcome_table(rows))
    if hasattr(module, "draw"):
        for seen, path in module.draw(record, folder):
            parts.append(f"![{escape(seen)}]({path.name})")
    if hasattr(module, "details"):
        for caption, header, cells in module.details(record):
            parts.extend([escape(caption), pipe_table(header, cells)])
    return "\n\n".join(parts)


def _outcome_table(rows: list[Row]) -> str:
    header = ["bar", "required", "found", "how", "met"]
    cells = [[row.bar, row.required, row.found, row.made, "@"] for row in rows]
    lines = pipe_table(header, cells).splitlines()
    # The verdicts carry markup of their own, which the table would escape.
    body = [
        line[: line.rindex("@")] + f"{VERDICT[row.met]} |"
        for line, row in zip(lines[2:], rows, strict=True)
    ]
    return "\n".join([*lines[:2], *body])


def _made(record: Record) -> str:
    machine = record.get("machine") or {}
    versions = ", ".join(f"{name} {v}" for name, v in (record.get("versions") or {}).items())
    parts = [
        f"{record.get('date')}",
        f"{machine.get('cpu_model')}, {machine.get('cores')} cores",
        versions,
        f"seed {record['seed']}" if record.get("seed") is not None else "no random numbers",
    ]
    if record.get("seconds") is not None:
        parts.append(f"took {record['seconds']:.0f} s")
    if record.get("quick"):
        parts.append("QUICK RUN, too few repetitions to judge by")
    made = escape("; ".join(part for part in parts if part))
    return f"Made by `{record.get('command')}`: {made}."
