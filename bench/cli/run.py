"""What each command does; heavy imports stand inside, so that ``--help`` and ``list`` are quick."""

from __future__ import annotations

import shlex
import signal
import sys
import time as time_module
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import deploy, explain, export, info, report
from bench.cli.request import (
    asked_elsewhere,
    chosen_variants,
    no_garbage_collection,
    parse_num_classes,
    print_json,
    resolve_request,
    resolved_options,
    text_table,
)
from bench.errors import BenchError
from bench.executors import executor_of
from bench.system.digits import counted, fixed
from bench.system.stage_timer import StageTimer

if TYPE_CHECKING:
    from bench.config.presets import Resolved

# --- run and check ---------------------------------------------------------------------------


def run(parsed: Namespace, command_line: str) -> int:
    """Check, then train, count and time; 1 when a variant failed."""
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
    print(f"next: python -m bench report{_results_flag(config.results_dir)}")
    if outcome.failed:
        names = ", ".join(record["variant"]["name"] for record in outcome.failed)
        print(f"failed: {names}: the reasons are in their run.json and in the report")


def _stopped(number: int | None, parsed: Namespace, config: Any) -> int:
    """Say how to go on; the exit code."""
    script = getattr(parsed, "script", "python -m bench run")
    plugins = "".join(f" --plugin {shlex.quote(str(path))}" for path in parsed.plugin)
    again = f"{script} --resume{_results_flag(config.results_dir)}{plugins}"
    if number is None:
        again += f" --hours {config.hours:g}"
        print(f"--hours {config.hours:g} are over: what is finished is kept; go on with: {again}")
        print(f"next: python -m bench report{_results_flag(config.results_dir)}")
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


def check(parsed: Namespace, command_line: str) -> int:
    """Everything that ``run`` does before it trains."""
    chosen, resolved = chosen_variants(parsed), resolved_options(parsed)
    from bench.runner.preflight import check as check_all

    executor = executor_of(resolved.config.executor)
    checked = check_all(chosen, resolved.config, executor=executor)
    print("\n".join([*_warnings(resolved), *checked.lines]))
    print(f"checked in {checked.seconds:.1f} s: this can run")
    return 0


# --- timing and data ------------------------------------------------------------------------


def time(parsed: Namespace, command_line: str) -> int:
    """Time the chosen variants together; records go to the results folder."""
    chosen, resolved, classes = (
        chosen_variants(parsed),
        resolved_options(parsed),
        parse_num_classes(parsed),
    )
    from bench.cli.time import time_variants
    from bench.report.analysis.selection import Selection
    from bench.report.chapters.backends import mode_tables
    from bench.report.chapters.speed import speed_tables
    from bench.runner.preflight import check_folder

    check_folder(resolved.config.results_dir, "--results-dir")
    outcome = time_variants(
        chosen,
        resolved,
        classes,
        command=command_line,
        plugins=parsed.plugin,
    )
    records = [record for _, record in outcome.runs]
    if parsed.json:
        rows = [{"variant": r["variant"]["name"], **case} for r in records for case in r["timing"]]
        print_json({"session": records[0]["session"], "timing": rows})
    else:
        selection = Selection(records)
        for table in (*speed_tables(selection), *mode_tables(selection)):
            print(f"{table.title}\n{table.caption}\n\n{_text(table)}\n")
        where = _results_flag(resolved.config.results_dir)
        print(f"records: {len(records)} in {resolved.config.results_dir}, sweep {outcome.id}")
        print(f"next: python -m bench report{where} --sweep {outcome.id}")
    for record in outcome.failed:
        print(f"failed: {record['variant']['name']}: {record['timing_error']}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _text(table: Any) -> str:
    from tabulate import tabulate

    return tabulate(table.rows, headers=table.headers, tablefmt="simple", disable_numparse=True)


def _results_flag(results_dir: Path) -> str:
    return "" if str(results_dir) == "results" else f" --results-dir {results_dir}"


def data(parsed: Namespace, command_line: str) -> int:
    """Audit a data folder, or write the synthetic set."""
    config = resolved_options(parsed).config
    from bench.data.audit import audit
    from bench.data.parts import find_data_set
    from bench.data.splitting.division import find_splits, split_warnings
    from bench.data.synthetic.dataset import write_synthetic
    from bench.system.environment import usable_cores

    if parsed.write is not None:
        write_synthetic(parsed.write, config.synthetic_images, config.seed)
        print(f"{config.synthetic_images} synthetic images are in {parsed.write}")
        return 0
    if parsed.action == "shard":
        from bench.cli.data import shard

        return shard(parsed, config)
    if parsed.out is not None:
        raise BenchError("--out is of shard: python -m bench data shard --data-dir … --out …")
    known = find_data_set(config)
    index, copies = known.index, known.copies
    splits = find_splits(config, index, copies)
    folds = {f"fold {number}": one.test for number, one in enumerate(splits, 1)}
    found = audit(
        index,
        folds if config.folds else splits[0].as_dict(),
        usable_cores(),
        copies=copies,
        warnings=split_warnings(config, index, copies, splits[0]),
    )
    if parsed.json:
        print_json({**found.as_dict(), "dedup": config.dedup, "folds": config.folds})
    else:
        print(found.render_text())
    return 0


COMMANDS: dict[str, Callable[[Namespace, str], int]] = {
    "run": run,
    "check": check,
    "report": report.report,
    "compare": report.compare,
    "predict": deploy.predict,
    "evaluate": deploy.evaluate,
    "explain": explain.explain,
    "export": export.export,
    "list": info.list_,
    "count": info.count,
    "time": time,
    "data": data,
}
