"""The parsers of the command line, made from the one definition of options.

A command's options are declared when that command is asked for; what they need is imported then.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bench import ENVIRONMENT_PREFIX, __version__
from bench.errors import BenchError
from bench.flags import add_options

EPILOG = f"""\
Precedence of an option: flag > environment ({ENVIRONMENT_PREFIX}BATCH_SIZE=32) > preset > default.
Exit code: 0 done; 1 a variant failed, the others are done; 2 a mistake in what was asked;
130, 143 stopped by Ctrl-C or SIGTERM (--resume goes on).
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
    "modes", "timing_batch", "timing_amp", "channels_last", "seed", "freeze_backbone",
    "attention_lr", "data_dir", "synthetic_images", "results_dir",
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, like every other mistake's.

    Args:
        fill: gives the parser its arguments once it is to parse something.
    """

    def __init__(
        self, *arguments: Any, fill: Callable[[Parser], None] | None = None, **keywords: Any
    ) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        keywords["allow_abbrev"] = False  # an abbreviation would break when an option is added
        super().__init__(*arguments, **keywords)
        self._fill = fill

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Fill the parser, then parse."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise BenchError(f"{message}: see {self.prog} --help")


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
    from bench.presets import preset_names

    names = ", ".join(preset_names())
    parser.add_argument(
        "--preset", metavar="NAME", help=f"{names} ('python -m bench list --presets' explains them)"
    )


def _fill_run(parser: Parser) -> None:
    add_selection(parser)
    add_training(parser)


def add_training(parser: Parser) -> None:
    """Preset, ``--dry-run`` and every option."""
    add_preset(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and estimate, then stop")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        default=None,
        metavar="SWEEP",
        help="go on with a sweep that was broken off, with its own options (default: the latest "
        "unfinished one in --results-dir)",
    )
    add_options(parser)


def _fill_check(parser: Parser) -> None:
    add_selection(parser)
    add_preset(parser)
    add_options(parser)


def _fill_report(parser: Parser) -> None:
    _add_records(parser)
    parser.add_argument("--name", help="name of the report's folder (default: the sweep's id)")
    parser.add_argument(
        "--claims",
        type=Path,
        metavar="FILE",
        help="your own claims (TOML), judged beside the guide's",
    )
    parser.add_argument(
        "--max-latency-ms", metavar="X", help="recommend the best within this latency at batch 1"
    )
    parser.add_argument(
        "--max-size-mb", metavar="X", help="recommend the best within this model size"
    )
    add_options(parser, ["results_dir", "reports_dir"])


def _fill_compare(parser: Parser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="VARIANT",
        help="the first is what the others are compared with (default: each variant with its "
        "baseline)",
    )
    _add_records(parser)
    add_options(parser, ["results_dir"])


def _add_records(parser: Parser) -> None:
    parser.add_argument("--sweep", metavar="ID", help="which sweep (default: the latest)")
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="these run folders instead of a sweep"
    )


def _fill_list(parser: Parser) -> None:
    add_plugin(parser)
    parser.add_argument("--presets", action="store_true", help="show the presets instead")
    _add_json(parser)


def _fill_count(parser: Parser) -> None:
    add_selection(parser)
    _add_classes(parser)
    add_options(parser, ["image_size", "reduction"])
    _add_json(parser)


def _fill_time(parser: Parser) -> None:
    add_selection(parser)
    _add_classes(parser)
    add_options(parser, TIMING_OPTIONS)
    _add_json(parser)


def _add_classes(parser: Parser) -> None:
    parser.add_argument("--classes", type=int, default=10, metavar="N", help="(default: 10)")


def _fill_data(parser: Parser) -> None:
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write the synthetic set there instead"
    )
    add_options(
        parser,
        ["data_dir", "valid_fraction", "test_fraction", "folds", "dedup", "seed",
         "synthetic_images"],
    )  # fmt: skip
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


# What gives the parser its arguments, what it does, and an example.
COMMANDS = {
    "run": (
        _fill_run,
        "train, count and time variants; records go to results/",
        "python -m bench run --variants all --preset kaggle --data-dir my_photos",
    ),
    "check": (
        _fill_check,
        "see that a run would work and estimate its minutes; nothing is trained",
        "python -m bench check --variants all --preset kaggle --data-dir my_photos",
    ),
    "report": (
        _fill_report,
        "render the records of a sweep as tables and figures; needs no PyTorch",
        "python -m bench report",
    ),
    "compare": (
        _fill_compare,
        "compare variants of a sweep: accuracy, size, speed, and which differences are real",
        "python -m bench compare EfficientNetV2_S EfficientNetV2_S_CA",
    ),
    "list": (
        _fill_list,
        "show the variants that can be run, or the presets",
        "python -m bench list --json",
    ),
    "count": (
        _fill_count,
        "count parameters, model size and GMACs",
        "python -m bench count --variants 'ResNet18*' --classes 1000",
    ),
    "time": (
        _fill_time,
        "time variants together: rounds of fresh processes, with intervals and an A/A control",
        "python -m bench time --variants all,baselines --time-budget 30m",
    ),
    "data": (
        _fill_data,
        "summarise a folder of images (classes, sizes, unreadable files, duplicates, imbalance)",
        "python -m bench data --data-dir my_photos",
    ),
}


def make_parser() -> Parser:
    """The parser of ``python -m bench``."""
    parser = Parser(
        prog="python -m bench",
        description="Train, count, time and compare image-classification variants.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"paddy-bench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (fill, summary, example) in COMMANDS.items():
        commands.add_parser(
            name,
            fill=fill,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n\nExample: {example}",
            epilog=EPILOG,
        )
    return parser
