"""Renders the outcomes of all speed experiments as one README from their records."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.report.markdown import escape
from experiments.calibration.table import section
from experiments.speed.common import Record, Row

EXPERIMENTS = (
    "training",
    "limit",
    "cold",
    "sweep",
    "pipeline",
    "probe",
    "startup",
    "memory",
    "accuracy",
    "cost",
)
INTRODUCTION = """\
# Speed: ours against timm's training procedure, and against the limit of the step

All images are the project's own drawn (synthetic) JPEGs of 480×640 pixels. A ratio is speed by
speed (above 1: ours is faster) with its 95 % interval over rounds; in a race every round has fresh
processes of all contenders, which take turns epoch by epoch in an order drawn anew, so that a
drifting machine meets them alike. “Fixed batch” is the same
training step, over and over on one batch that lies in memory: what no input pipeline can pass.
“informs” marks figures without a bar. Each section says when, on which machine and by which command
its figures were made; the JSON file of the same name holds every sample. This file is rendered from
those files by `python -m experiments.speed --table`.
"""


def module_of(name: str) -> Any:
    """The module of an experiment.

    Raises:
        BenchError: there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise BenchError(f"no experiment {name!r}: choose from {', '.join(EXPERIMENTS)}")
    return importlib.import_module(f"experiments.speed.{name}")


def load(folder: Path) -> list[Record]:
    """Records in ``folder``, in the order of :data:`EXPERIMENTS`."""
    paths = [folder / f"{name}.json" for name in EXPERIMENTS]
    return [json.loads(path.read_text(encoding="utf8")) for path in paths if path.exists()]


def render(folder: Path) -> tuple[Path, list[Row]]:
    """Write README.md and the figures beside the records; returns its path and all rows.

    An experiment's module gives ``rows(record)``; where it has them, ``details(record)`` further
    tables as (caption, header, cells) and ``draw(record, folder)`` figures as (what is seen, file).
    """
    records = load(folder)
    outcomes: list[Row] = []
    sections: list[str] = []
    for record in records:
        module = module_of(record["experiment"])
        rows = module.rows(record)
        outcomes.extend(rows)
        sections.append(section(module, record, rows, folder))
    path = folder / "README.md"
    parts = [INTRODUCTION.strip(), _summary(records, outcomes), *sections]
    path.write_text("\n\n".join(parts) + "\n", "utf8")
    return path, outcomes


def _summary(records: list[Record], outcomes: list[Row]) -> str:
    judged = [row.met for row in outcomes if row.met is not None]
    summary = f"**{sum(judged)} of {len(judged)} bars met.**"
    absent = [name for name in EXPERIMENTS if name not in {r["experiment"] for r in records}]
    if absent:
        summary += f" **No record of {escape(', '.join(absent))}: their bars are not judged.**"
    missed = [f"- {escape(row.bar)}: {escape(row.found)}" for row in outcomes if row.met is False]
    if missed:
        summary += " Not met:\n\n" + "\n".join(missed)
    return summary
