"""Runs one contender in this process: a job on the first line, then a line for each epoch."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from typing import Any, TextIO

from bench.system import launch

OURS = "experiments.contenders.ours"
TIMM = "experiments.contenders.timm_training"
# What the epochs of one process are of, in turn.
TURNS = ("ours", "fixed batch", "fixed batch again")
CONTENDERS = {
    "ours": (OURS, "train"),
    "ours, allocator environment": (OURS, "train"),
    "fixed batch": (OURS, "train_fixed"),
    "fixed batch again": (OURS, "train_fixed"),
    "in turn": (OURS, "train_in_turn"),
    "decode": (OURS, "decode_once"),
    "pipeline": (OURS, "read"),
    "timm": (TIMM, "train"),
    "timm, best settings": (TIMM, "train"),
}


class Channel:
    """What a contender hears and says: a line for each epoch, in both directions."""

    def __init__(self, commands: TextIO, answers: TextIO) -> None:
        self._commands, self._answers = commands, answers
        self._faults = 0

    def ready(self) -> None:
        """Everything is imported and built."""
        self._say()

    def wait(self) -> float:
        """Sleep until an epoch is asked for; the clock at its begin. Nobody asks: the end."""
        if not self._commands.readline():
            raise SystemExit(0)
        self._faults = _minor_faults()
        return time.perf_counter()

    def answer(self, seconds: float, images: int, **more: Any) -> None:
        """The epoch that was asked for is over."""
        faults = _minor_faults() - self._faults
        self._say(seconds=seconds, images=images, faults=faults, **more)

    def _say(self, **answer: Any) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> None:
    """Do the job of standard input; answers go to standard output, everything else beside it."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(sys.stdin.readline())
    module, name = CONTENDERS[job["kind"]]
    if module == OURS:
        # As the harness does, before PyTorch is imported.
        launch.sleep_soon()
    # Imported now, so that nobody waits for the libraries of a job that does not exist.
    contender = getattr(importlib.import_module(module), name)
    contender(job, Channel(sys.stdin, answers))


if __name__ == "__main__":
    main()
