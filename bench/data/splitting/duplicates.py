"""Finds images that are copies of each other, exact and near, so that no copy is tested on.

Two images are near copies when their perceptual hashes (``imagehash.phash``, 64 bits) differ in at
most :data:`THRESHOLD_BITS` bits and their thumbnails, colour by colour, correlate by at least
:data:`LEAST_CORRELATION`. Copies of copies are copies.

Why 8 bits: on 235 photographs of rice leaves and on the built-in drawings, saving anew as JPEG
(quality 30), resizing (a third, double), brightness ×0.8 to ×1.3, contrast ×1.3 and cutting off 1 %
at each edge moved the hash by at most 8 bits; brightness ×1.3 and the cut need them all. Different
photographs are 14 bits or more apart (two shots of one leaf: 6), different drawings also (1,000
drawings, 499,500 pairs: 8 pairs at 14 bits, none below). Pairs grow with the square of the images,
and each 2 bits more bring some 6 to 10 times as many chance pairs: of 10,000 different images a few
pairs would be expected within 8 bits. The thumbnails refuse them: the copies above correlate by
0.97 or more, different images 14 bits apart by at most 0.7.

What is not found: mirrored or turned copies, cuts of 5 % and more at each edge, some copies without
colour. A picture without contrast (below :data:`LEAST_CONTRAST`) hashes to noise: it has exact
copies only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from bench.data.index import ImageIndex
from bench.data.splitting.grouped import group_by
from bench.data.splitting.hashes import HASH_BITS, Hashes, hash_images

THRESHOLD_BITS = 8
LEAST_CORRELATION = 0.9
# Standard deviation of a thumbnail's grey levels (0 to 255); photographs have 13 to 65.
LEAST_CONTRAST = 3.0
METHOD = (
    f"BLAKE2b of the files; imagehash.phash of {HASH_BITS} bits within {THRESHOLD_BITS} bits, "
    f"thumbnails correlated by {LEAST_CORRELATION} or more"
)
# Thumbnails compared at once: 4,096 of 768 numbers of 4 bytes are 13 MB.
ROWS = 4096

Groups = tuple[tuple[int, ...], ...]


@attrs.frozen(kw_only=True)
class Duplicates:
    """Images that are copies of each other, by their positions in an index.

    Attributes:
        groups: near and exact copies together, each ascending, sorted by their first; two or more.
        exact: the same of files of identical content.
        method: how they were found.
        threshold_bits: most bits between the perceptual hashes of near copies.
        contents: (N, 16) uint8, BLAKE2b of each image's file; none: not looked at.
    """

    groups: Groups
    exact: Groups
    method: str = METHOD
    threshold_bits: int = THRESHOLD_BITS
    contents: np.ndarray | None = attrs.field(default=None, eq=False, repr=False)
    _number: dict[int, int] = attrs.field(init=False, repr=False, eq=False)

    @_number.default
    def _number_groups(self) -> dict[int, int]:
        return {i: number for number, group in enumerate(self.groups) for i in group}

    def group_of(self, position: int) -> int | None:
        """Return the index in ``groups`` of an image's group; none: it has no copy."""
        return self._number.get(position)

    def leaked(self, positions: Iterable[int], others: Iterable[int]) -> tuple[int, ...]:
        """Return those of the positions that have a copy among the others, in order."""
        numbers = set(map(self.group_of, others)) - {None}
        return tuple(i for i in positions if self.group_of(i) in numbers)

    def leaked_between(
        self, splits: Mapping[str, Sequence[int]]
    ) -> dict[tuple[str, str], tuple[int, ...]]:
        """Return, for each two splits, the images of the later that have a copy in the earlier.

        Args:
            splits: positions by name, in the order of their use: what is trained on, what the epoch
                is chosen by, what is tested on.
        """
        names = list(splits)
        return {
            (name, earlier): self.leaked(splits[name], splits[earlier])
            for number, name in enumerate(names)
            for earlier in names[:number]
        }

    def as_record(self, index: ImageIndex) -> dict[str, Any]:
        """Return what a record says of the data set; ``near`` counts include the exact copies."""
        return {
            "method": self.method,
            "threshold_bits": self.threshold_bits,
            "exact": count_groups(self.exact),
            "near": count_groups(self.groups),
            "groups": [[index.paths[i] for i in group] for group in self.groups],
        }


def count_groups(groups: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Count groups, files in them, and files that are one too many."""
    files = sum(len(group) for group in groups)
    return {"groups": len(groups), "files": files, "redundant_files": files - len(groups)}


def find_duplicates(
    index: ImageIndex,
    *,
    cache: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Duplicates:
    """Compare all images of an index with each other.

    Args: as :func:`bench.data.splitting.hashes.hash_images`. What cannot be decoded has exact
    copies only; empty files have none.
    """
    hashes = hash_images(index, cache=cache, workers=workers, on_progress=on_progress)
    same = _same_content(hashes.contents)
    return Duplicates(
        groups=_components(len(index), np.concatenate([same, _near_pairs(hashes, same)])),
        exact=_components(len(index), same),
        contents=hashes.contents,
    )


def duplicate_groups(index: ImageIndex, copies: Duplicates | None = None) -> tuple[int, ...] | None:
    """Return a group number for each image: images of one number belong into one split.

    They are those of one ``group`` of metadata.csv and the given copies, transitively.

    Returns:
        None where every image is on its own.
    """
    named = group_by(index.groups, (i for i, name in enumerate(index.groups) if name is not None))
    groups = [*named.values(), *(copies.groups if copies else ())]
    pairs = [(group[0], other) for group in groups for other in group[1:]]
    if not pairs:
        return None
    return tuple(_labels(len(index), np.array(pairs)).tolist())


# --- comparing -------------------------------------------------------------------------------


def _same_content(contents: np.ndarray) -> np.ndarray:
    """Return (P, 2): each file with the first one of its content."""
    readable = np.flatnonzero(contents.any(axis=1))
    _, first, inverse = np.unique(
        contents[readable], axis=0, return_index=True, return_inverse=True
    )
    firsts = readable[first[inverse.reshape(-1)]]
    return np.stack([firsts, readable], axis=1)[firsts != readable]


def _near_pairs(images: Hashes, same: np.ndarray) -> np.ndarray:
    """Return (P, 2): pairs of different positions whose pictures look the same."""
    candidates = images.decoded.copy()
    # Whatever an identical file is near to, its first one is near to.
    candidates[same[:, 1]] = False
    indices = np.flatnonzero(candidates)
    contrast = [
        _tiles(images.thumbnails[some]).mean(axis=2).std(axis=1) for some in _in_pieces(indices)
    ]
    indices = indices[np.concatenate([np.empty(0), *contrast]) >= LEAST_CONTRAST]
    hashes = images.hashes[indices].view(np.uint64).reshape(-1)
    pairs = [np.empty((0, 2), np.int64)]
    for near in near_pairs(hashes, THRESHOLD_BITS):
        for some in _in_pieces(indices[near]):
            alike = _correlations(images.thumbnails, some) >= LEAST_CORRELATION
            pairs.append(some[alike])
    return np.concatenate(pairs)


def _in_pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + ROWS] for start in range(0, len(array), ROWS))


def _tiles(thumbnails: np.ndarray) -> np.ndarray:
    """Return (N, T, 3) float32."""
    return thumbnails.reshape(len(thumbnails), -1, 3).astype(np.float32)


def _correlations(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return (P,): of the thumbnails of each pair, colour by colour."""
    sides = []
    for indices in pairs.T:
        tiles = _tiles(thumbnails[indices])
        centred = (tiles - tiles.mean(axis=1, keepdims=True)).reshape(len(tiles), -1)
        sides.append(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))
    return np.einsum("ij,ij->i", *sides)


def _labels(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return (count,): a number for each component of the graph that the pairs (P, 2) span."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, tuple(pairs.T)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _components(count: int, pairs: np.ndarray) -> Groups:
    members = group_by(_labels(count, pairs).tolist(), range(count))
    return tuple(sorted(tuple(group) for group in members.values() if len(group) > 1))


# Multi-index hashing (Norouzi, Punjani, Fleet, arXiv:1307.2982): of hashes that differ in at most
# ``bits`` bits, one of three bands differs in at most ``bits // 3``. So each hash looks in the
# table of each band at the few places that near ones can have. (first bit, width) of each band.
BANDS = ((0, 22), (22, 21), (43, 21))
# Up to so many, all with all is quicker than three tables.
FEW = 2048
# Pairs that are looked at in one piece: 4 million places of 8 bytes, five times.
PIECE = 1 << 22


def near_pairs(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Yield pairs of indices whose hashes differ in at most ``bits`` bits, each once, in pieces.

    Of spread-out hashes some 1,500 times fewer pairs are looked at than there are.

    Args:
        hashes: (N,) uint64.
        bits: at most 63.

    Yields:
        (P, 2) int64, the lower index first.
    """
    if len(hashes) <= FEW:
        differing = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
        yield np.argwhere(np.triu(differing <= bits, k=1))
        return
    radius = bits // len(BANDS)
    for band, (first, width) in enumerate(BANDS):
        keys = _band(hashes, first, width)
        ordered = np.argsort(keys, kind="stable")
        begins = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << width))])
        for mask in _masks(width, radius):
            for one, other in _meetings(keys ^ mask, begins, ordered):
                fits = (one < other) & (np.bitwise_count(hashes[one] ^ hashes[other]) <= bits)
                one, other = one[fits], other[fits]
                # A pair that meets in an earlier band was found there.
                for before in BANDS[:band]:
                    apart = _band(hashes[one], *before) ^ _band(hashes[other], *before)
                    new = np.bitwise_count(apart) > radius
                    one, other = one[new], other[new]
                if len(one):
                    yield np.stack([one, other], axis=1)


def _band(hashes: np.ndarray, first: int, width: int) -> np.ndarray:
    shifted = hashes >> np.uint64(first)
    return (shifted & np.uint64((1 << width) - 1)).astype(np.int64)


def _masks(width: int, radius: int) -> Iterator[int]:
    for count in range(radius + 1):
        for differing in combinations(range(width), count):
            yield sum(1 << bit for bit in differing)


def _meetings(
    wanted: np.ndarray, begins: np.ndarray, ordered: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (index, index of each hash whose key is the wanted one), in pieces."""
    first = begins[wanted]
    counts = begins[wanted + 1] - first
    ones = np.flatnonzero(counts)
    first, counts = first[ones], counts[ones]
    ends = np.cumsum(counts)
    # From a meeting's number to the position of its other hash in ``ordered``.
    shifts = first - (ends - counts)
    start = done = 0
    while start < len(ones):
        # At least one, however many it meets.
        stop = max(start + 1, int(np.searchsorted(ends, done + PIECE, side="right")))
        some = slice(start, stop)
        meetings = np.arange(done, ends[stop - 1])
        others = ordered[meetings + np.repeat(shifts[some], counts[some])]
        yield np.repeat(ones[some], counts[some]), others
        start, done = stop, int(ends[stop - 1])
