"""Pairs of 64-bit hashes that differ in few bits, found without comparing each with each.

Multi-index hashing (Norouzi, Punjani, Fleet, arXiv:1307.2982): of hashes that differ in at most
``bits`` bits, one of three bands differs in at most ``bits // 3``. So each hash looks in the table
of each band at the few places that near ones can have.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

# (first bit, width) of each band.
BANDS = ((0, 22), (22, 21), (43, 21))
# Up to so many, all with all is quicker than three tables.
FEW = 2048
# Pairs that are looked at in one piece: 4 million places of 8 bytes, five times.
PIECE = 1 << 22


def near_pairs(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Pairs of places whose hashes differ in at most ``bits`` bits, each pair once, in pieces.

    Of spread-out hashes some 1,500 times fewer pairs are looked at than there are.

    Args:
        hashes: (N,) uint64.
        bits: at most 63.

    Yields:
        (P, 2) int64, the lower place first.
    """
    if len(hashes) <= FEW:
        differing = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
        one, other = np.nonzero(differing <= bits)
        yield np.stack([one, other], axis=1)[one < other]
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
        for places in combinations(range(width), count):
            yield sum(1 << place for place in places)


def _meetings(
    wanted: np.ndarray, begins: np.ndarray, ordered: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(place, place of each hash whose key is the wanted one), in pieces."""
    first = begins[wanted]
    counts = begins[wanted + 1] - first
    ones = np.flatnonzero(counts)
    first, counts = first[ones], counts[ones]
    ends = np.cumsum(counts)
    start = done = 0
    while start < len(ones):
        # At least one, however many it meets.
        stop = max(start + 1, int(np.searchsorted(ends, done + PIECE, side="right")))
        here = counts[start:stop]
        offsets = np.arange(here.sum()) - np.repeat(np.cumsum(here) - here, here)
        others = ordered[np.repeat(first[start:stop], here) + offsets]
        yield np.repeat(ones[start:stop], here), others
        start, done = stop, int(ends[stop - 1])
