"""The parsers of the command line, made from the one definition of options.

A command's options are declared when that command is asked for; what they need is imported then.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from pathlib import Path

from bench import LANGUAGES, __version__
from bench.cli.deploy_flags import fill_evaluate, fill_explain, fill_export, fill_predict
from bench.cli.parsing import (
    EPILOG,
    Parser,
    add_json,
    add_options,
    add_plugin,
    add_preset,
    add_selection,
)

TIMING_OPTIONS = (
    "image_size", "reduction", "device", "threads", "rounds", "time_budget", "clocks",
    "modes", "timing_batch", "timing_amp", "memory_format", "seed", "freeze_backbone",
    "attention_lr", "data_dir", "synthetic_images", "results_dir",
)  # fmt: skip


def _fill_run(parser: Parser) -> None:
    add_selection(parser)
    add_training(parser)


def add_training(parser: Parser) -> None:
    """Preset, ``--dry-run`` and every option."""
    add_preset(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and estimate, then stop")
    parser.add_argument(
        "--images", type=_count, metavar="N", help="with --dry-run: predict for so many images"
    )
    parser.add_argument(
        "--gpus",
        type=_count,
        metavar="N",
        help="with --dry-run: predict for so many devices like the one that is measured here",
    )
    parser.add_argument(
        "--price",
        type=_price,
        metavar="X",
        help="with --dry-run: predict the cost, at so much for a device and hour",
    )
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


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")


def _price(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number < math.inf:
        return number
    raise ArgumentTypeError(f"must be a number of at least 0, not {text!r}")


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
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="leave the thumbnails of misclassified images out of report.html",
    )
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        default="en",
        help="language of report.md and report.html; CSV files and figures are English (default: "
        "en)",
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
    add_json(parser)


def _add_records(parser: Parser) -> None:
    parser.add_argument("--sweep", metavar="ID", help="which sweep (default: the latest)")
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="RUN", help="these run folders instead of a sweep"
    )


def _fill_list(parser: Parser) -> None:
    add_plugin(parser)
    parser.add_argument("--presets", action="store_true", help="show the presets instead")
    add_json(parser)


def _fill_count(parser: Parser) -> None:
    add_selection(parser)
    _add_classes(parser)
    add_options(parser, ["image_size", "reduction"])
    add_json(parser)


def _fill_time(parser: Parser) -> None:
    add_selection(parser)
    _add_classes(parser)
    add_options(parser, TIMING_OPTIONS)
    add_json(parser)


def _add_classes(parser: Parser) -> None:
    parser.add_argument(
        "--classes",
        type=int,
        default=10,
        metavar="N",
        help="outputs of the models (default: 10)",
    )


def _fill_data(parser: Parser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("audit", "shard"),
        default="audit",
        help="audit: summarise the folder; shard: write its images into tar files (--out), which "
        "--data-dir takes too (default: audit)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="of shard: a new folder for the tar files"
    )
    parser.add_argument(
        "--shard-size",
        default="256MB",
        metavar="SIZE",
        help="of shard: images in a tar file, about (default: 256MB)",
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write the synthetic set there instead"
    )
    add_options(
        parser,
        ["data_dir", "valid_fraction", "test_fraction", "folds", "dedup", "seed",
         "synthetic_images"],
    )  # fmt: skip
    add_json(parser)


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
    "predict": (
        fill_predict,
        "predict images with a trained run, or the mean of several, into a CSV file",
        "python -m bench predict ResNet18_01_06_2025_1200 test_images --out submission.csv",
    ),
    "evaluate": (
        fill_evaluate,
        "evaluate a trained run on labelled images from elsewhere: does it transfer?",
        "python -m bench evaluate ResNet18_01_06_2025_1200 --data-dir other_photos",
    ),
    "explain": (
        fill_explain,
        "show what a trained run looks at: Grad-CAM and attention of right and wrong images",
        "python -m bench explain ResNet18_01_06_2025_1200",
    ),
    "export": (
        fill_export,
        "write a trained run's model as ONNX, TorchScript or .pt2, with its transform inside",
        "python -m bench export ResNet18_01_06_2025_1200 --format onnx",
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
