"""Resolve the variants and options of a command, and print its output."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.parsing import flags_of
from bench.data.sources.prefixes import real_folder
from bench.errors import BenchError

if TYPE_CHECKING:
    import variants
    from bench.config.presets import Resolved
    from bench.runner.manifest import Manifest


def chosen_variants(parsed: Namespace) -> list[variants.Variant]:
    """Return the variants of ``--variants``, after running the files of ``--plugin``.

    Raises:
        BenchError: an unknown name, or a plugin that fails.
    """
    import variants

    load_plugins(parsed)
    try:
        return variants.select(parsed.variants or ["all"])
    except variants.VariantError as error:
        raise BenchError(str(error)) from error


def resolved_options(parsed: Namespace) -> Resolved:
    """Return the options from flags, environment, preset and defaults.

    Raises:
        BenchError: a value out of its bounds.
    """
    from bench.config.presets import resolve

    return resolve(flags_of(parsed), preset=getattr(parsed, "preset", None))


def resolve_request(
    parsed: Namespace,
) -> tuple[list[variants.Variant], Resolved, Manifest | None]:
    """Return variants and options of ``run``, and with ``--resume`` the sweep to resume.

    Raises:
        BenchError: as :func:`chosen_variants`, :func:`resolved_options` and
            :func:`bench.runner.manifest.find`; something is asked for that the sweep was not begun
            with, or another loader makes the pixels.
    """
    import variants

    given = resolved_options(parsed)
    # Before the imports, which take seconds; the index looks more closely.
    if given.config.data_dir is not None:
        real_folder(given.config.data_dir)
    if parsed.resume is None:
        return chosen_variants(parsed), given, None
    from bench.runner.manifest import check_loader, find, moved

    # Plugins run only where they are named now: a file of results must not run code.
    names = [variant.name for variant in chosen_variants(parsed)] if parsed.variants else None
    if names is None:
        load_plugins(parsed)
    journal = find(given.config.results_dir, parsed.resume or None, names)
    check_loader(journal)
    missing = [name for name in journal.variants if name not in variants.names()]
    if missing:
        files = " ".join(f"--plugin {path}" for path in journal.plugins)
        raise BenchError(
            f"--resume: sweep {journal.id} has variants that are not known here "
            f"({', '.join(missing)}): give the plugin files that it was begun with: {files}"
        )
    resolved = moved(journal, given, given.config.results_dir, variants=names)
    return _as_begun(journal), resolved, journal


def _as_begun(journal: Manifest) -> list[variants.Variant]:
    """Return the variants of a sweep in the versions that it was started with.

    Raises:
        BenchError: a version cannot be built here.
    """
    import variants

    result = []
    for name, version in journal.variants.items():
        now = variants.get(name)
        try:
            result.append(now.at_version(version))
        except variants.VariantError as error:
            raise BenchError(
                f"--resume: sweep {journal.id} was begun with {error}: begin a new sweep without "
                "--resume"
            ) from error
        if result[-1].version != now.version:
            print(
                f"sweep {journal.id} was begun with version {version} of {name}, and goes on with "
                f"it (version {now.version} is used by new sweeps)",
                file=sys.stderr,
            )
    return result


def load_plugins(parsed: Namespace) -> None:
    """Run the files of ``--plugin``.

    Raises:
        BenchError: one fails to import or registers a taken name.
    """
    import variants

    try:
        for path in parsed.plugin:
            variants.load_plugin(path)
    except variants.VariantError as error:
        raise BenchError(str(error)) from error


def parse_num_classes(parsed: Namespace) -> int:
    """Return the number of classes of ``--classes``.

    Raises:
        BenchError: fewer than two.
    """
    if parsed.classes < 2:
        raise BenchError(f"--classes must be at least 2: {parsed.classes}")
    return int(parsed.classes)


def asked_elsewhere(parsed: Namespace) -> list[str]:
    """Return which flags of the forecast were given."""
    names = ("images", "gpus", "price")
    return [f"--{name}" for name in names if getattr(parsed, name) is not None]


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def text_table(rows: list[dict[str, Any]]) -> str:
    """Return rows as aligned columns, with the keys as headings."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause garbage collection in the block: a pass over a million objects takes a second."""
    gc.disable()
    try:
        yield
    finally:
        # What has stayed is old: as young objects it would be looked through at once.
        thaw = gc.get_freeze_count() == 0
        gc.freeze()
        gc.enable()
        if thaw:
            gc.unfreeze()


def results_flag(results_dir: Path) -> str:
    """Return ``--results-dir …`` for the next command, or nothing where it is the default."""
    return "" if str(results_dir) == "results" else f" --results-dir {results_dir}"
