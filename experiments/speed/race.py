"""Contenders that train one model in turn, a fresh process for each and every repetition."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.errors import BenchError
from bench.records import write_json
from experiments.record import trace
from experiments.speed.pipes import Worker

OURS, FIXED, TIMM, BEST = "ours", "fixed batch", "timm", "timm, best settings"
# Ours in the environment that timm's best settings need, and the fixed batch once more (A/A).
OURS_TOO, FIXED_TOO = "ours, allocator environment", "fixed batch again"
# What the epochs of one process are of, in turn.
TURNS = (OURS, FIXED, FIXED_TOO)
# What a contender's process is given beside the job: channels-last, and the allocator's settings.
SETTINGS: dict[str, tuple[dict[str, Any], bool]] = {
    OURS: ({}, False),
    OURS_TOO: ({}, True),
    FIXED: ({}, False),
    FIXED_TOO: ({}, False),
    TIMM: ({"channels_last": False}, False),
    BEST: ({"channels_last": True}, True),
}


@attrs.frozen
class Entry:
    """A model in a race: its variant, batch, and images of an epoch (a multiple of the batch)."""

    variant: str
    batch_size: int
    images: int


class Kept:
    """What a race has so far, in a file: a process that is killed costs one repetition, not hours.

    Args:
        path: the file; none: nothing is kept.
        record: its head says what is raced; what was kept of another race is not taken.
    """

    def __init__(self, path: Path | None, record: Mapping[str, Any]) -> None:
        self._path = path
        self._about = {
            key: record[key] for key in ("experiment", "quick", "parameters", "versions")
        }
        # As it will be read.
        self._about = json.loads(json.dumps(self._about))
        self._found: dict[str, Any] = {}
        if path is not None and path.exists():
            content = json.loads(path.read_text("utf8"))
            if content["about"] == self._about:
                self._found = content["found"]

    def begun(self, variant: str) -> dict[str, Any] | None:
        """What there is of a variant."""
        return self._found.get(variant)

    def keep(self, found: Mapping[str, Any]) -> None:
        """One more repetition of a variant is done."""
        self._found[found["variant"]] = found
        if self._path is not None:
            write_json(self._path, {"about": self._about, "found": self._found})


def race(
    entry: Entry,
    contenders: Sequence[str],
    *,
    data_dir: Path,
    image_size: int,
    repetitions: int,
    steady_epochs: int,
    threads: int | None,
    kept: Kept | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train by each contender, in fresh processes at each repetition: one sample is one process.

    A process trains a cold epoch, which warms it up, then steady ones. Contenders take turns epoch
    by epoch, in an order that is drawn anew each time.

    Args:
        entry: what is trained.
        contenders: names of :data:`SETTINGS`, ours first: the fixed batch takes its memory format.
        data_dir: with ``train`` and ``valid`` parts.
        image_size: S in pixels.
        repetitions: processes of each contender.
        steady_epochs: after the cold one.
        threads: of PyTorch; none: one for each core.
        kept: where repetitions are kept, and found again; none: nowhere.
        seed: of the order.

    Returns:
        ``seconds`` of every epoch by contender and repetition, the cold one first; the ``order`` of
        the steady epochs; ``images`` of an epoch, ``variant``, ``batch_size``, ``memory_format``,
        ``faults`` of a step (minor page faults).
    """
    job = {
        "variant": entry.variant,
        "batch_size": entry.batch_size,
        "images": entry.images,
        "image_size": image_size,
        "data_dir": str(data_dir),
        "options": {"threads": threads},
    }
    found: dict[str, Any] = (kept and kept.begun(entry.variant)) or {
        **attrs.asdict(entry),
        "memory_format": "channels_last",
        "seconds": {name: [] for name in contenders},
        "faults": {name: [] for name in contenders},
        "order": [],
    }
    for number in range(len(found["seconds"][contenders[0]]), repetitions):
        # A race that goes on draws the orders that it would have drawn.
        chance = random.Random(f"{seed}-{number}")
        # What breaks off is not in what is kept.
        found = copy.deepcopy(found)
        _repeat(entry, contenders, job, found, steady_epochs, chance)
        if kept is not None:
            kept.keep(found)
        trace(f"{entry.variant}: repetition {number + 1} of {repetitions}")
    return found


def _repeat(
    entry: Entry,
    contenders: Sequence[str],
    job: Mapping[str, Any],
    found: dict[str, Any],
    steady_epochs: int,
    chance: random.Random,
) -> None:
    for name in contenders:
        found["seconds"][name].append([])
        found["faults"][name].append([])
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def start(name: str) -> None:
            more, allocator = SETTINGS[name]
            told = {**job, **more, "kind": name, "memory_format": found["memory_format"]}
            workers[name] = stack.enter_context(Worker(told, allocator=allocator))

        # Imports run side by side; every one has ended before an epoch begins.
        late = [name for name in contenders if name in (FIXED, FIXED_TOO)]
        for name in contenders:
            if name not in late:
                start(name)
        for worker in workers.values():
            worker.ready()
        for name in contenders:
            if name not in late:
                _epoch(workers[name], name, entry, found)
        for name in late:
            start(name)
        for name in late:
            workers[name].ready()
        for name in late:
            _epoch(workers[name], name, entry, found)
        for _ in range(steady_epochs):
            order = chance.sample(list(contenders), len(contenders))
            found["order"].append(order)
            for name in order:
                _epoch(workers[name], name, entry, found)


def _epoch(worker: Worker, name: str, entry: Entry, found: dict[str, Any]) -> None:
    answer = worker.epoch()
    # A contender that leaves images out would be compared with those that do not.
    if answer["images"] != entry.images:
        raise BenchError(
            f"{worker.kind} trained on {answer['images']} images of {entry.images} an epoch"
        )
    found["seconds"][name][-1].append(answer["seconds"])
    found["faults"][name][-1].append(answer["faults"] / (entry.images / entry.batch_size))
    for key in ("memory_format", "workers", "forward"):
        found[key] = answer.get(key, found.get(key))


def steady(found: Mapping[str, Any], contender: str) -> list[float]:
    """Seconds of an epoch, of each of a contender's processes: the mean of its steady ones."""
    return [statistics.mean(epochs[1:]) for epochs in found["seconds"][contender]]
