"""Build parsers, and declare the options of :mod:`bench.config.options` as flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import ENVIRONMENT_PREFIX
from bench.errors import BenchError

EPILOG = f"""\
Precedence of an option: flag > environment ({ENVIRONMENT_PREFIX}BATCH_SIZE=32) > preset > default.
Exit code: 0 done; 1 a variant failed or images could not be read, the others are done; 2 a mistake
in what was asked; 130, 143 stopped by Ctrl-C or SIGTERM (--resume goes on).
"""
SELECTION_HELP = (
    "names (any case), globs ('EfficientNetV2_S_*') and the groups all and baselines; "
    "comma-separated or repeated (default: all)"
)
# The options that commands on a trained run share with training mean something else to them.
DEVICE_HELP = "where to compute (default: auto, a GPU where there is one)"
IMAGES_HELP = "where the run's images are now (default: where they were when it was trained)"
PLUGIN_HELP = (
    "Python file that registers variants; its code RUNS WITH YOUR RIGHTS, so name only files "
    "that you trust; may be repeated"
)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises :class:`BenchError`, in one line, for a mistake.

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

    def complete(self) -> None:
        """Add the arguments, unless they have been added."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Complete the parser, then parse."""
        self.complete()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        from bench.config.options import REMOVED, flag_of

        words = message.replace("=", " ").replace("--no-", "--").split()
        for name, instead in REMOVED.items():
            if flag_of(name) in words:
                message += f" ({flag_of(name)} is now {flag_of(instead)})"
        raise BenchError(f"{message}: see {self.prog} --help")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add ``--variants`` and ``--plugin``."""
    parser.add_argument(
        "--variants", action="append", default=None, metavar="NAMES", help=SELECTION_HELP
    )
    add_plugin(parser)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``."""
    parser.add_argument(
        "--plugin", action="append", default=[], type=Path, metavar="FILE", help=PLUGIN_HELP
    )


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Add ``--preset``."""
    from bench.config.presets import preset_names

    names = ", ".join(preset_names())
    parser.add_argument(
        "--preset", metavar="NAME", help=f"{names} ('python -m bench list --presets' explains them)"
    )


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add ``--classes``."""
    parser.add_argument(
        "--classes",
        type=int,
        default=10,
        metavar="N",
        help="outputs of the models (default: 10)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def add_options(
    parser: argparse.ArgumentParser,
    names: Sequence[str] | None = None,
    helps: Mapping[str, str] | None = None,
) -> None:
    """Add the options of :mod:`bench.config.options`, all or the named ones, by section.

    Args:
        parser: of a command.
        names: of options; none: all.
        helps: what an option means to this command, where that is not what it means to a training.
    """
    from bench.config.fields import Bytes, Seconds
    from bench.config.options import flag_of, options

    metavars = {int: "N", float: "X", Path: "PATH", Seconds: "TIME", Bytes: "SIZE"}
    groups: dict[str, Any] = {}
    for field in options():
        if names is not None and field.name not in names:
            continue
        meta = field.metadata
        section = meta["section"]
        group = groups.get(section) or parser.add_argument_group(f"{section} options")
        groups[section] = group
        shown = "none" if field.default is None else field.default
        text = f"{meta['help']} (default: {_shown(shown)})"
        text = (helps or {}).get(field.name, text).replace("%", "%%")
        common: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
        if meta["kind"] is bool:
            common["action"] = argparse.BooleanOptionalAction
        elif meta["choices"]:
            common["choices"] = meta["choices"]
        else:
            common["metavar"] = metavars.get(meta["kind"], "TEXT")
        group.add_argument(flag_of(field.name), **common)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value / 1e9:g}GB" if value >= 1e9 else f"{value:g}"
    return str(value)


def flags_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the option values given on the command line, parsed to their types.

    Raises:
        BenchError: a value that is not of its option's type.
    """
    from bench.config.options import flag_of, options, parse_value

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
