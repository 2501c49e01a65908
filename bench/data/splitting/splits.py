"""Divides images into train, validation and test splits, or draws a subset: stratified, seeded.

Images that belong together stay in one split. The draw depends on the paths' order, which is
sorted, never on the order of a file system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
from numpy.random import PCG64, Generator

from bench.data.index import ImageIndex
from bench.data.splitting.grouped import group_by, place_groups
from bench.errors import BenchError


@attrs.frozen
class Split:
    """Indices into an :class:`ImageIndex`, ascending, of each split; ``test`` may be empty."""

    train: tuple[int, ...]
    valid: tuple[int, ...]
    test: tuple[int, ...]

    def as_dict(self) -> dict[str, tuple[int, ...]]:
        """Return the indices by split, in the order train, valid, test."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def map(self, select: Callable[[tuple[int, ...]], Iterable[int]]) -> Split:
        """Return the indices that are selected of each split."""
        return Split(*(tuple(select(indices)) for indices in self.as_dict().values()))


def split(
    index: ImageIndex,
    *,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> Split:
    """Return the data's own split, completed where parts of it are missing.

    Data without a split is divided into (train, valid, test); data with its own train and test has
    ``valid_fraction`` of train taken out; data with its own valid and no test gets no test part.
    Within each class the counts are those of :func:`largest_remainder` (as near as the groups
    allow), and every wanted part gets at least one image of every class.

    The data's own split is respected: a group that lies in several of its parts is left there, and
    :func:`group_warnings` says so.

    Args:
        index: the images.
        valid_fraction: share for validation, of what is divided.
        test_fraction: share for the test part; 0: none.
        seed: of the draw.
        groups: a number for each position; images of one number stay in one part. None: each image
            on its own.

    Raises:
        BenchError: a class has too few images, or too few groups, to be in every part.
    """
    given = {
        name: tuple(indices) for name, indices in group_by(index.parts, range(len(index))).items()
    }
    test = given.get("test", ())
    if "valid" in given:
        return Split(given.get("train", ()), given["valid"], test)
    if test:
        shares = (1 - valid_fraction, valid_fraction, 0.0)
        return attrs.evolve(divide(index, given["train"], shares, seed, groups), test=test)
    shares = (1 - valid_fraction - test_fraction, valid_fraction, test_fraction)
    return divide(index, range(len(index)), shares, seed, groups)


def group_warnings(index: ImageIndex, groups: Sequence[int], division: Split) -> list[str]:
    """Return one line each for groups that lie in several splits, and in several classes."""
    splits: dict[int, set[str]] = {}
    labels: dict[int, set[int]] = {}
    for name, indices in division.as_dict().items():
        for i in indices:
            splits.setdefault(groups[i], set()).add(name)
            labels.setdefault(groups[i], set()).add(index.labels[i])
    lines = []
    apart = sum(len(names) > 1 for names in splits.values())
    if apart:
        lines.append(
            f"{apart} group(s) of images that belong together lie in more than one part of the "
            "data's own split, which is kept as it is"
        )
    mixed = sum(len(classes) > 1 for classes in labels.values())
    if mixed:
        lines.append(
            f"{mixed} group(s) of images that belong together have images of several classes: "
            "kept in one part"
        )
    return lines


def stratified_subset(
    positions: Sequence[int], labels: Sequence[int], limit: int | None, seed: int
) -> tuple[int, ...]:
    """Draw ``min(limit, len(positions))`` of the positions, stratified, ascending.

    Args:
        positions: what is drawn from.
        labels: class number by position (the whole index's).
        limit: images to draw; none: all.
        seed: of the draw.

    Raises:
        BenchError: the limit is below the number of classes.
    """
    ordered = sorted(positions)
    if limit is None or limit >= len(ordered):
        return tuple(ordered)
    groups = _by_class(ordered, labels)
    if limit < len(groups):
        raise BenchError(
            f"a subset of {limit} image(s) cannot hold all {len(groups)} classes: "
            f"raise the limit to at least {len(groups)}"
        )
    sizes = [len(members) for members in groups.values()]
    counts = largest_remainder(limit, sizes, least=[1] * len(sizes))
    rng = Generator(PCG64(seed))
    drawn: list[int] = []
    for members, count in zip(groups.values(), counts, strict=True):
        drawn += rng.permutation(members)[:count].tolist()
    return tuple(sorted(drawn))


def largest_remainder(total: int, weights: Sequence[float], least: Sequence[int]) -> list[int]:
    """Return whole numbers of the sum ``total``, in proportion to weights, none below its least.

    Each gets the floor of its share; what is left goes to the largest remainders, the first of
    equals first. Then what is short of its least takes from whoever is furthest above their share.
    (Hamilton's method of apportionment, with floors.)
    """
    shares = [total * weight / sum(weights) for weight in weights]
    # 0.15 × 20 = 3.0000000000000004 must not count as a remainder.
    counts = [int(share + 1e-9) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: round(counts[i] - shares[i], 9))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    for i, floor in enumerate(least):
        while counts[i] < floor:
            spare = [j for j in range(len(counts)) if counts[j] > least[j]]
            counts[max(spare, key=lambda j: (counts[j] - shares[j], counts[j]))] -= 1
            counts[i] += 1
    return counts


def divide(
    index: ImageIndex,
    positions: Sequence[int],
    shares: tuple[float, float, float],
    seed: int,
    groups: Sequence[int] | None = None,
) -> Split:
    """Divide positions into train, valid and test by their shares, stratified; 0: none.

    Raises:
        BenchError: as :func:`split`.
    """
    least = [1 if share > 0 else 0 for share in shares]
    needed = sum(least)
    rng = Generator(PCG64(seed))
    by_class = _by_class(positions, index.labels)
    for label, members in by_class.items():
        if len(members) < needed:
            instead = (
                ", remove the class, or set --test-fraction 0" if needed == 3 else " or remove it"
            )
            raise BenchError(
                f"class {index.classes[label]!r} has {len(members)} image(s), too few to split: it "
                f"needs {needed}, one for each part: add images{instead}"
            )
    targets = {
        label: largest_remainder(len(members), shares, least) for label, members in by_class.items()
    }
    splits: list[list[int]] = [[], [], []]
    if groups is not None:
        splits = place_groups(index, positions, targets, groups, rng)
    else:
        for label, members in by_class.items():
            shuffled = rng.permutation(members).tolist()
            for split, count in zip(splits, targets[label], strict=True):
                split += shuffled[:count]
                del shuffled[:count]
    return Split(*(tuple(sorted(split)) for split in splits))


def _by_class(positions: Sequence[int], labels: Sequence[int]) -> dict[int, list[int]]:
    return dict(sorted(group_by(labels, sorted(positions)).items()))
