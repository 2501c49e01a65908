"""A suite of experiments as a command: runs them, keeps their records, renders them as one page.

An experiment is a module with ``NAME``, ``run(quick)`` → record and ``rows(record)``; where it has
them, ``details(record)`` gives further tables as (caption, header, cells), ``draw(record, folder)``
figures as (what is seen, file). With ``RESUMES``, ``run`` takes ``keep``: a file in which it leaves
what it has so far.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from bench.records import write_json
from bench.report.render.markdown import escape, pipe_table
from bench.system.environment import others_load
from experiments.record import Record, Row

VERDICT = {True: "yes", False: "**NO**", None: "–"}


@attrs.frozen
class Suite:
    """Experiments of one package.

    Attributes:
        name: the package below ``experiments``.
        experiments: its modules, in the order of the page.
        introduction: heads the page.
    """

    name: str
    experiments: tuple[str, ...]
    introduction: str

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run what is named (all by default).

        Returns:
            0; 1 where a bar is not met; 2 for a wrong name or where an experiment broke.
        """
        command = f"python -m experiments.{self.name}"
        parser = argparse.ArgumentParser(prog=command, description="Run experiments.")
        known = f"of {', '.join(self.experiments)} (default: all)"
        parser.add_argument("names", nargs="*", metavar="NAME", help=known)
        parser.add_argument(
            "--out", type=Path, default=Path("reports") / self.name, help="folder of the records"
        )
        parser.add_argument("--quick", action="store_true", help="tiny and few, to try it out")
        parser.add_argument("--table", action="store_true", help="render only, run nothing")
        options = parser.parse_args(arguments)
        try:
            names = [] if options.table else options.names or self.experiments
            modules = [self.module_of(name) for name in names]
            options.out.mkdir(parents=True, exist_ok=True)
            # Hours of measuring must not be lost to one experiment that breaks.
            broken = [module.NAME for module in modules if not _measure(module, options)]
            path, rows = self.render(options.out)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for row in rows:
            verdict = {True: "met", False: "NOT MET", None: "informs"}[row.met]
            print(f"{verdict:8} {row.bar}: {row.found} [{row.required}; {row.made}]")
        print(path)
        if broken:
            print(f"error: no record of {', '.join(broken)}: see above", file=sys.stderr)
            return 2
        return int(any(row.met is False for row in rows))

    def module_of(self, name: str) -> Any:
        """The module of an experiment.

        Raises:
            BenchError: there is none of that name.
        """
        if name not in self.experiments:
            raise BenchError(f"no experiment {name!r}: choose from {', '.join(self.experiments)}")
        return importlib.import_module(f"experiments.{self.name}.{name}")

    def load(self, folder: Path) -> list[Record]:
        """Records in ``folder``, in the order of the page."""
        paths = [folder / f"{name}.json" for name in self.experiments]
        return [json.loads(path.read_text(encoding="utf8")) for path in paths if path.exists()]

    def render(self, folder: Path) -> tuple[Path, list[Row]]:
        """Write README.md and the figures beside the records; returns its path and all rows."""
        records = self.load(folder)
        outcomes: list[Row] = []
        sections: list[str] = []
        for record in records:
            module = self.module_of(record["experiment"])
            rows = module.rows(record)
            outcomes.extend(rows)
            sections.append(_section(module, record, rows, folder))
        path = folder / "README.md"
        parts = [self.introduction.strip(), self._summary(records, outcomes), *sections]
        path.write_text("\n\n".join(parts) + "\n", "utf8")
        return path, outcomes

    def _summary(self, records: list[Record], outcomes: list[Row]) -> str:
        judged = [row.met for row in outcomes if row.met is not None]
        summary = f"**{sum(judged)} of {len(judged)} bars met.**"
        done = {record["experiment"] for record in records}
        absent = [name for name in self.experiments if name not in done]
        if absent:
            summary += f" **No record of {escape(', '.join(absent))}: their bars are not judged.**"
        missed = [
            f"- {escape(row.bar)}: {escape(row.found)}" for row in outcomes if row.met is False
        ]
        if missed:
            summary += " Not met:\n\n" + "\n".join(missed)
        return summary


def _measure(module: Any, options: argparse.Namespace) -> bool:
    """Run an experiment and keep its record; whether it came to its end."""
    print(f"{module.NAME} …", file=sys.stderr, flush=True)
    start = time.perf_counter()
    part = options.out / f"{module.NAME}.part.json"
    resumes = {"keep": part} if hasattr(module, "RESUMES") else {}
    try:
        record = module.run(options.quick, **resumes)
    except BenchError as error:
        print(f"{module.NAME}: {error}", file=sys.stderr)
        return False
    except Exception:
        traceback.print_exc()
        return False
    record["seconds"] = time.perf_counter() - start
    record["machine"]["load_after"] = others_load()
    write_json(options.out / f"{module.NAME}.json", record)
    part.unlink(missing_ok=True)
    return True


# --- the page --------------------------------------------------------------------------------


def _section(module: Any, record: Record, rows: list[Row], folder: Path) -> str:
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
