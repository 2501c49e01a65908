"""What the commands share: the variants and options that are asked for, and plain output."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import variants
from bench.errors import BenchError
from bench.flags import flags_of

if TYPE_CHECKING:
    from bench.presets import Resolved


def chosen_variants(parsed: Namespace) -> list[variants.Variant]:
    """The variants of ``--variants``, after the files of ``--plugin`` have run.

    Raises:
        BenchError: an unknown name, or a plugin that fails.
    """
    try:
        for path in parsed.plugin:
            variants.load_plugin(path)
        return variants.select(parsed.variants or ["all"])
    except variants.VariantError as error:
        raise BenchError(str(error)) from error


def resolved_options(parsed: Namespace) -> Resolved:
    """Flags, environment, preset and defaults together.

    Raises:
        BenchError: a value out of its bounds.
    """
    from bench.presets import resolve

    return resolve(flags_of(parsed), preset=getattr(parsed, "preset", None))


def asked_classes(parsed: Namespace) -> int:
    """``--classes``.

    Raises:
        BenchError: fewer than two.
    """
    if parsed.classes < 2:
        raise BenchError(f"--classes must be at least 2: {parsed.classes}")
    return int(parsed.classes)


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def text_table(rows: list[dict[str, Any]]) -> str:
    """Aligned columns with the keys as headers."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
