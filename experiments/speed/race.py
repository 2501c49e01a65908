"""Contenders that train one model, epoch by epoch in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from experiments.speed.common import trace
from experiments.speed.pipes import Worker

OURS, FIXED, TIMM, BEST = "ours", "fixed batch", "timm", "timm, best settings"
# What a contender's process is given beside the job: channels-last, and the allocator's settings.
SETTINGS: dict[str, tuple[dict[str, Any], bool]] = {
    OURS: ({}, False),
    FIXED: ({}, False),
    TIMM: ({"channels_last": False}, False),
    BEST: ({"channels_last": True}, True),
}


@attrs.frozen
class Entry:
    """A model in a race: its variant, batch, and images of an epoch (a multiple of the batch)."""

    variant: str
    batch_size: int
    images: int


def race(
    entry: Entry,
    contenders: Sequence[str],
    *,
    data_dir: Path,
    image_size: int,
    rounds: int,
    threads: int | None,
) -> dict[str, Any]:
    """Train by each contender: one cold epoch, then ``rounds`` steady ones in rotated order.

    Args:
        entry: what is trained.
        contenders: names of :data:`SETTINGS`, ours first: the fixed batch takes its memory format.
        data_dir: with ``train`` and ``valid`` parts.
        image_size: S in pixels.
        rounds: steady epochs.
        threads: of PyTorch; none: one for each core.

    Returns:
        ``seconds`` of every epoch by contender, the cold one first; ``images`` of an epoch,
        ``variant``, ``batch_size``, ``memory_format``.
    """
    job = {
        "variant": entry.variant,
        "batch_size": entry.batch_size,
        "images": entry.images,
        "image_size": image_size,
        "data_dir": str(data_dir),
        "options": {"threads": threads},
    }
    found: dict[str, Any] = {
        **attrs.asdict(entry),
        "memory_format": "channels_last",
        "seconds": {name: [] for name in contenders},
    }
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def start(name: str) -> None:
            more, allocator = SETTINGS[name]
            told = {**job, **more, "kind": name, "memory_format": found["memory_format"]}
            workers[name] = stack.enter_context(Worker(told, allocator=allocator))

        # Imports run side by side; every one has ended before an epoch begins.
        for name in contenders:
            if name != FIXED:
                start(name)
        for worker in workers.values():
            worker.ready()
        for name in contenders:
            if name == FIXED:
                start(name)
                workers[name].ready()
            answer = _epoch(workers[name], entry, found["seconds"][name])
            for key in ("memory_format", "workers", "forward"):
                found[key] = answer.get(key, found.get(key))
        for number in range(rounds):
            shift = number % len(contenders)
            for name in (*contenders[shift:], *contenders[:shift]):
                _epoch(workers[name], entry, found["seconds"][name])
            trace(f"{entry.variant}: round {number + 1} of {rounds}")
    return found


def _epoch(worker: Worker, entry: Entry, seconds: list[float]) -> Mapping[str, Any]:
    answer = worker.epoch()
    # A contender that leaves images out would be compared with those that do not.
    if answer["images"] != entry.images:
        raise RuntimeError(
            f"{worker.kind} trained on {answer['images']} images of {entry.images} an epoch"
        )
    seconds.append(answer["seconds"])
    return answer


def steady(found: Mapping[str, Any], contender: str) -> list[float]:
    """Seconds of a contender's epochs but the first."""
    return list(found["seconds"][contender][1:])
