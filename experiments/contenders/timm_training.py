"""timm's training procedure on a CPU, written anew from its public functions.

What timm's train.py (1.0) does with its defaults: its folder data set and loader with four
processes and prefetcher, RandomResizedCrop, flip and colour jitter 0.4 by Pillow and torchvision,
smoothed cross-entropy, AdamW from its factory (the optimizer is a choice there), no clipping.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2

from bench.system.environment import usable_cores
from experiments.contenders import ours
from experiments.contenders.worker import Channel

WORKERS = 4
SMOOTHING = 0.1


def train(job: Mapping[str, Any], channel: Channel) -> None:
    """Train the job's model epoch by epoch; the first epoch begins with finding the files.

    Args:
        job: as :func:`experiments.contenders.ours.train`; ``channels_last`` for its memory format.
        channel: to whoever asks for epochs.
    """
    config = ours.config_of(job)
    torch.set_num_threads(config.threads or usable_cores())
    model, (mean, std) = ours.model_of(job)
    memory_format = torch.channels_last if job["channels_last"] else torch.contiguous_format
    model = model.to(memory_format=memory_format).train()
    optimizer = create_optimizer_v2(
        model, opt="adamw", lr=config.head_lr, weight_decay=config.weight_decay
    )
    criterion = LabelSmoothingCrossEntropy(SMOOTHING)
    channel.ready()
    begin = channel.wait()
    loader = make_loader(job, mean, std)
    while True:
        images_seen = 0
        for images, labels in loader:
            images = images.contiguous(memory_format=memory_format)
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            images_seen += len(labels)
        channel.answer(time.perf_counter() - begin, images_seen)
        begin = channel.wait()


def make_loader(job: Mapping[str, Any], mean: Any, std: Any) -> Any:
    """train.py's loader of the job's training part, with its default transforms."""
    shared = {"batch_size": job["batch_size"], "is_training": True}
    dataset = create_dataset("", root=job["data_dir"], split="train", **shared)
    return create_loader(
        dataset,
        **shared,
        input_size=(3, job["image_size"], job["image_size"]),
        use_prefetcher=True,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        mean=mean,
        std=std,
        num_workers=WORKERS,
        device=torch.device("cpu"),
    )
