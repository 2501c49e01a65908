"""The command line: parsers made from the one definition of options, and the exit codes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import __version__
from bench.config import flag_of, options, parse_value
from bench.declare import Bytes, Seconds
from bench.errors import BenchError
from bench.presets import ENVIRONMENT_PREFIX, load_presets

EPILOG = f"""\
Precedence of an option: flag > environment ({ENVIRONMENT_PREFIX}BATCH_SIZE=32) > preset > default.
Exit code: 0 done; 1 a variant failed, the others are done; 2 a mistake in what was asked.
"""
SELECTION_HELP = (
    "names (any case), globs ('EfficientNetV2_S_*') and the groups all and baselines; "
    "comma-separated or repeated (default: all)"
)
PLUGIN_HELP = (
    "Python file that registers variants; its code RUNS WITH YOUR RIGHTS, so name only files "
    "that you trust; may be repeated"
)
TIMING_OPTIONS = (
    "image_size", "reduction", "device", "threads", "rounds", "time_budget", "clocks",
    "modes", "timing_batch", "timing_amp", "channels_last", "seed", "freeze_backbone", "attention_lr",
    "data_dir", "synthetic_images", "results_dir",
)  # fmt: skip
METAVARS = {int: "N", float: "X", Path: "PATH", Seconds: "TIME", Bytes: "SIZE"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, like every other mistake's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        keywords["allow_abbrev"] = False  # an abbreviation would break when an option is added
        super().__init__(*arguments, **keywords)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise BenchError(f"{message}: see {self.prog} --help")


# --- parsers ---------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """Give a parser the options of :mod:`bench.config`, all or the named ones, by section."""
    groups: dict[str, Any] = {}
    for field in options():
        if names is not None and field.name not in names:
            continue
        meta = field.metadata
        section = meta["section"]
        group = groups.get(section) or parser.add_argument_group(f"{section} options")
        groups[section] = group
        shown = "none" if field.default is None else field.default
        text = f"{meta['help']} (default: {_shown(shown)})".replace("%", "%%")
        common: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
        if meta["kind"] is bool:
            common["action"] = argparse.BooleanOptionalAction
        elif meta["choices"]:
            common["choices"] = meta["choices"]
        else:
            common["metavar"] = METAVARS.get(meta["kind"], "TEXT")
        group.add_argument(flag_of(field.name), **common)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value / 1e9:g}GB" if value >= 1e9 else f"{value:g}"
    return str(value)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """``--variants`` and ``--plugin``."""
    parser.add_argument(
        "--variants", action="append", default=None, metavar="NAMES", help=SELECTION_HELP
    )
    add_plugin(parser)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """``--plugin``."""
    parser.add_argument(
        "--plugin", action="append", default=[], type=Path, metavar="FILE", help=PLUGIN_HELP
    )


def add_preset(parser: argparse.ArgumentParser) -> None:
    """``--preset``."""
    names = ", ".join(load_presets())
    parser.add_argument(
        "--preset", metavar="NAME", help=f"{names} ('python -m bench list --presets' explains them)"
    )


def make_parser() -> Parser:
    """The parser of ``python -m bench``."""
    parser = Parser(
        prog="python -m bench",
        description="Train, count, time and compare image-classification variants.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"paddy-bench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, example: str) -> Parser:
        return commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n\nExample: {example}",
            epilog=EPILOG,
        )

    run = command(
        "run",
        "train, count and time variants; records go to results/",
        "python -m bench run --variants all --preset kaggle --data-dir my_photos",
    )
    add_selection(run)
    add_preset(run)
    run.add_argument("--dry-run", action="store_true", help="check and estimate, then stop")
    add_options(run)

    check = command(
        "check",
        "see that a run would work and estimate its minutes; nothing is trained",
        "python -m bench check --variants all --preset kaggle --data-dir my_photos",
    )
    add_selection(check)
    add_preset(check)
    add_options(check)

    report = command(
        "report",
        "render the records of a sweep as tables and figures; needs no PyTorch",
        "python -m bench report",
    )
    report.add_argument("--sweep", metavar="ID", help="which sweep (default: the latest)")
    report.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="these run folders instead of a sweep"
    )
    report.add_argument("--name", help="name of the report's folder (default: the sweep's id)")
    report.add_argument(
        "--claims",
        type=Path,
        metavar="FILE",
        help="your own claims (TOML), judged beside the guide's",
    )
    report.add_argument(
        "--max-latency-ms", metavar="X", help="recommend the best within this latency at batch 1"
    )
    report.add_argument(
        "--max-size-mb", metavar="X", help="recommend the best within this model size"
    )
    add_options(report, ["results_dir", "reports_dir"])

    compare = command(
        "compare",
        "compare variants of a sweep: accuracy, size, speed, and which differences are real",
        "python -m bench compare EfficientNetV2_S EfficientNetV2_S_CA",
    )
    compare.add_argument(
        "names",
        nargs="*",
        metavar="VARIANT",
        help="the first is what the others are compared with (default: each variant with its "
        "baseline)",
    )
    compare.add_argument("--sweep", metavar="ID", help="which sweep (default: the latest)")
    compare.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="these run folders instead of a sweep"
    )
    add_options(compare, ["results_dir"])

    listing = command(
        "list", "show the variants that can be run, or the presets", "python -m bench list --json"
    )
    add_plugin(listing)
    listing.add_argument("--presets", action="store_true", help="show the presets instead")
    _add_json(listing)

    count = command(
        "count",
        "count parameters, model size and GMACs",
        "python -m bench count --variants 'ResNet18*' --classes 1000",
    )
    add_selection(count)
    count.add_argument("--classes", type=int, default=10, metavar="N", help="(default: 10)")
    add_options(count, ["image_size", "reduction"])
    _add_json(count)

    timing = command(
        "time",
        "time variants together: rounds of fresh processes, with intervals and an A/A control",
        "python -m bench time --variants all,baselines --time-budget 30m",
    )
    add_selection(timing)
    timing.add_argument("--classes", type=int, default=10, metavar="N", help="(default: 10)")
    add_options(timing, TIMING_OPTIONS)
    _add_json(timing)

    data = command(
        "data",
        "summarise a folder of images (classes, sizes, unreadable files, duplicates, imbalance)",
        "python -m bench data --data-dir my_photos",
    )
    data.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write the synthetic set there instead"
    )
    add_options(
        data,
        ["data_dir", "valid_fraction", "test_fraction", "folds", "dedup", "seed",
         "synthetic_images"],
    )  # fmt: skip
    _add_json(data)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


# --- entry points ----------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m bench``; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guarded(make_parser, arguments, f"python -m bench {shlex.join(arguments)}".strip())


def main_single(variant: str, argv: Sequence[str] | None = None) -> int:
    """A script that runs one variant with the guide's flags; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    script = f"train_{variant}.py"

    def make() -> Parser:
        parser = Parser(
            prog=f"python {script}",
            description=f"Train, count and time {variant}; the record goes to results/.",
            epilog=EPILOG,
        )
        add_preset(parser)
        parser.add_argument("--dry-run", action="store_true", help="check and estimate, then stop")
        add_options(parser)
        parser.set_defaults(command="run", variants=[variant], plugin=[])
        return parser

    return _guarded(make, arguments, f"python {script} {shlex.join(arguments)}".strip())


def _guarded(make: Any, arguments: list[str], command_line: str) -> int:
    try:
        parsed = make().parse_args(arguments)
        # Libraries below script helpers of their own at import; no user can mend that.
        warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        from bench import commands

        with contextlib.suppress(BrokenPipeError):
            return commands.COMMANDS[parsed.command](parsed, command_line)
        # Whoever read our output has gone: Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the records of finished variants are kept", file=sys.stderr)
        return 130


def flags_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """Option values given on the command line, parsed to their types.

    Raises:
        BenchError: a value that is not of its option's type.
    """
    given = vars(parsed)
    return {
        field.name: (
            parse_value(field.name, given[field.name], flag_of(field.name))
            if isinstance(given[field.name], str)
            else given[field.name]
        )
        for field in options()
        if field.name in given
    }
