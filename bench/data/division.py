"""The split, or the folds, that a config asks for, and what a user should know of them."""

from __future__ import annotations

from bench.config.options import RunConfig
from bench.data.copies import Copies, keep_together
from bench.data.folds import fold_splits, require_folds
from bench.data.hashed import hashed_folds, hashed_split
from bench.data.index import ImageIndex
from bench.data.splits import Split, group_warnings, split

TITLES = {"train": "training", "valid": "validation", "test": "test"}


def require_division(config: RunConfig, index: ImageIndex) -> None:
    """See that what divides these images is installed.

    Raises:
        BenchError: it is not.
    """
    if config.folds is not None and not _hashed(index):
        require_folds()


def find_splits(
    config: RunConfig, index: ImageIndex, copies: Copies, *, seed: int | None = None
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
    config: RunConfig, index: ImageIndex, copies: Copies, division: Split
) -> list[str]:
    """The index's warnings and those of the groups that a split keeps together, one line each."""
    groups = _groups(config, index, copies)
    return [*index.warnings, *(group_warnings(index, groups, division) if groups else ())]


def twin_warnings(config: RunConfig, index: ImageIndex, copies: Copies, used: Split) -> list[str]:
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


def _groups(config: RunConfig, index: ImageIndex, copies: Copies) -> tuple[int, ...] | None:
    return keep_together(index, copies if config.dedup == "group" else None)
