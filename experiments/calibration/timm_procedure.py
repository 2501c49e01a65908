"""timm's own way to time inference, written anew, in a process of its own that takes turns.

What timm's benchmark.py does (InferenceBenchmarkRunner, timm 1.0): random images, 10 warm-up
steps, 40 timed steps, each step read by itself and synchronised, images/s = images ÷ sum of the
steps, no_grad, eval mode. Here the timed steps come in blocks, so that another process can have its
turn between them, and there are as many as whole blocks need.

It speaks as ``bench.timing.worker`` does: a job on the first line, then ``begin``, ``block …`` and
``end``.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import timm
import torch

WARMUP_STEPS = 10
TIMED_STEPS = 40
BLOCK_S = 0.2


class Procedure:
    """A timm model with 10 classes and random weights, on the CPU.

    Args:
        job: ``backbone``, and in ``cases`` one with ``batch_size``, ``image_size`` and ``threads``.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        (self.case,) = job["cases"]
        torch.set_num_threads(self.case["threads"])
        self.model = timm.create_model(job["backbone"], pretrained=False, num_classes=10).eval()
        size = self.case["image_size"]
        self.images = torch.randn(self.case["batch_size"], 3, size, size)
        self.steps = 1
        self.blocks: list[float] = []

    def answer(self, command: str) -> dict[str, Any]:
        """Warm up and say how many blocks there will be; time one; say what was found."""
        if command.startswith("begin"):
            fastest = min(self._step() for _ in range(WARMUP_STEPS))
            self.steps = max(1, math.ceil(BLOCK_S / fastest))
            return {"blocks": max(5, math.ceil(TIMED_STEPS / self.steps))}
        if command == "end":
            return {"case": self.case, "sample": {"block_seconds": self.blocks}}
        # Others ran since its last block: their data is in the caches.
        self._step()
        self.blocks.append(sum(self._step() for _ in range(self.steps)) / self.steps)
        return {}

    def _step(self) -> float:
        with torch.no_grad():
            begin = time.perf_counter()
            self.model(self.images)
            return time.perf_counter() - begin


def main() -> None:
    """Read the job, then answer line after line."""
    procedure = Procedure(json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(procedure.answer(line.strip())), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)
