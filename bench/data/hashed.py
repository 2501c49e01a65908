"""Divides sharded images by a hash of their keys: an image stays in its part when the data grow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bench.data.index import ImageIndex
from bench.data.shards import key_of
from bench.data.splits import Split
from bench.errors import BenchError


def hashed_split(
    index: ImageIndex,
    *,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> Split:
    """Parts by the hash of each key, of the name of its group, or of the first key of its copies.

    A new image that is a copy of old ones, and comes before them, moves them: to keep copies
    together says more than to keep them where they are. The shares are met as well as chance meets
    them, and classes are not balanced: neither can be without looking at the other images.

    Args:
        index: the images.
        valid_fraction, test_fraction: 0..1.
        seed: another one gives another split.
        groups: a number for each position; those of one number belong into one part.

    Raises:
        BenchError: chance leaves a part empty.
    """
    chances = _chances(index, f"part {seed}", groups)
    limits = test_fraction, test_fraction + valid_fraction
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for position, chance in enumerate(chances):
        parts[2 if chance < limits[0] else 1 if chance < limits[1] else 0].append(position)
    _refuse_empty(index, parts, test_fraction)
    return Split(*(tuple(part) for part in parts))


def hashed_folds(
    index: ImageIndex,
    folds: int,
    *,
    valid_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> list[Split]:
    """As :func:`hashed_split`, each image once in a test part; arguments as there.

    Args:
        folds: how many there are.
    """
    tested = [int(folds * chance) for chance in _chances(index, f"fold {seed}", groups)]
    chances = _chances(index, f"part {seed}", groups)
    share = valid_fraction * folds / (folds - 1)
    found = []
    for fold in range(folds):
        parts: tuple[list[int], list[int], list[int]] = ([], [], [])
        for position, chance in enumerate(chances):
            held = 2 if tested[position] == fold else 1 if chance < share else 0
            parts[held].append(position)
        _refuse_empty(index, parts, 1.0)
        found.append(Split(*(tuple(part) for part in parts)))
    return found


def _chances(index: ImageIndex, salt: str, groups: Sequence[int] | None) -> list[float]:
    """A number in 0..1 for each position, which hangs on its key alone."""
    keys = [key_of(path) for path in index.paths]
    if groups is not None:
        # A group's name does not change with its images, and comes before every key.
        names = index.groups or (None,) * len(keys)
        keys = [key if name is None else f"\0{name}" for key, name in zip(keys, names, strict=True)]
        first: dict[int, str] = {}
        for key, group in zip(keys, groups, strict=True):
            first[group] = min(key, first.get(group, key))
        keys = [first[group] for group in groups]
    return [
        int.from_bytes(hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()) / 2**64
        for key in keys
    ]


def _refuse_empty(index: ImageIndex, parts: Sequence[list[int]], test_fraction: float) -> None:
    needed = {"training": parts[0], "validation": parts[1]}
    if test_fraction > 0:
        needed["test"] = parts[2]
    for name, positions in needed.items():
        if not positions:
            raise BenchError(
                f"{index.root}: {len(index)} images leave none for the {name} part, which goes by "
                "the hash of the keys: raise its fraction, or give another --seed"
            )
