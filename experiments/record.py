"""What the records of all experiments share: their head, and the rows that are judged."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import attrs

from bench.system.environment import cpu_model

Record = Mapping[str, Any]


@attrs.frozen
class Row:
    """One bar in the table of outcomes.

    Attributes:
        bar: what is required of the harness, in words.
        required: the bound.
        found: what came out, a rate with its interval.
        met: None where nothing is required and the figure only informs.
        made: how the figure was made.
    """

    bar: str
    required: str
    found: str
    met: bool | None
    made: str


def head(
    suite: str,
    name: str,
    quick: bool,
    seed: int | None,
    parameters: Mapping[str, Any],
    versions: Sequence[str],
) -> dict[str, Any]:
    """The part of a record that says where, when and how its figures came about.

    Args:
        suite: package of the experiment.
        name: of the experiment.
        quick: whether it was run with few repetitions, for a test.
        seed: of the random numbers; None where there are none.
        parameters: what was chosen, as JSON types.
        versions: packages whose version matters; those that are not installed are left out.
    """
    arguments = _without_folder(sys.argv[1:]) if suite in sys.argv[0] else [name]
    return {
        "experiment": name,
        "command": " ".join([f"python -m experiments.{suite}", *arguments]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seed": seed,
        "machine": {"cpu_model": cpu_model(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in versions if _installed(package)},
        },
        "parameters": dict(parameters),
    }


def trace(line: str) -> None:
    """Say on standard error how far an experiment is."""
    print(line, file=sys.stderr, flush=True)


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _without_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--out``: where records went is nobody else's folder."""
    kept = list(arguments)
    if "--out" in kept:
        place = kept.index("--out")
        del kept[place : place + 2]
    return [one for one in kept if not one.startswith("--out=")]
