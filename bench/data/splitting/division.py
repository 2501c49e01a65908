"""Divide images into splits or folds as the config asks, stratified or by a hash of their keys.

With hashed keys an image stays in its split when the data set grows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from bench.config.options import RunConfig
from bench.data.index import ImageIndex
from bench.data.sources.shards import key_of
from bench.data.splitting.duplicates import Duplicates, duplicate_groups
from bench.data.splitting.splits import Split, divide, group_warnings, split
from bench.errors import BenchError

TITLES = {"train": "training", "valid": "validation", "test": "test"}


def require_division(config: RunConfig, index: ImageIndex) -> None:
    """See that what divides these images is installed.

    Raises:
        BenchError: it is not.
    """
    if config.folds is not None and not _hashed(index):
        require_folds()


def find_splits(
    config: RunConfig, index: ImageIndex, copies: Duplicates, *, seed: int | None = None
) -> list[Split]:
    """The split of a seed, or those of its folds, before limits.

    Shards and Arrow files that are all of one part, or of none, are divided by the hash of each
    key, everything else is stratified. Images of one ``group`` stay in one part, with
    ``--dedup group`` copies also.

    Args:
        config: fractions, folds, dedup.
        index: the images.
        copies: which of them are copies of each other.
        seed: of the draw; none: the config's.

    Raises:
        BenchError: a class too small to split; folds of data with its own split.
    """
    groups = _groups(config, index, copies)
    seed = config.seed if seed is None else seed
    hashed = _hashed(index)
    if config.folds is not None:
        divide = hashed_folds if hashed else fold_splits
        return divide(
            index, config.folds, valid_fraction=config.valid_fraction, seed=seed, groups=groups
        )
    one = (hashed_split if hashed else split)(
        index,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=seed,
        groups=groups,
    )
    return [one]


def _hashed(index: ImageIndex) -> bool:
    """Sharded data grow: what has been trained on must not be tested on later."""
    return index.layout in ("shards", "arrow") and set(index.parts) <= {None, "train"}


def split_warnings(
    config: RunConfig, index: ImageIndex, copies: Duplicates, division: Split
) -> list[str]:
    """The index's warnings and those of the groups that a split keeps together, one line each."""
    groups = _groups(config, index, copies)
    return [*index.warnings, *(group_warnings(index, groups, division) if groups else ())]


def twin_warnings(
    config: RunConfig, index: ImageIndex, copies: Duplicates, used: Split
) -> list[str]:
    """One line for each two parts of which one has copies of images of the other."""
    lines = []
    parts = used.as_dict()
    for (part, other), twins in copies.shared(parts).items():
        if twins:
            own = config.dedup == "group" or any(
                index.parts[p] not in (None, "train") for p in twins
            )
            mend = (
                "the data's own split has them so" if own else "--dedup group keeps copies together"
            )
            lines.append(
                f"{len(twins)} of {len(parts[part])} {TITLES[part]} images have a copy among the "
                f"{TITLES[other]} images: {mend}"
            )
    return lines


def _groups(config: RunConfig, index: ImageIndex, copies: Duplicates) -> tuple[int, ...] | None:
    return duplicate_groups(index, copies if config.dedup == "group" else None)


def require_folds() -> None:
    """See that what draws the folds is installed.

    Raises:
        BenchError: it is not.
    """
    if find_spec("sklearn") is None:
        raise BenchError("--folds needs the package scikit-learn: pip install 'paddy-bench[folds]'")


def fold_splits(
    index: ImageIndex,
    folds: int,
    *,
    valid_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> list[Split]:
    """A split for each fold: the fold is its test part, so that every image is tested once.

    The folds are stratified (scikit-learn's ``StratifiedKFold``; with groups
    ``StratifiedGroupKFold``) and shuffled. Validation is taken out of the rest, stratified and
    grouped as in :func:`bench.data.splitting.splits.split`.

    Args:
        index: the images; data with a split of its own is refused.
        folds: how many, at least 2.
        valid_fraction: share for validation, of what is not tested.
        seed: of all draws.
        groups: a number for each position; images of one number stay in one part. None: each image
            on its own.

    Raises:
        BenchError: the data has its own split, or a class has too few images or groups.
    """
    if any(part in ("valid", "test") for part in index.parts):
        raise BenchError(
            f"--folds divides the data itself, but {index.root} has its own split: leave --folds "
            "out"
        )
    _check_sizes(index, folds, groups)
    shares = (1 - valid_fraction, valid_fraction, 0.0)
    splits = []
    for tested in _tested(index, folds, seed, groups):
        rest = sorted(set(range(len(index))) - set(tested))
        if {index.labels[position] for position in rest} != set(index.labels):
            raise BenchError(
                f"--folds {folds}: a fold would hold a whole class, because its images belong "
                "together: add images or leave --folds out"
            )
        train, valid, _ = divide(index, rest, shares, seed, groups)
        splits.append(Split(train, valid, tested))
    return splits


def _check_sizes(index: ImageIndex, folds: int, groups: Sequence[int] | None) -> None:
    numbers = range(len(index)) if groups is None else groups
    held = Counter(label for label, _ in set(zip(index.labels, numbers, strict=True)))
    # With 2 folds of 3 images one would be left without a second image for validation.
    needed = max(folds, 4 if folds == 2 else 3)
    things = "images" if groups is None else "groups of images that belong together"
    for label, count in sorted(held.items()):
        if count < needed:
            raise BenchError(
                f"--folds {folds} needs {needed} {things} in every class, and "
                f"{index.classes[label]!r} has {count}: lower --folds or add images"
            )


def _tested(
    index: ImageIndex, folds: int, seed: int, groups: Sequence[int] | None
) -> list[tuple[int, ...]]:
    # scikit-learn takes a second to import, which commands without folds need not wait for.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    places = np.zeros((len(index), 1))
    if groups is None:
        kind = StratifiedKFold(folds, shuffle=True, random_state=seed)
        drawn = kind.split(places, index.labels)
    else:
        kind = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        drawn = kind.split(places, index.labels, groups)
    return [tuple(tested.tolist()) for _, tested in drawn]


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
