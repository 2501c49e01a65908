"""The same from Python, for notebooks: run a sweep, load records as a table, compare variants."""

from __future__ import annotations

import contextlib
import difflib
import logging
import shlex
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import variants as registry
from bench.config.options import options as declared
from bench.config.options import parse_value
from bench.config.presets import Resolved, resolve
from bench.errors import BenchError
from bench.executors import executor_of
from bench.system.console import LOGGER, ConsoleHandler, log_to
from bench.system.launch import sleep_soon
from variants import Variant

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PATHS = str | Path


def run(
    variants: str | Sequence[str] = "all",
    *,
    preset: str | None = None,
    plugins: Sequence[PATHS] = (),
    stream: TextIO | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Check, time and train variants as ``python -m bench run`` does; a record for each run.

    A variant that fails is a record whose ``status`` is ``failed``, with its ``error``; the others
    go on. Interrupted, what is finished is kept (``python -m bench run --resume`` goes on). In a
    script it must stand under ``if __name__ == "__main__":``, since processes are started.

    Args:
        variants: names, globs and groups, comma-separated or as a list.
        preset: name of a preset.
        plugins: Python files that register variants; their code runs with your rights.
        stream: where progress goes; none: standard error, or where handlers of the logger ``bench``
            send it.
        options: as the flags of ``python -m bench run --help``, with underscores: ``data_dir``,
            ``epochs``, ``batch_size``, …

    Returns:
        What is in each ``run.json``, with ``folder``, the path of the run. Where ``hours`` were
        over first, those that have begun.

    Raises:
        BenchError: a mistake in what was asked, in one line; nothing was trained.
        KeyboardInterrupt: interrupted.
    """
    begin = time.monotonic()
    sleep_soon()
    chosen = _chosen(variants, plugins)
    resolved = resolve(_values(options), preset=preset)
    command = _command(variants, preset, plugins, options)
    own = stream is not None or not LOGGER.handlers
    with log_to(ConsoleHandler(stream)) if own else contextlib.nullcontext():
        return _run(chosen, resolved, command, [Path(path) for path in plugins], begin)


def _run(
    chosen: list[Variant], resolved: Resolved, command: str, plugins: list[Path], begin: float
) -> list[dict[str, Any]]:
    from bench.runner.preflight import check
    from bench.runner.sweep import run_sweep
    from bench.system.signals import StopRequest, TrainingInterrupted

    results_dir, hours = resolved.config.results_dir, resolved.config.hours
    checked = check(chosen, resolved.config, executor=executor_of(resolved.config.executor))
    notes = [f"warning   {line}" for line in resolved.warnings]
    logger.info("\n".join([*notes, *checked.lines]))
    before = {record["sweep"]["id"] for record in _records(results_dir)}
    stopper = StopRequest(None if hours is None else begin + 3600 * hours)
    with stopper.listening():
        try:
            outcome = run_sweep(
                chosen, resolved, checked, command=command, plugins=plugins, stopper=stopper
            )
        except TrainingInterrupted as stopped:
            if stopped.number is not None:
                raise KeyboardInterrupt("stopped: what is finished is kept") from stopped
            words = ["python", "-m", "bench", "run", "--resume", "--results-dir", str(results_dir)]
            for path in plugins:
                words += ["--plugin", str(path)]
            logger.info(
                f"hours={hours:g} are over: what is finished is kept; go on with: "
                f"{shlex.join(words)}"
            )
            runs = [
                (results_dir / record["folder"], record)
                for record in _records(results_dir)
                if record["sweep"]["id"] not in before
            ]
        else:
            runs = outcome.runs
    return [{**record, "folder": str(folder)} for folder, record in runs]


def load(
    results_dir: PATHS = "results", *, sweep: str | None = None, runs: Sequence[str] = ()
) -> pd.DataFrame:
    """A tidy table: one row for each run, oldest first, units in the columns' names.

    Args:
        results_dir: holds one folder for each run.
        sweep: only this sweep's runs.
        runs: only these, by folder name or path.

    Raises:
        BenchError: no such folder, run or sweep, or no readable record.
    """
    from bench.records import load_records, to_frame

    records, problems = load_records(Path(results_dir), [str(run) for run in runs])
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    if sweep is not None:
        known = sorted({record["sweep"]["id"] for record in records})
        records = [record for record in records if record["sweep"]["id"] == sweep]
        if not records:
            raise BenchError(f"no sweep {sweep!r} in {results_dir}: {', '.join(known)}")
    if not records:
        raise BenchError(f"no readable records in {results_dir}: run something first")
    return to_frame(records)


def compare(
    *names: str,
    results_dir: PATHS = "results",
    sweep: str | None = None,
    runs: Sequence[str] = (),
    what: str = "accuracy",
) -> pd.DataFrame:
    """Variants against the first one named, or each against its baseline, as a table.

    Args:
        names: of variants; none: each variant with its baseline.
        results_dir: holds one folder for each run.
        sweep: which sweep; none: the latest.
        runs: these runs instead of a sweep.
        what: ``accuracy`` (a row for each pair: difference as a fraction, its interval, p
            value, verdict and what it is about, minimum detectable difference, differences in size
            and work; the verdicts are those of the whole sweep) or ``speed`` (a row for each pair
            and timed case: ratio, its interval, verdict).

    Raises:
        BenchError: as ``python -m bench compare``.
    """
    if what not in ("accuracy", "speed"):
        raise BenchError(f"what={what!r} must be 'accuracy' or 'speed'")
    import pandas as pd

    from bench.records import select_records
    from bench.report.chapters.compare import compare_rows

    records, *_ = select_records(Path(results_dir), [str(run) for run in runs], sweep)
    return pd.DataFrame(compare_rows(records, names)[what])


def _records(results_dir: Path) -> list[dict[str, Any]]:
    from bench.records import load_records

    return load_records(results_dir)[0] if results_dir.is_dir() else []


# --- what was asked for ----------------------------------------------------------------------


def _chosen(names: str | Sequence[str], plugins: Sequence[PATHS]) -> list[Variant]:
    try:
        for path in plugins:
            registry.load_plugin(Path(path))
        return registry.select([names] if isinstance(names, str) else list(names))
    except registry.VariantError as error:
        raise BenchError(str(error)) from error


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """The options' values, with paths and quantities as texts read as on the command line."""
    kinds = {field.name: field.metadata["kind"] for field in declared()}
    values = {}
    for name, value in options.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BenchError(f"unknown option {name!r}: {hint}see python -m bench run --help")
        text = isinstance(value, str) and kinds[name] is not str
        values[name] = parse_value(name, value, name) if text else value
    return values


def _command(
    names: str | Sequence[str],
    preset: str | None,
    plugins: Sequence[PATHS],
    options: dict[str, Any],
) -> str:
    """The call as it stands in records."""
    arguments = [repr(names)]
    if preset is not None:
        arguments.append(f"preset={preset!r}")
    if plugins:
        arguments.append(f"plugins={[str(path) for path in plugins]!r}")
    arguments += [f"{name}={str(value) if isinstance(value, Path) else value!r}"
                  for name, value in options.items()]  # fmt: skip
    return f"bench.run({', '.join(arguments)})"
