"""The commands ``run`` and ``check``; heavy imports are inside, so that ``--help`` is quick."""

from __future__ import annotations

import math
import shlex
import signal
import sys
import time as time_module
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.parsing import Parser, add_options, add_preset, add_selection
from bench.cli.request import (
    asked_elsewhere,
    chosen_variants,
    no_garbage_collection,
    resolve_request,
    resolved_options,
    results_flag,
    text_table,
)
from bench.errors import BenchError
from bench.executors import executor_of
from bench.system.digits import counted, fixed
from bench.system.stage_timer import StageTimer

if TYPE_CHECKING:
    from bench.config.presets import Resolved


def add_run_arguments(parser: Parser) -> None:
    """Add the arguments of ``run``."""
    add_selection(parser)
    add_training_arguments(parser)


def add_training_arguments(parser: Parser) -> None:
    """Add preset, ``--dry-run``, ``--resume`` and every option."""
    add_preset(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and estimate, then stop")
    parser.add_argument(
        "--images",
        type=positive_int,
        metavar="N",
        help="with --dry-run: predict for so many images",
    )
    parser.add_argument(
        "--gpus",
        type=positive_int,
        metavar="N",
        help="with --dry-run: predict for so many devices like the one that is measured here",
    )
    parser.add_argument(
        "--price",
        type=price,
        metavar="X",
        help="with --dry-run: predict the cost, at so much for a device and hour",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        default=None,
        metavar="SWEEP",
        help="resume an interrupted sweep, with its own options (default: the most recent "
        "unfinished one in --results-dir)",
    )
    add_options(parser)


def add_check_arguments(parser: Parser) -> None:
    """Add the arguments of ``check``."""
    add_selection(parser)
    add_preset(parser)
    add_options(parser)


def positive_int(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")


def price(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number < math.inf:
        return number
    raise ArgumentTypeError(f"must be a number of at least 0, not {text!r}")


def run_command(parsed: Namespace, command_line: str) -> int:
    """Check, then train, count and time; return 1 when a variant failed."""
    from bench.system.launch import started_together

    begin = time_module.monotonic()
    predicted = asked_elsewhere(parsed)
    if predicted and not parsed.dry_run:
        raise BenchError(
            f"{predicted[0]} is for a prediction: give --dry-run with it, or leave it out"
        )
    if started_together() == 1:
        return _run(parsed, command_line, begin)
    device = resolved_options(parsed).config.device
    with no_garbage_collection():
        from bench.runner.torchrun import run_together
    return run_together(lambda team: _run(parsed, command_line, begin, team), device, parsed.plugin)


def _run(parsed: Namespace, command_line: str, begin: float, team: Any = None) -> int:
    from bench.system.signals import SignalError, StopRequest, TrainingInterrupted

    chosen, resolved, journal = resolve_request(parsed)
    hours = resolved.config.hours
    stopper = StopRequest(None if hours is None else begin + 3600 * hours)
    costs = StageTimer()
    with stopper.listening():
        try:
            with costs.of("importing"), no_garbage_collection():
                from bench.runner.preflight import as_begun
                from bench.runner.preflight import check as check_all
                from bench.runner.queue import bytes_of
                from bench.runner.sweep import run_sweep

            already = 0
            if journal is not None:
                already = bytes_of(resolved.config.results_dir, journal.id)
            executor = executor_of(resolved.config.executor)
            checked = check_all(chosen, resolved.config, already, team, journal, executor)
            if journal is not None:
                checked = as_begun(checked, journal, resolved.config.results_dir)
            print("\n".join([*_warnings(resolved), *checked.lines]), file=sys.stderr)
            if parsed.dry_run:
                if asked_elsewhere(parsed):
                    from bench.cli.forecast import print_forecast

                    print_forecast(parsed, chosen, resolved.config, checked)
                print(f"checked in {checked.seconds:.1f} s; nothing was trained (--dry-run)")
                return 0
            outcome = run_sweep(
                chosen,
                resolved,
                checked,
                command=command_line,
                plugins=parsed.plugin,
                journal=journal,
                stopper=stopper,
                team=team,
            )
        except (TrainingInterrupted, SignalError) as stopped:
            return _stopped(stopped.number, parsed, resolved.config)
    _print_outcome(outcome, costs, resolved.config)
    return 1 if outcome.failed else 0


def _warnings(resolved: Resolved) -> list[str]:
    return [f"warning   {line}" for line in resolved.warnings]


def _print_outcome(outcome: Any, costs: StageTimer, config: Any) -> None:
    several = config.seeds > 1 or config.folds is not None
    from bench.report.render.terminal import closing_lines

    print(text_table([_summary(folder, record, several) for folder, record in outcome.runs]))
    print("\n".join(["", *closing_lines([record for _, record in outcome.runs])]))
    print(
        f"\nsweep {outcome.id}: {counted(len(outcome.runs), 'run')}, {len(outcome.failed)} failed"
    )
    costs.include(outcome.costs.seconds)
    print(costs.line())
    print(f"next: python -m bench report{results_flag(config.results_dir)}")
    if outcome.failed:
        names = ", ".join(record["variant"]["name"] for record in outcome.failed)
        print(f"failed: {names}: the reasons are in their run.json and in the report")


def _stopped(number: int | None, parsed: Namespace, config: Any) -> int:
    """Print how to resume, and return the exit code."""
    script = getattr(parsed, "script", "python -m bench run")
    plugins = "".join(f" --plugin {shlex.quote(str(path))}" for path in parsed.plugin)
    again = f"{script} --resume{results_flag(config.results_dir)}{plugins}"
    if number is None:
        again += f" --hours {config.hours:g}"
        print(f"--hours {config.hours:g} are over: what is finished is kept; go on with: {again}")
        print(f"next: python -m bench report{results_flag(config.results_dir)}")
        return 0
    name = signal.Signals(number).name
    print(f"stopped by {name}: what is finished is kept; go on with: {again}", file=sys.stderr)
    return 128 + number


def _summary(folder: Path, record: dict[str, Any], several: bool) -> dict[str, str]:
    row = {"variant": record["variant"]["name"]}
    if several:
        row["seed"] = str(record["config"]["seed"])
        fold = record["data"]["fold"]
        row |= {"fold": f"{fold['number']}/{fold['of']}"} if fold else {}
    if record["error"]:
        text = f"failed: {record['error']['type']}: {record['error']['message']}"
        return {**row, "accuracy (%), 95 % interval": text[:60], "folder": str(folder)}
    from bench.report.analysis.metrics import accuracy

    metrics, training = record["metrics"], record["training"]
    fps = metrics["fps"]
    return {
        **row,
        "accuracy (%), 95 % interval": accuracy(record).cell(with_device=False),
        "validation (%)": f"{100 * metrics['valid_acc']:.1f}",
        "validation macro-F1": f"{training['best_macro_f1']:.3f}",
        "best epoch": f"{metrics['best_epoch']}/{training['epochs_run']}",
        "train images/s": (
            "n/a" if training["images_per_s"] is None else fixed(training["images_per_s"], 1)
        ),
        "images/s": "n/a" if fps is None else fixed(fps, 1),
        "parameters": f"{record['counts']['parameters']:,}",
        "folder": str(folder),
    }


def check_command(parsed: Namespace, command_line: str) -> int:
    """Do everything that ``run`` does before it trains."""
    chosen, resolved = chosen_variants(parsed), resolved_options(parsed)
    from bench.runner.preflight import check as check_all

    executor = executor_of(resolved.config.executor)
    checked = check_all(chosen, resolved.config, executor=executor)
    print("\n".join([*_warnings(resolved), *checked.lines]))
    print(f"checked in {checked.seconds:.1f} s: this can run")
    return 0
