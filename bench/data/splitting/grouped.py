"""Places images that belong together into one part each, as near to the wanted counts as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from bench.data.index import ImageIndex
from bench.errors import BenchError

Key = TypeVar("Key")


def group_by(values: Sequence[Key], indices: Iterable[int]) -> dict[Key, list[int]]:
    """Return the indices of each value, in the order of both."""
    groups: dict[Key, list[int]] = {}
    for index in indices:
        groups.setdefault(values[index], []).append(index)
    return groups


def place_groups(
    index: ImageIndex,
    positions: Sequence[int],
    targets: Mapping[int, Sequence[int]],
    groups: Sequence[int],
    rng: Generator,
) -> list[list[int]]:
    """Return the indices of each split; a group is in one split whole.

    Large groups are placed first, in random order among equals. Each goes to a split that has room
    for it, drawn with the splits' rooms as odds, so that copies are not always trained on; where
    none has room, to the one with the most. Single images fill the rest to the exact counts. A
    split without a class gets it while there are groups of that class left to give.

    Args:
        index: the images.
        positions: indices of those that are placed.
        targets: wanted images of each split, by class number; 0: the split takes none.
        groups: a number for each image of the index.
        rng: of the draw.

    Raises:
        BenchError: a class has too few groups to be in every split.
    """
    members = list(group_by(groups, sorted(positions)).values())
    counts = [Counter(index.labels[i] for i in group) for group in members]
    left = Counter(label for count in counts for label in count)
    rooms = {label: list(wanted) for label, wanted in targets.items()}
    lacking = {label: set(np.flatnonzero(wanted).tolist()) for label, wanted in targets.items()}
    for label, missing in lacking.items():
        if left[label] < len(missing):
            raise _too_few(index.classes[label], left[label], len(missing))
    splits: list[list[int]] = [[] for _ in next(iter(targets.values()))]
    shuffled = rng.permutation(len(counts)).tolist()
    for number in sorted(shuffled, key=lambda i: (-len(counts[i]), -counts[i].total())):
        allowed = _allowed(counts[number], targets, lacking, left)
        split = _draw(counts[number], allowed, rooms, rng)
        splits[split] += members[number]
        for label, count in counts[number].items():
            rooms[label][split] -= count
            lacking[label].discard(split)
            left[label] -= 1
    for label, missing in lacking.items():
        if missing:  # groups of several classes went where another class needed them
            held = sum(label in count for count in counts)
            raise _too_few(index.classes[label], held, sum(map(bool, targets[label])))
    return splits


def _allowed(
    counts: Counter[int],
    targets: Mapping[int, Sequence[int]],
    lacking: Mapping[int, set[int]],
    left: Counter[int],
) -> list[int]:
    """Return the splits that want the group's classes; where one is running out, that lack it."""
    wanted = {split for label in counts for split in np.flatnonzero(targets[label]).tolist()}
    for label in counts:
        if left[label] <= len(lacking[label]) and wanted & lacking[label]:
            wanted &= lacking[label]
    return sorted(wanted)


def _draw(
    counts: Counter[int],
    allowed: Sequence[int],
    rooms: Mapping[int, Sequence[int]],
    rng: Generator,
) -> int:
    # What would be left of the split's room for the class that has least of it.
    spare = {
        split: min(rooms[label][split] - count for label, count in counts.items())
        for split in allowed
    }
    fitting = [split for split in allowed if spare[split] >= 0]
    if not fitting:
        return max(allowed, key=spare.__getitem__)
    odds = np.array([sum(rooms[label][split] for label in counts) for split in fitting], float)
    return fitting[int(rng.choice(len(fitting), p=odds / odds.sum()))]


def _too_few(name: str, groups: int, splits: int) -> BenchError:
    instead = " or set --test-fraction 0" if splits == 3 else " or remove the class"
    return BenchError(
        f"class {name!r} has {groups} group(s) of images that belong together, which cannot be "
        f"shared out so that each of {splits} parts has one: add images{instead}"
    )
