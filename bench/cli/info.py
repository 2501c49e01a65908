"""The commands ``list``, ``count`` and ``time``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

import variants
from bench.cli.parsing import Parser, add_classes, add_json, add_options, add_plugin, add_selection
from bench.cli.request import (
    chosen_variants,
    parse_num_classes,
    print_json,
    resolved_options,
    results_flag,
    text_table,
)
from bench.errors import BenchError
from bench.system.digits import fixed


def add_list_arguments(parser: Parser) -> None:
    """Add the arguments of ``list``."""
    add_plugin(parser)
    parser.add_argument("--presets", action="store_true", help="show the presets instead")
    add_json(parser)


def add_count_arguments(parser: Parser) -> None:
    """Add the arguments of ``count``."""
    add_selection(parser)
    add_classes(parser)
    add_options(parser, ["image_size", "reduction"])
    add_json(parser)


def list_command(parsed: Namespace, command_line: str) -> int:
    """Print the variants or presets, without PyTorch."""
    if parsed.presets:
        return _list_presets(parsed.json)
    try:
        for path in parsed.plugin:
            variants.load_plugin(path)
        registered = [variants.get(name) for name in variants.names()]
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
        for variant in registered
    ]
    if parsed.json:
        print_json(rows)
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
    print(text_table(shown))
    return 0


def _thousands(number: Any) -> str:
    return "not declared" if number is None else f"{number:,}"


def _list_presets(as_json: bool) -> int:
    from bench.config.presets import load_presets

    presets = load_presets().values()
    if as_json:
        print_json(
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


def count_command(parsed: Namespace, command_line: str) -> int:
    """Print parameters, size and GMACs of the chosen variants."""
    chosen, config, classes = (
        chosen_variants(parsed),
        resolved_options(parsed).config,
        parse_num_classes(parsed),
    )
    from bench.models import build

    rows = []
    for variant in chosen:
        counts = build.count(variant, classes, config, [config.image_size])
        macs = counts.pop("macs")[0]
        rows.append({"variant": variant.name, **counts, **macs})
    if parsed.json:
        print_json(rows)
        return 0
    print(f"{classes} classes, {config.image_size} pixels; GMACs: one multiply-add is one")
    shown = [
        {
            "variant": row["variant"],
            "parameters": f"{row['parameters']:,}",
            "of attention": _thousands(row["attention_parameters"]),
            "with 1000 classes": f"{row['parameters_1000_classes']:,}",
            "MB": fixed(row["size_mb"], 1),
            "GMACs (fvcore)": fixed(row["gmacs"], 4, least=3),
            "GMACs (FlopCounterMode / 2)": fixed(row["gmacs_flop_counter"], 4, least=3),
        }
        for row in rows
    ]
    print(text_table(shown))
    return 0


def add_time_arguments(parser: Parser) -> None:
    """Add the arguments of ``time``."""
    from bench.config.options import options

    add_selection(parser)
    add_classes(parser)
    add_options(parser, [field.name for field in options() if field.metadata["timed"]])
    add_json(parser)


def time_command(parsed: Namespace, command_line: str) -> int:
    """Time the chosen variants together, and write their records to the results folder."""
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
        where = results_flag(resolved.config.results_dir)
        print(f"records: {len(records)} in {resolved.config.results_dir}, sweep {outcome.id}")
        print(f"next: python -m bench report{where} --sweep {outcome.id}")
    for record in outcome.failed:
        print(f"failed: {record['variant']['name']}: {record['timing_error']}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _text(table: Any) -> str:
    from tabulate import tabulate

    return tabulate(table.rows, headers=table.headers, tablefmt="simple", disable_numparse=True)
