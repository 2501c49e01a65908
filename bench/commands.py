"""What each command does; heavy imports stand inside, so that ``--help`` and ``list`` are quick."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import variants
from bench.cli import flags_of
from bench.errors import BenchError
from bench.presets import Resolved, load_presets, resolve


def _select(parsed: Namespace) -> list[variants.Variant]:
    try:
        for path in parsed.plugin:
            variants.load_plugin(path)
        return variants.select(parsed.variants or ["all"])
    except variants.VariantError as error:
        raise BenchError(str(error)) from error


def _resolve(parsed: Namespace) -> Resolved:
    return resolve(flags_of(parsed), preset=getattr(parsed, "preset", None))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _table(rows: list[dict[str, Any]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


# --- run and check ---------------------------------------------------------------------------


def run(parsed: Namespace, command_line: str) -> int:
    """Check, then train, count and time; 1 when a variant failed."""
    chosen, resolved = _select(parsed), _resolve(parsed)
    from bench.check import check as check_all

    checked = check_all(chosen, resolved.config)
    print("\n".join(checked.lines), file=sys.stderr)
    if parsed.dry_run:
        print(f"checked in {checked.seconds:.1f} s; nothing was trained (--dry-run)")
        return 0
    from bench.sweep import run_sweep

    outcome = run_sweep(
        chosen,
        resolved,
        checked,
        command=command_line,
        plugins=parsed.plugin,
        stream=sys.stderr,
    )
    print(_table([_summary(folder, record) for folder, record in outcome.runs]))
    print(f"\nsweep {outcome.id}: {len(outcome.runs)} runs, {len(outcome.failed)} failed")
    where = str(resolved.config.results_dir)
    extra = "" if where == "results" else f" --results-dir {where}"
    print(f"next: python -m bench report{extra}")
    if outcome.failed:
        names = ", ".join(record["variant"]["name"] for record in outcome.failed)
        print(f"failed: {names}: the reasons are in their run.json and in the report")
    return 1 if outcome.failed else 0


def _summary(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    row = {"variant": record["variant"]["name"]}
    if record["error"]:
        text = f"failed: {record['error']['type']}: {record['error']['message']}"
        return {**row, "valid acc": text[:60], "folder": str(folder)}
    metrics, training = record["metrics"], record["training"]
    fps = metrics["fps"]
    return {
        **row,
        "valid acc": f"{metrics['valid_acc']:.3f}",
        "macro-F1": f"{training['best_macro_f1']:.3f}",
        "best epoch": f"{metrics['best_epoch']}/{training['epochs_run']}",
        "train images/s": f"{training['images_per_s']:.1f}",
        "images/s": "n/a" if fps is None else f"{fps:.1f}",
        "parameters": f"{record['counts']['parameters']:,}",
        "folder": str(folder),
    }


def check(parsed: Namespace, command_line: str) -> int:
    """Everything that ``run`` does before it trains."""
    chosen, resolved = _select(parsed), _resolve(parsed)
    from bench.check import check as check_all

    checked = check_all(chosen, resolved.config)
    print("\n".join(checked.lines))
    print(f"checked in {checked.seconds:.1f} s: this can run")
    return 0


# --- report ----------------------------------------------------------------------------------


def report(parsed: Namespace, command_line: str) -> int:
    """Render records; imports no PyTorch."""
    config = _resolve(parsed).config
    from bench.report import render
    from bench.results import latest_sweep, load_records

    records, problems = load_records(config.results_dir, parsed.runs)
    for line in problems:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise BenchError(
            f"no readable records in {config.results_dir}: run something first "
            "(python -m bench run --preset smoke)"
        )
    sweep = None if parsed.runs else parsed.sweep or latest_sweep(records)
    if sweep is not None:
        known = sorted({record["sweep"]["id"] for record in records})
        records = [record for record in records if record["sweep"]["id"] == sweep]
        if not records:
            raise BenchError(f"no sweep {sweep!r} in {config.results_dir}: {', '.join(known)}")
    name = parsed.name or sweep or "runs"
    if Path(name).name != name or name in (".", ".."):
        raise BenchError(
            f"--name {name!r} must be a plain folder name: use --reports-dir for paths"
        )
    _refuse_file(config.reports_dir, name)
    print(render(records, config.reports_dir / name, title=name, problems=problems))
    return 0


def _refuse_file(reports_dir: Path, name: str) -> None:
    for path in (reports_dir, reports_dir / name):
        if path.exists() and not path.is_dir():
            raise BenchError(f"{path} is a file: give --reports-dir or --name a folder's name")


# --- list, count, time, data -----------------------------------------------------------------


def list_(parsed: Namespace, command_line: str) -> int:
    """Variants or presets, without PyTorch."""
    if parsed.presets:
        return _list_presets(parsed.json)
    try:
        for path in parsed.plugin:
            variants.load_plugin(path)
        found = [variants.get(name) for name in variants.names()]
    except variants.VariantError as error:
        raise BenchError(str(error)) from error
    rows = [
        {
            "variant": variant.name,
            "group": variant.group,
            "backbone": variant.backbone,
            "attention": [spec.describe() for spec in variant.attention],
            "parameters": variant.declared_parameters(10),
            "parameters_1000_classes": variant.declared_parameters(1000),
            "baseline": variant.baseline,
            "use_case": variant.use_case,
            "weights_tag": variant.weights_tag,
            "paper": variant.paper,
            "version": variant.version,
            "module": variants.module_of(variant),
        }
        for variant in found
    ]
    if parsed.json:
        _print_json(rows)
        return 0
    shown = [
        {
            "variant": row["variant"],
            "group": row["group"],
            "backbone": row["backbone"],
            "attention": " + ".join(row["attention"]) or "none",  # type: ignore[arg-type]
            "parameters (10 classes)": _thousands(row["parameters"]),
            "use case": row["use_case"],
        }
        for row in rows
    ]
    print(_table(shown))
    return 0


def _thousands(number: Any) -> str:
    return "not declared" if number is None else f"{number:,}"


def _list_presets(as_json: bool) -> int:
    presets = load_presets().values()
    if as_json:
        _print_json(
            [
                {
                    "preset": preset.name,
                    "title": preset.title,
                    "command": preset.command,
                    "hardware": preset.hardware,
                    "options": preset.options,
                    "expected": preset.expected,
                }
                for preset in presets
            ]
        )
        return 0
    for preset in presets:
        print(f"{preset.name}: {preset.title}")
        print(f"  command   {preset.command}")
        print(f"  hardware  {preset.hardware}")
        expected = {name: preset.expected.get(name) for name in ("minutes", "accuracy_percent")}
        for name, value in expected.items():
            text = "not stated" if value is None else "-".join(f"{x:g}" for x in value)
            print(f"  expected  {name.replace('_', ' ')}: {text}")
        print(f"  source    {preset.expected.get('source', 'this project')}")
    return 0


def _classes(parsed: Namespace) -> int:
    if parsed.classes < 2:
        raise BenchError(f"--classes must be at least 2: {parsed.classes}")
    return parsed.classes


def count(parsed: Namespace, command_line: str) -> int:
    """Parameters, size and GMACs of the chosen variants."""
    chosen, config, classes = _select(parsed), _resolve(parsed).config, _classes(parsed)
    from bench import build

    rows = []
    for variant in chosen:
        counts = build.count(variant, classes, config, [config.image_size])
        macs = counts.pop("macs")[0]
        rows.append({"variant": variant.name, **counts, **macs})
    if parsed.json:
        _print_json(rows)
        return 0
    print(f"{classes} classes, {config.image_size} pixels; GMACs: one multiply-add is one")
    shown = [
        {
            "variant": row["variant"],
            "parameters": f"{row['parameters']:,}",
            "of attention": _thousands(row["attention_parameters"]),
            "with 1000 classes": f"{row['parameters_1000_classes']:,}",
            "MB": f"{row['size_mb']:.1f}",
            "GMACs (fvcore)": f"{row['gmacs']:.4f}",
            "GMACs (FlopCounterMode / 2)": f"{row['gmacs_flop_counter']:.4f}",
        }
        for row in rows
    ]
    print(_table(shown))
    return 0


def time(parsed: Namespace, command_line: str) -> int:
    """Throughput of the chosen variants; 1 when one could not be timed."""
    chosen, config, classes = _select(parsed), _resolve(parsed).config, _classes(parsed)
    from bench.check import choose_device
    from bench.timing_process import time_variant

    devices = ["cpu"]
    if config.device != "cpu" and choose_device(config.device).type == "cuda":
        devices.append("cuda")
    rows, failed = [], []
    for number, variant in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {variant.name}", file=sys.stderr, flush=True)
        outcome = time_variant(
            variant.name, classes, config, devices=devices, plugins=parsed.plugin
        )
        rows += [{"variant": variant.name, **case} for case in outcome["timing"]]
        if outcome["timing_error"]:
            failed.append(f"{variant.name}: {outcome['timing_error']}")
    if parsed.json:
        _print_json(rows)
    else:
        shown = [
            {
                "variant": row["variant"],
                "device": row["device"],
                "pixels": row["image_size"],
                "batch": row["batch_size"],
                "images/s": f"{row['images_per_s']:.1f}",
                "steps": row["timed_steps"],
                "slowest/fastest step": _spread(row["step_seconds"]),
                "peak MB": f"{row['peak_memory_mb']:.0f}",
            }
            for row in rows
        ]
        print(_table(shown))
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _spread(seconds: list[float]) -> str:
    return f"{max(seconds) / min(seconds):.2f}"


def data(parsed: Namespace, command_line: str) -> int:
    """Audit a data folder, or write the synthetic set."""
    config = _resolve(parsed).config
    from bench.data.audit import audit
    from bench.data.parts import find_index
    from bench.data.splits import split
    from bench.data.synthetic import write_synthetic

    if parsed.write is not None:
        write_synthetic(parsed.write, config.synthetic_images, config.seed)
        print(f"{config.synthetic_images} synthetic images are in {parsed.write}")
        return 0
    index = find_index(config)
    parts = split(
        index,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
    found = audit(index, parts)
    if parsed.json:
        _print_json(found.as_dict())
    else:
        print(found.render_text())
    return 0


COMMANDS: dict[str, Callable[[Namespace, str], int]] = {
    "run": run,
    "check": check,
    "report": report,
    "list": list_,
    "count": count,
    "time": time,
    "data": data,
}
