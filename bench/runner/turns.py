"""Trains runs one after the other in one process; those of one frozen backbone share features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

import variants
from bench.runner.context import Sweep
from bench.runner.run import run_variant

Outcome = tuple[Path, dict[str, Any]]


@attrs.frozen
class Planned:
    """A run that is to be trained.

    Attributes:
        sweep: what it shares with the others of its seed and fold.
        variant: what is trained.
        label: tells it apart from other runs of the variant, for people.
        epoch_s: how long its first epoch is expected to take.
        expected_s: how long all of it is.
        begun: folder and record of the run where it was broken off.
        ended: the same where it has ended already.
    """

    sweep: Sweep
    variant: variants.Variant
    label: str
    epoch_s: float = 0.0
    expected_s: float = 0.0
    begun: Outcome | None = None
    ended: Outcome | None = None

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Equal for variants whose frozen backbones can have the same features."""
        return self.variant.backbone, self.variant.weights_tag


def train_in_turn(
    planned: Sequence[Planned],
    *,
    begun: Callable[[int], object] = lambda number: None,
    done: Callable[[int, Outcome], object] = lambda number, outcome: None,
) -> list[Outcome]:
    """Train in order; folder and record of each.

    Args:
        planned: those of one seed and fold have the same ``sweep``, one after the other.
        begun: called with the position of a run that begins.
        done: called with the position of a run that has ended, and what it left.

    Raises:
        StoppedError: the sweep's stopper said so.
    """
    outcomes = []
    for number, one in enumerate(planned):
        if one.ended is not None:
            outcomes.append(one.ended)
            continue
        one.sweep.stopper.check(one.epoch_s)
        begun(number)
        rest = [
            later
            for later in planned[number + 1 :]
            if later.sweep is one.sweep and later.ended is None
        ]
        again = any(later.backbone == one.backbone for later in rest)
        needed = frozenset([one.variant.name]) if again else frozenset()
        left = sum(later.expected_s for later in planned[number + 1 :] if later.ended is None)
        here = attrs.evolve(one.sweep, needed_later=needed, expected_s=one.expected_s, later_s=left)
        outcome = run_variant(here, one.variant, one.begun)
        outcomes.append(outcome)
        done(number, outcome)
        _drop_features(one.sweep, outcome[1], last=not rest, again=again)
    return outcomes


def _drop_features(sweep: Sweep, record: dict[str, Any], *, last: bool, again: bool) -> None:
    """Free what no later run reads."""
    if sweep.features is None:
        return
    setup = (record["training"] or {}).get("setup", {})
    backbone = (setup.get("features") or {}).get("backbone")
    if last:
        sweep.features.drop()
    elif backbone and not again:
        sweep.features.drop(backbone)
