"""The parser of the command line; a command's module is imported when that command is asked for."""

from __future__ import annotations

import importlib
from argparse import Namespace
from typing import Any, NamedTuple

from bench import __version__
from bench.cli.parsing import EPILOG, Parser


class Command(NamedTuple):
    """A command's module in :mod:`bench.cli`, its summary, and an example.

    The module has ``add_NAME_arguments(parser)`` and ``NAME_command(parsed, command_line)``, which
    returns the exit code.
    """

    module: str
    summary: str
    example: str

    @property
    def sentence(self) -> str:
        """Return the summary as a sentence."""
        return f"{self.summary[0].upper()}{self.summary[1:]}."


COMMANDS = {
    "run": Command(
        "run",
        "train, count and time variants; records go to results/",
        "python -m bench run --variants all --preset kaggle --data-dir my_photos",
    ),
    "check": Command(
        "run",
        "see that a run would work and estimate its minutes; nothing is trained",
        "python -m bench check --variants all --preset kaggle --data-dir my_photos",
    ),
    "report": Command(
        "report",
        "render the records of a sweep as tables and figures; needs no PyTorch",
        "python -m bench report",
    ),
    "compare": Command(
        "report",
        "compare variants of a sweep: accuracy, size, speed, and which differences are real",
        "python -m bench compare EfficientNetV2_S EfficientNetV2_S_CA",
    ),
    "predict": Command(
        "deploy",
        "predict images with a trained run, or the mean of several, into a CSV file",
        "python -m bench predict ResNet18_01_06_2025_1200 test_images --out submission.csv",
    ),
    "evaluate": Command(
        "deploy",
        "evaluate a trained run on labelled images from elsewhere: does it transfer?",
        "python -m bench evaluate ResNet18_01_06_2025_1200 --data-dir other_photos",
    ),
    "explain": Command(
        "explain",
        "show what a trained run looks at: Grad-CAM and attention of right and wrong images",
        "python -m bench explain ResNet18_01_06_2025_1200",
    ),
    "export": Command(
        "export",
        "write a trained run's model as ONNX, TorchScript or .pt2, with its transform inside",
        "python -m bench export ResNet18_01_06_2025_1200 --format onnx",
    ),
    "list": Command(
        "info",
        "show the variants that can be run, or the presets",
        "python -m bench list --json",
    ),
    "count": Command(
        "info",
        "count parameters, model size and GMACs",
        "python -m bench count --variants 'ResNet18*' --classes 1000",
    ),
    "time": Command(
        "info",
        "time variants together: rounds of fresh processes, with intervals and an A/A control",
        "python -m bench time --variants all,baselines --time-budget 30m",
    ),
    "data": Command(
        "data",
        "summarise a folder of images (classes, sizes, unreadable files, duplicates, imbalance)",
        "python -m bench data --data-dir my_photos",
    ),
}


def _function(name: str, form: str) -> Any:
    module = importlib.import_module(f"bench.cli.{COMMANDS[name].module}")
    return getattr(module, form.format(name))


def run_command(parsed: Namespace, command_line: str) -> int:
    """Run the parsed command and return the exit code."""
    code: int = _function(parsed.command, "{}_command")(parsed, command_line)
    return code


def make_parser() -> Parser:
    """Return the parser of ``python -m bench``."""
    parser = Parser(
        prog="python -m bench",
        description="Train, count, time and compare image-classification variants.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"paddy-bench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(
            name,
            fill=lambda parser, name=name: _function(name, "add_{}_arguments")(parser),
            help=command.summary,
            description=f"{command.sentence}\n\nExample: {command.example}",
            epilog=EPILOG,
        )
    return parser
