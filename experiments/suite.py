"""A suite of experiments as a command: runs them, keeps their records, renders them as one page.

An experiment is a module of the suite's package with

- ``PARAMETERS``: what is chosen, as JSON types, and ``QUICK``: what a quick run changes of it;
- ``measure(chosen)``: runs it with these parameters, and ``quick``; returns the rest of its record;
- ``rows(record)``: the bars;

and, where it has them,

- ``SEED`` of its random numbers, ``PACKAGES`` whose versions matter (else the suite's);
- ``details(record)``: further tables as (caption, header, cells);
- ``FIGURES``: by file what is seen, and the function that draws it;
- ``RESUMES``: ``measure`` takes a :class:`Part` too.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import importlib
import json
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
from tabulate import tabulate

from bench.errors import BenchError
from bench.records import write_json
from bench.system.environment import cpu_model, others_load, usable_cores
from experiments.rows import Row

Record = Mapping[str, Any]
Json = dict[str, Any]
Tables = list[tuple[str, Sequence[str], list[list[str]]]]

# In the terminal and on the page.
VERDICTS = {True: ("met", "yes"), False: ("NOT MET", "**NO**"), None: ("informs", "–")}


@attrs.frozen
class Suite:
    """Experiments of one package.

    Attributes:
        name: the package below ``experiments``.
        experiments: its modules, in the order of the page.
        introduction: heads the page.
        packages: whose version matters; those that are not installed are left out.
        timed: whether the load of others before a run is recorded too.
    """

    name: str
    experiments: tuple[str, ...]
    introduction: str
    packages: tuple[str, ...]
    timed: bool = False

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run what is named (all by default).

        Returns:
            0; 1 where a bar is not met; 2 for a wrong name or where an experiment broke.
        """
        command = f"python -m experiments.{self.name}"
        parser = argparse.ArgumentParser(prog=command, description="Run experiments.")
        names_help = f"of {', '.join(self.experiments)} (default: all)"
        parser.add_argument("names", nargs="*", metavar="NAME", help=names_help)
        parser.add_argument(
            "--out", type=Path, default=Path("reports") / self.name, help="folder of the records"
        )
        parser.add_argument("--quick", action="store_true", help="tiny and few, to try it out")
        parser.add_argument("--table", action="store_true", help="render only, run nothing")
        options = parser.parse_args(arguments)
        try:
            names = [] if options.table else options.names or self.experiments
            modules = {name: self.module_of(name) for name in names}
            options.out.mkdir(parents=True, exist_ok=True)
            # Hours of measuring must not be lost to one experiment that breaks.
            broken = [name for name in modules if not self._run(name, options)]
            path, rows = self.render(options.out)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for row in rows:
            verdict, _ = VERDICTS[row.met]
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

    def head(self, name: str, quick: bool) -> Json:
        """The part of a record that says where, when and how its figures came about."""
        module = self.module_of(name)
        arguments = _without_folder(sys.argv[1:]) if self.name in sys.argv[0] else [name]
        versions = {"python": platform.python_version()}
        for package in getattr(module, "PACKAGES", self.packages):
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
        load = {"load_before": others_load()} if self.timed else {}
        return {
            "experiment": name,
            "command": " ".join([f"python -m experiments.{self.name}", *arguments]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "seed": getattr(module, "SEED", None),
            "machine": {"cpu_model": cpu_model(), "cores": usable_cores(), **load},
            "versions": versions,
            "parameters": module.PARAMETERS | (module.QUICK if quick else {}),
        }

    def _run(self, name: str, options: argparse.Namespace) -> bool:
        """Run an experiment and keep its record; whether it came to its end."""
        trace(f"{name} …")
        start, module = time.perf_counter(), self.module_of(name)
        record = self.head(name, options.quick)
        part = Part(options.out / f"{name}.part.json", record)
        resumes = [part] if hasattr(module, "RESUMES") else []
        try:
            chosen = record["parameters"] | {"quick": options.quick}
            record |= module.measure(chosen, *resumes)
        except BenchError as error:
            trace(f"{name}: {error}")
            return False
        except Exception:
            traceback.print_exc()
            return False
        record["seconds"] = time.perf_counter() - start
        record["machine"]["load_after"] = others_load()
        write_json(options.out / f"{name}.json", record)
        part.path.unlink(missing_ok=True)
        return True

    def load(self, folder: Path) -> list[Record]:
        """Records in ``folder``, in the order of the page."""
        paths = [folder / f"{name}.json" for name in self.experiments]
        return [json.loads(path.read_text(encoding="utf8")) for path in paths if path.exists()]

    def render(self, folder: Path) -> tuple[Path, list[Row]]:
        """Write README.md and the figures beside the records; returns its path and all rows."""
        outcomes: list[Row] = []
        sections: list[str] = []
        for record in self.load(folder):
            module = self.module_of(record["experiment"])
            rows = module.rows(record)
            outcomes += rows
            sections += _section(module, record, rows, folder)
        path = folder / "README.md"
        absent = [name for name in self.experiments if not (folder / f"{name}.json").exists()]
        parts = [self.introduction.strip(), _summary(outcomes, absent), *sections]
        path.write_text("\n\n".join(parts) + "\n", "utf8")
        return path, outcomes


class Part:
    """What an experiment has so far, in a file: a process that is killed does not cost hours.

    Args:
        path: the file.
        record: its head; what was left of other parameters or versions is not taken.
    """

    def __init__(self, path: Path, record: Record) -> None:
        self.path = path
        keys = ("experiment", "quick", "parameters", "versions")
        # As it will be read.
        self._head = json.loads(json.dumps({key: record[key] for key in keys}))
        self.done: Json = {}
        if path.exists():
            content = json.loads(path.read_text("utf8"))
            if content.get("head") == self._head:
                self.done = content["done"]

    def add(self, name: str, value: Any) -> None:
        """Keep one more piece, or the newer state of one."""
        self.done[name] = value
        write_json(self.path, {"head": self._head, "done": self.done})


def trace(line: str) -> None:
    """Say on standard error how far an experiment is."""
    print(line, file=sys.stderr, flush=True)


def _without_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--out``: where records went is nobody else's folder."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out")
    return parser.parse_known_args(arguments)[1]


# --- the page --------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no HTML, no table border."""
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    line = re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", html.escape(line, quote=False))
    # Underscores inside a word are no markup in GitHub's Markdown, and names are full of them.
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", line)


def pipe_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A GitHub table; every cell is escaped and numbers are left as written."""
    cells = [list(map(escape, row)) for row in rows]
    return tabulate(cells, list(map(escape, header)), tablefmt="github", disable_numparse=True)


def _summary(outcomes: list[Row], absent: list[str]) -> str:
    judged = [row.met for row in outcomes if row.met is not None]
    summary = f"**{sum(judged)} of {len(judged)} bars met.**"
    if absent:
        summary += f" **No record of {escape(', '.join(absent))}: their bars are not judged.**"
    missed = [f"- {escape(row.bar)}: {escape(row.found)}" for row in outcomes if row.met is False]
    if missed:
        summary += " Not met:\n\n" + "\n".join(missed)
    return summary


def _section(module: Any, record: Record, rows: list[Row], folder: Path) -> list[str]:
    parts = [f"## {escape(record['experiment'])}", escape(module.__doc__ or ""), _made(record)]
    parts.append(_outcome_table(rows))
    for file, (seen, draw) in getattr(module, "FIGURES", {}).items():
        draw(record, folder / file)
        parts.append(f"![{escape(seen)}]({file})")
    if hasattr(module, "details"):
        for caption, header, cells in module.details(record):
            parts += [escape(caption), pipe_table(header, cells)]
    return parts


def _outcome_table(rows: list[Row]) -> str:
    cells = [[row.bar, row.required, row.found, row.made, "@"] for row in rows]
    lines = pipe_table(["bar", "required", "found", "how", "met"], cells).splitlines()
    # The verdicts carry markup of their own, which the table would escape.
    for place, row in enumerate(rows, 2):
        lines[place] = f"{lines[place].rpartition('@')[0]}{VERDICTS[row.met][1]} |"
    return "\n".join(lines)


def _made(record: Record) -> str:
    machine = record.get("machine") or {}
    parts = [
        f"{record.get('date')}",
        f"{machine.get('cpu_model')}, {machine.get('cores')} cores",
        ", ".join(f"{name} {v}" for name, v in (record.get("versions") or {}).items()),
        f"seed {record['seed']}" if record.get("seed") is not None else "no random numbers",
    ]
    if record.get("seconds") is not None:
        parts.append(f"took {record['seconds']:.0f} s")
    if record.get("quick"):
        parts.append("QUICK RUN, too few repetitions to judge by")
    made = escape("; ".join(part for part in parts if part))
    return f"Made by `{record.get('command')}`: {made}."
