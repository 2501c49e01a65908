"""Places images that belong together into one part each, as near to the wanted counts as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from bench.data.index import ImageIndex
from bench.errors import BenchError


def place_groups(
    index: ImageIndex,
    positions: Sequence[int],
    targets: Mapping[int, Sequence[int]],
    groups: Sequence[int],
    rng: np.random.Generator,
) -> list[list[int]]:
    """Positions of each part; a group is in one part whole.

    Large groups are placed first, in random order among equals. Each goes to a part that has room
    for it, drawn with the parts' rooms as odds, so that copies are not always trained on; where
    none has room, to the one with the most. Single images fill the rest to the exact counts. A part
    without a class gets it while there are groups of that class left to give.

    Args:
        index: the images.
        positions: which of them are placed.
        targets: wanted images of each part, by class number; 0: the part takes none.
        groups: a number for each position of the index.
        rng: of the draw.

    Raises:
        BenchError: a class has too few groups to be in every part.
    """
    members: dict[int, list[int]] = {}
    for position in sorted(positions):
        members.setdefault(groups[position], []).append(position)
    counts = [Counter(index.labels[p] for p in group) for group in members.values()]
    left = Counter(label for count in counts for label in count)
    for label, wanted in targets.items():
        needed = sum(count > 0 for count in wanted)
        if left[label] < needed:
            raise _too_few(index.classes[label], left[label], needed)
    rooms = {label: list(wanted) for label, wanted in targets.items()}
    lacking = {
        label: {part for part, count in enumerate(wanted) if count}
        for label, wanted in targets.items()
    }
    parts: list[list[int]] = [[] for _ in next(iter(targets.values()))]
    shuffled = rng.permutation(len(counts)).tolist()
    ordered = sorted(shuffled, key=lambda i: (-len(counts[i]), -counts[i].total()))
    everyone = list(members.values())
    for i in ordered:
        allowed = _allowed(counts[i], targets, lacking, left)
        part = _draw(counts[i], allowed, rooms, rng)
        parts[part] += everyone[i]
        for label, count in counts[i].items():
            rooms[label][part] -= count
            lacking[label].discard(part)
            left[label] -= 1
    for label, missing in lacking.items():
        if missing:  # groups of several classes went where another class needed them
            held = sum(label in count for count in counts)
            raise _too_few(index.classes[label], held, sum(n > 0 for n in targets[label]))
    return parts


def _allowed(
    counts: Counter[int],
    targets: Mapping[int, Sequence[int]],
    lacking: Mapping[int, set[int]],
    left: Counter[int],
) -> list[int]:
    """Parts that want the group's classes; only those without a class where it is running out."""
    wanted = {p for label in counts for p, count in enumerate(targets[label]) if count}
    for label in counts:
        if left[label] <= len(lacking[label]) and wanted & lacking[label]:
            wanted &= lacking[label]
    return sorted(wanted)


def _draw(
    counts: Counter[int],
    allowed: Sequence[int],
    rooms: Mapping[int, Sequence[int]],
    rng: np.random.Generator,
) -> int:
    fitting = [p for p in allowed if all(rooms[label][p] >= n for label, n in counts.items())]
    if not fitting:
        return max(allowed, key=lambda p: min(rooms[label][p] - n for label, n in counts.items()))
    odds = np.array([sum(rooms[label][p] for label in counts) for p in fitting], dtype=float)
    return fitting[int(rng.choice(len(fitting), p=odds / odds.sum()))]


def _too_few(name: str, groups: int, parts: int) -> BenchError:
    instead = " or set --test-fraction 0" if parts == 3 else " or remove the class"
    return BenchError(
        f"class {name!r} has {groups} group(s) of images that belong together, which cannot be "
        f"shared out so that each of {parts} parts has one: add images{instead}"
    )
