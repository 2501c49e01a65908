"""Cross-validation: divides the images into folds, each the test part of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from bench.data.index import ImageIndex
from bench.data.splits import Split, divide
from bench.errors import BenchError


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
    grouped as in :func:`bench.data.splits.split`.

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
