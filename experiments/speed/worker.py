"""Runs one contender in this process: a job on the first line, then a line for each epoch."""

from __future__ import annotations

import json
import os
import sys

from experiments.speed.pipes import Channel


def main() -> None:
    """Do the job of standard input; answers go to standard output, everything else beside it."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(sys.stdin.readline())
    from experiments.speed import ours, timm_training

    contenders = {
        "ours": ours.train,
        "fixed batch": ours.train_fixed,
        "decode": ours.decode_once,
        "pipeline": ours.read,
        "timm": timm_training.train,
        "timm, best settings": timm_training.train,
    }
    contenders[job["kind"]](job, Channel(sys.stdin, answers))


if __name__ == "__main__":
    main()
