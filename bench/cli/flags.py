"""Declare the options of :mod:`bench.config.options` as flags, and read them after parsing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def add_options(
    parser: argparse.ArgumentParser,
    names: Sequence[str] | None = None,
    helps: Mapping[str, str] | None = None,
) -> None:
    """Give a parser the options of :mod:`bench.config.options`, all or the named ones, by section.

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
    """Option values given on the command line, parsed to their types.

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
