"""Runs one contender in this process: a job on the first line, then a line for each epoch."""

from __future__ import annotations

import importlib
import json
import os
import sys

from bench.system import launch

CONTENDERS = {
    "ours": ("contenders", "train"),
    "ours, allocator environment": ("contenders", "train"),
    "fixed batch": ("contenders", "train_fixed"),
    "fixed batch again": ("contenders", "train_fixed"),
    "in turn": ("contenders", "train_in_turn"),
    "decode": ("contenders", "decode_once"),
    "pipeline": ("contenders", "read"),
    "timm": ("timm_training", "train"),
    "timm, best settings": ("timm_training", "train"),
}


def main() -> None:
    """Do the job of standard input; answers go to standard output, everything else beside it."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(sys.stdin.readline())
    module, name = CONTENDERS[job["kind"]]
    if module == "contenders":
        # As the harness does, before PyTorch is imported.
        launch.sleep_soon()
    # Imported now, so that nobody waits for the libraries of a job that does not exist; and not
    # before, since the channel imports PyTorch too.
    from experiments.speed.channel import Channel

    contender = getattr(importlib.import_module(f"experiments.speed.{module}"), name)
    contender(job, Channel(sys.stdin, answers))


if __name__ == "__main__":
    main()
