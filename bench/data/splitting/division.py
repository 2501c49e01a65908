"""Divide images into splits or folds as the config asks, stratified or by a hash of their keys.

With hashed keys an image stays in its split when the data set grows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import attrs
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
    if config.folds is not None and not _hashed(index) and find_spec("sklearn") is None:
        raise BenchError("--folds needs the package scikit-learn: pip install 'paddy-bench[folds]'")


def find_splits(
    config: RunConfig, index: ImageIndex, copies: Duplicates, *, seed: int | None = None
) -> list[Split]:
    """Return the split of a seed, or those of its folds, before limits.

    Shards and Arrow files that are all of one split, or of none, are divided by the hash of each
    key, everything else is stratified. Images of one ``group`` stay in one split, with
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
    division = (hashed_split if hashed else split)(
        index,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=seed,
        groups=groups,
    )
    return [division]


def _hashed(index: ImageIndex) -> bool:
    """Sharded data grow: what has been trained on must not be tested on later."""
    return index.layout in ("shards", "arrow") and set(index.parts) <= {None, "train"}


def split_warnings(
    config: RunConfig, index: ImageIndex, copies: Duplicates, division: Split
) -> list[str]:
    """Return the index's warnings and those of the groups that a split keeps together."""
    groups = _groups(config, index, copies)
    return [*index.warnings, *(group_warnings(index, groups, division) if groups else ())]


def leak_warnings(
    config: RunConfig, index: ImageIndex, copies: Duplicates, used: Split
) -> list[str]:
    """Return one line for each two splits of which one has copies of images of the other."""
    lines = []
    splits = used.as_dict()
    for (name, other), leaked in copies.leaked_between(splits).items():
        hint = "--dedup group keeps copies together"
        if config.dedup == "group" or any(index.parts[i] not in (None, "train") for i in leaked):
            hint = "the data's own split has them so"
        if leaked:
            lines.append(
                f"{len(leaked)} of {len(splits[name])} {TITLES[name]} images have a copy among the "
                f"{TITLES[other]} images: {hint}"
            )
    return lines


def _groups(config: RunConfig, index: ImageIndex, copies: Duplicates) -> tuple[int, ...] | None:
    return duplicate_groups(index, copies if config.dedup == "group" else None)


def fold_splits(
    index: ImageIndex,
    folds: int,
    *,
    valid_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> list[Split]:
    """Return a split for each fold: the fold is its test split, so every image is tested once.

    The folds are stratified (scikit-learn's ``StratifiedKFold``; with groups
    ``StratifiedGroupKFold``) and shuffled. Validation is taken out of the rest, stratified and
    grouped as in :func:`bench.data.splitting.splits.split`.

    Args:
        index: the images; data with a split of its own is refused.
        folds: how many, at least 2.
        valid_fraction: share for validation, of what is not tested.
        seed: of all draws.
        groups: a number for each image; those of one number stay in one split. None: each image
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
        splits.append(attrs.evolve(divide(index, rest, shares, seed, groups), test=tested))
    return splits


def _check_sizes(index: ImageIndex, folds: int, groups: Sequence[int] | None) -> None:
    numbers = range(len(index)) if groups is None else groups
    counts = Counter(label for label, _ in set(zip(index.labels, numbers, strict=True)))
    # With 2 folds of 3 images one would be left without a second image for validation.
    needed = max(folds, 4 if folds == 2 else 3)
    things = "images" if groups is None else "groups of images that belong together"
    for label, count in sorted(counts.items()):
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

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    drawn = kind(folds, shuffle=True, random_state=seed).split(index.labels, index.labels, groups)
    return [tuple(tested.tolist()) for _, tested in drawn]


def hashed_split(
    index: ImageIndex,
    *,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> Split:
    """Split by the hash of each key, of the name of its group, or of the first key of its copies.

    A new image that is a copy of old ones, and comes before them, moves them: to keep copies
    together says more than to keep them where they are. The shares are met as well as chance meets
    them, and classes are not balanced: neither can be without looking at the other images.

    Args:
        index: the images.
        valid_fraction, test_fraction: 0..1.
        seed: another one gives another split.
        groups: a number for each image; those of one number belong into one split.

    Raises:
        BenchError: chance leaves a split empty.
    """
    chances = _chances(index, f"part {seed}", groups)
    limits = test_fraction, test_fraction + valid_fraction
    return _assemble(index, chances < limits[0], chances < limits[1], test_fraction > 0)


def hashed_folds(
    index: ImageIndex,
    folds: int,
    *,
    valid_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> list[Split]:
    """Split as :func:`hashed_split`, each image once in a test split; arguments as there.

    Args:
        folds: how many there are.
    """
    tested = (folds * _chances(index, f"fold {seed}", groups)).astype(int)
    chances = _chances(index, f"part {seed}", groups)
    share = valid_fraction * folds / (folds - 1)
    return [_assemble(index, tested == fold, chances < share, True) for fold in range(folds)]


def _assemble(index: ImageIndex, tested: np.ndarray, valid: np.ndarray, has_test: bool) -> Split:
    """Return the split of two masks (N,); what is not tested may validate, the rest trains."""
    masks = ~tested & ~valid, ~tested & valid, tested
    division = Split(*(tuple(np.flatnonzero(mask).tolist()) for mask in masks))
    for name, indices in division.as_dict().items():
        if not indices and (name != "test" or has_test):
            raise BenchError(
                f"{index.root}: {len(index)} images leave none for the {TITLES[name]} part, which "
                "goes by the hash of the keys: raise its fraction, or give another --seed"
            )
    return division


def _chances(index: ImageIndex, salt: str, groups: Sequence[int] | None) -> np.ndarray:
    """Return a number in 0..1 for each image, which hangs on its key alone."""
    keys = [key_of(path) for path in index.paths]
    if groups is not None:
        # A group's name does not change with its images, and comes before every key.
        names = index.groups or (None,) * len(keys)
        keys = [key if name is None else f"\0{name}" for key, name in zip(keys, names, strict=True)]
        first: dict[int, str] = {}
        for key, group in zip(keys, groups, strict=True):
            first[group] = min(key, first.get(group, key))
        keys = [first[group] for group in groups]
    hashes = (hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8) for key in keys)
    return np.array([int.from_bytes(one.digest()) / 2**64 for one in hashes])
