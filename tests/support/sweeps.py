"""Small sweeps: their options, what they leave, and a way to halt one at a known place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FAST = (
    "--epochs 3 --batch-size 8 --image-size 32 --num-workers 0 --head-lr 1e-2 --base-lr 1e-2 "
    "--no-timing --tune off --threads 1 --save-history"
)
TIMES = ("train_seconds", "valid_seconds", "images_per_s")
HALT = """

import time
from pathlib import Path

from bench.system.signals import StopRequest
from bench.train import loop
from bench.train.checkpoint import CheckpointManager

step, begin, epoch_ended = loop.train_step, CheckpointManager.begin, CheckpointManager.epoch_ended
told, kept = [], False


def seen(self, name, value):
    object.__setattr__(self, name, value)
    if name == "number" and value is not None:
        told.append(value)


def begun(self):
    global kept
    state = begin(self)
    kept = bool(state.epochs)
    return state


def ended(self, *args, **options):
    global kept
    epoch_ended(self, *args, **options)
    kept = True


def halted(*args, **options):
    while kept and not told and not Path({go!r}).exists():
        time.sleep(0.02)
    return step(*args, **options)


StopRequest.__setattr__, CheckpointManager.begin, CheckpointManager.epoch_ended = seen, begun, ended
loop.train_step = halted
"""


class Halt:
    """A plugin's variants, whose training waits at a step when it has something to go on from.

    It waits until it is let go or its process is told to stop, so that what a test does to it
    comes before its end on a slow machine as on a quick one.

    Args:
        plugin: registers the variants.
    """

    def __init__(self, plugin: Path) -> None:
        self._go = plugin.with_name("go")
        self.plugin = plugin.with_name("halted.py")
        self.plugin.write_text(plugin.read_text() + HALT.format(go=str(self._go)))

    def let_go(self) -> None:
        """Nothing waits any more."""
        self._go.touch()


def states(folder: Path) -> list[Path]:
    """What the trainings below a folder's results can go on from."""
    return list(folder.glob("results/*/last.pt"))


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records below a folder's results, one for each variant."""
    found = [json.loads(path.read_text()) for path in folder.glob("results/*/run.json")]
    assert len({one["variant"]["name"] for one in found}) == len(found)
    return {one["variant"]["name"]: one for one in found}


def rows(record: dict[str, Any]) -> list[dict[str, float]]:
    """The epochs of a record without what is timed."""
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in record["training"]["epochs"]
    ]
