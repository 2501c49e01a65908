"""What all speed experiments share: the record's head, speeds compared by round, rows of ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.stats.timing import Ratio, compare_speeds
from bench.system.environment import others_load, usable_cores
from experiments import record
from experiments.record import Record, Row

PACKAGES = ("torch", "torchvision", "timm", "opencv-python-headless", "numpy", "pillow")


def head(
    name: str, quick: bool, parameters: Mapping[str, Any], seed: int | None = None
) -> dict[str, Any]:
    """The part of a record that says where, when and how its figures came about.

    Args:
        name: of the experiment.
        quick: whether it was run small, for a test.
        parameters: what was chosen, as JSON types.
        seed: of the random numbers; None where each process has its own.
    """
    found = record.head("speed", name, quick, seed, parameters, PACKAGES)
    found["machine"] |= {"cores": usable_cores(), "load_before": others_load()}
    return found


def device(found: Record) -> str:
    """``AMD EPYC, 2 cores, float32``: what the captions of figures say."""
    machine = found["machine"]
    return f"{machine['cpu_model']}, {machine['cores']} cores, float32"


# --- ratios ----------------------------------------------------------------------------------


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Speed of ours ÷ speed of theirs from the seconds of the same work, round by round."""
    found = compare_speeds(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert found is not None
    return found


def ratio_text(ratio: Ratio) -> str:
    """``1.82 (1.75–1.90, 7 rounds)``."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.3f} (no interval, {ratio.rounds} rounds)"
    return f"{ratio.ratio:.3f} ({ratio.low:.3f}–{ratio.high:.3f}, {ratio.rounds} rounds)"


def speed_row(
    bar: str, ours: Sequence[float], theirs: Sequence[float], least: float | None, made: str
) -> Row:
    """How many times faster ours is, with its 95 % interval; the estimate is judged.

    Args:
        bar: what is compared, in words.
        ours: seconds of each round.
        theirs: seconds of the same work in the same rounds.
        least: the bar; None where the figure only informs.
        made: how the figure was made.
    """
    ratio = ratio_of(ours, theirs)
    required = "informs" if least is None else f"at least {least:g}"
    met = None if least is None else ratio.ratio >= least
    return Row(bar, required, ratio_text(ratio), met, made)
