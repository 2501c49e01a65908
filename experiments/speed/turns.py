"""Steady epochs of ours and of the fixed batch in turn, in one process and with one model.

For the variants whose interval in the other races has the bar in it: processes differ by 4 % and
more from each other, and here both sides are the same process. An epoch has all that an epoch has:
its order and draws, its first batch, its last one.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import attrs

from experiments.record import Record, Row, trace
from experiments.speed.common import head, speed_row
from experiments.speed.pictures import pictures
from experiments.speed.pipes import Worker
from experiments.speed.race import TURNS, Entry

NAME = "turns"
PROCESSES, ROUNDS = 6, 6
IMAGE_SIZE = 224
VALID_IMAGES = 10
LEAST = 0.95
ENTRIES = (
    Entry("MobileNetV3_Small", 32, 384),
    Entry("EfficientNet_Lite0_CA", 32, 128),
    Entry("EfficientNetV2_S_ECA", 16, 64),
)
# What the other races say of these informs; it is judged here.
FINER = tuple(entry.variant for entry in ENTRIES)


def run(quick: bool) -> dict[str, Any]:
    """Measure; ``quick``: MobileNetV3-Small at 32 pixels, 64 images, two rounds of one process."""
    processes, rounds, size = (1, 2, 32) if quick else (PROCESSES, ROUNDS, IMAGE_SIZE)
    entries = (Entry("MobileNetV3_Small", 16, 64),) if quick else ENTRIES
    parameters = {
        "processes": processes,
        "rounds": rounds,
        "image_size": size,
        "entries": [attrs.asdict(entry) for entry in entries],
    }
    record = head(NAME, quick, parameters)
    record["outcome"] = [
        _measure(entry, size, processes, rounds, threads=1 if quick else None) for entry in entries
    ]
    return record


def _measure(
    entry: Entry, size: int, processes: int, rounds: int, *, threads: int | None
) -> dict[str, Any]:
    data_dir = pictures({"train": entry.images, "valid": VALID_IMAGES})
    seconds: dict[str, list[list[float]]] = {name: [] for name in TURNS}
    for number in range(processes):
        job = {
            "kind": "in turn",
            "variant": entry.variant,
            "batch_size": entry.batch_size,
            "image_size": size,
            "data_dir": str(data_dir),
            "options": {"threads": threads},
            "seed": number,
        }
        with Worker(job) as worker:
            worker.ready()
            for _ in TURNS:
                worker.epoch()  # warms up
            found: dict[str, list[float]] = {name: [] for name in TURNS}
            for _ in range(rounds * len(TURNS)):
                answer = worker.epoch()
                found[answer["turns"]].append(answer["seconds"])
        for name in TURNS:
            seconds[name].append(found[name])
        trace(f"{entry.variant}: process {number + 1} of {processes}")
    return {**attrs.asdict(entry), "seconds": seconds}


def of_process(found: Mapping[str, Any], name: str) -> list[float]:
    """Seconds of an epoch, of each process: the median of its rounds."""
    return [statistics.median(rounds) for rounds in found["seconds"][name]]


def fixed_of_process(found: Mapping[str, Any]) -> list[float]:
    """As :func:`of_process`, of both fixed batches together."""
    return [
        statistics.median([*one, *other])
        for one, other in zip(*(found["seconds"][name] for name in TURNS[1:]), strict=True)
    ]


def rows(record: Record) -> list[Row]:
    """Two rows for each variant: ours, and the fixed batch against itself."""
    found = []
    for one in record["outcome"]:
        made = (
            f"steady epochs of {one['images']} images, batch {one['batch_size']}, "
            f"{record['parameters']['image_size']} pixels, in turn in one process; "
            f"{record['parameters']['processes']} processes, medians of "
            f"{record['parameters']['rounds']} rounds"
        )
        ours, first, again = (of_process(one, name) for name in TURNS)
        both = fixed_of_process(one)
        found += [
            speed_row(
                f"{one['variant']}: ours ÷ the fixed batch, in turn in one process",
                ours, both, LEAST, made,
            ),
            speed_row(
                f"{one['variant']}: the fixed batch ÷ itself (A/A), in turn in one process",
                first, again, None, made,
            ),
        ]  # fmt: skip
    return found
