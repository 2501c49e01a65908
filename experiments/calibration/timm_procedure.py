"""timm's own way to time inference, written anew, in a process of its own; prints JSON.

What timm's benchmark.py does (InferenceBenchmarkRunner, timm 1.0): random images, 10 warm-up
steps, 40 timed steps, each step read by itself and synchronised, images/s = images ÷ sum of the
steps, no_grad, eval mode.
"""

from __future__ import annotations

import json
import sys
import time

import timm
import torch

WARMUP_STEPS = 10
TIMED_STEPS = 40


def images_per_s(name: str, batch_size: int, image_size: int, threads: int) -> float:
    """Images/s of a timm model with 10 classes and random weights, on the CPU."""
    torch.set_num_threads(threads)
    model = timm.create_model(name, pretrained=False, num_classes=10).eval()
    images = torch.randn(batch_size, 3, image_size, image_size)
    with torch.no_grad():
        for _ in range(WARMUP_STEPS):
            model(images)
        elapsed = 0.0
        for _ in range(TIMED_STEPS):
            begin = time.perf_counter()
            model(images)
            elapsed += time.perf_counter() - begin
    return TIMED_STEPS * batch_size / elapsed


if __name__ == "__main__":
    model_name, *numbers = sys.argv[1:]
    print(json.dumps(images_per_s(model_name, *map(int, numbers))))
