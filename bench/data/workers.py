"""How many processes should prepare batches: decided by what preparing and training cost here."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from bench.data.dataset import ImageDataset
from bench.data.transforms import draw_epoch

# Below this share of a step, processes cost more (start, memory, cores) than they save.
SMALL_SHARE = 0.15
# A GPU is fed with this much to spare.
SPARE = 1.2
# Most processes where their number is not given: the documented default.
MOST_WORKERS = 4
WARM_UP = 8
AT_ONCE = 16


def measure_pipeline(dataset: ImageDataset, images: int = 64, *, device: torch.device) -> float:
    """Measure the images/s that one thread reads and augments, without what the GPU does.

    Args:
        dataset: what is trained on.
        images: how many to time, at most.
        device: where the model is.
    """
    on_gpu = device.type == "cuda"
    count = min(images, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(np.int64)
    draws = draw_epoch(count, 0, 0)
    dataset.batch(indices[:WARM_UP], draws[:WARM_UP], on_gpu=on_gpu)
    begin = time.perf_counter()
    for start in range(0, count, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        dataset.batch(indices[some], draws[some], on_gpu=on_gpu)
    return count / (time.perf_counter() - begin)


def choose_workers(
    pipeline_images_per_s: float, step_images_per_s: float, device: torch.device, cores: int
) -> tuple[int, str]:
    """Return how many processes prepare batches where nobody says it, and why so many.

    At most :data:`MOST_WORKERS`, and no more than the cores. The number changes no result.

    Args:
        pipeline_images_per_s: that one core prepares.
        step_images_per_s: that the training step takes, on all cores where it runs on them.
        device: where the model is.
        cores: that this process may use.
    """
    share = step_images_per_s / (pipeline_images_per_s * cores)
    rates = (
        f"a core prepares {pipeline_images_per_s:.0f} images/s, "
        f"training takes {step_images_per_s:.0f}"
    )
    if share < SMALL_SHARE:
        return 0, f"{rates}: threads of the training process add {share:.0%} to a step"
    if cores == 1:
        return 0, f"{rates}: there is one core"
    if device.type == "cuda":
        most = min(MOST_WORKERS, cores)
        needed = math.ceil(SPARE * step_images_per_s / pipeline_images_per_s)
        reason = f"{rates}: as many as feed the GPU with {SPARE - 1:.0%} to spare"
    else:
        # Preparing and training share the cores: each gets them in proportion to what it costs.
        most = min(MOST_WORKERS, cores - 1)
        needed = math.ceil(cores * share / (1 + share))
        reason = f"{rates}: preparing is {share:.0%} of a step, beside it"
    if needed <= most:
        return needed, reason
    limit = f"{cores} cores" if most < MOST_WORKERS else "give --num-workers for more"
    return most, f"{rates}: {needed} processes would keep up, at most {most} are started ({limit})"
