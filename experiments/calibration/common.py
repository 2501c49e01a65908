"""What all calibration experiments share: the record's head, rates with intervals, table rows."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from bench.stats.accuracy import clopper_pearson

Record = Mapping[str, Any]

VERSIONS = ("numpy", "scipy", "statsmodels")


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
    name: str,
    quick: bool,
    seed: int | None,
    parameters: Mapping[str, Any],
    versions: tuple[str, ...] = VERSIONS,
) -> dict[str, Any]:
    """The part of a record that says where, when and how its figures came about.

    Args:
        name: of the experiment.
        quick: whether it was run with few repetitions, for a test.
        seed: of the random numbers; None where there are none.
        parameters: what was chosen, as JSON types.
        versions: packages whose version matters.
    """
    arguments = _without_folder(sys.argv[1:]) if "calibration" in sys.argv[0] else [name]
    return {
        "experiment": name,
        "command": " ".join(["python -m experiments.calibration", *arguments]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seed": seed,
        "machine": {"cpu_model": cpu_model(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in versions},
        },
        "parameters": dict(parameters),
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def rate(count: int, total: int) -> str:
    """``4.60 % (3.72–5.61 %, 92 of 2,000)``: a rate with its exact 95 % interval."""
    low, high = clopper_pearson(count, total)
    return f"{count / total:.2%} ({low:.2%}–{high:.2%}, {count:,} of {total:,})".replace("%", " %")


def exact(share: float) -> str:
    """A rate that was summed over all outcomes, so that it has no sampling error."""
    return f"{percent(share)} (exact)"


def percent(share: float) -> str:
    """``4.60 %``."""
    return f"{100 * share:.2f} %"


def _without_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--out``: where records went is nobody else's folder."""
    kept = list(arguments)
    if "--out" in kept:
        place = kept.index("--out")
        del kept[place : place + 2]
    return [one for one in kept if not one.startswith("--out=")]
