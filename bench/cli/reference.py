"""Write docs/reference.md: every command and option, from their declarations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from bench.cli.parser import COMMANDS, make_parser
from bench.cli.parsing import EPILOG, Parser
from bench.config.presets import load_presets

TITLE = """\
# Reference

Made by `make docs` from the options' own definition; `python -m bench COMMAND --help` says the
same.
"""


def reference() -> str:
    """Return the page as Markdown."""
    parser = make_parser()
    commands = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    blocks = [TITLE.strip(), _fenced(EPILOG)]
    for name, command in COMMANDS.items():
        blocks += [f"## {name}", command.sentence, _fenced(command.example)]
        blocks += _arguments(commands.choices[name])
    blocks += ["## Presets", *_presets()]
    return "\n\n".join(blocks) + "\n"


def _arguments(parser: Parser) -> Iterator[str]:
    """Yield a table for each group of arguments that is not empty."""
    parser.complete()
    for group in parser._action_groups:
        rows = [
            f"| {_cell(_call(action))} | {_cell(_help(action))} |"
            for action in group._group_actions
            if action.dest != "help"
        ]
        if rows:
            title = (group.title or "").replace("options", "Options", 1)
            heading = "Options" if group.title == "options" else title[0].upper() + title[1:]
            yield "\n".join([f"| {heading} | |", "|---|---|", *rows])


def _call(action: argparse.Action) -> str:
    """Return ``--epochs N``, ``--pretrained, --no-pretrained``, ``RUN IMAGES``."""
    value = str(action.metavar or action.dest.upper())
    if action.choices is not None:
        value = "|".join(map(str, action.choices))
    if not action.option_strings:
        return f"`{value}`"
    flags = ", ".join(action.option_strings)
    return f"`{flags}`" if action.nargs == 0 else f"`{flags} {value}`"


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _fenced(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


def _presets() -> Iterator[str]:
    for preset in load_presets().values():
        values = ", ".join(f"{name} {value}" for name, value in preset.options.items())
        yield f"**{preset.name}**: {preset.title} ({preset.hardware}). {values}."


if __name__ == "__main__":
    print(reference(), end="")
