"""Near hashes are found whatever their number, as comparing each with each finds them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.splitting import duplicates


def hashes_with_near_ones(count: int, seed: int) -> np.ndarray:
    """Random hashes; every third is one before it with 0 to 10 bits turned."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(3, count, 3):
        hashes[place] = hashes[rng.integers(place)]
        for bit in rng.permutation(64)[: rng.integers(0, 11)]:
            hashes[place] ^= np.uint64(1) << np.uint64(bit)
    return hashes


def brute_force(hashes: np.ndarray, bits: int) -> set[tuple[int, int]]:
    values = hashes.tolist()
    return {
        (one, other)
        for other in range(len(values))
        for one in range(other)
        if (values[one] ^ values[other]).bit_count() <= bits
    }


def found(hashes: np.ndarray, bits: int) -> list[tuple[int, int]]:
    return [tuple(pair) for piece in duplicates.near_pairs(hashes, bits) for pair in piece.tolist()]


@pytest.mark.parametrize("bits", [0, 2, 8])
@pytest.mark.parametrize("piece", [7, 1 << 22])
def test_tables_find_what_comparing_all_finds(
    monkeypatch: pytest.MonkeyPatch, bits: int, piece: int
) -> None:
    hashes = hashes_with_near_ones(200, bits)
    expected = brute_force(hashes, bits)
    assert len(expected) > bits
    assert sorted(found(hashes, bits)) == sorted(expected)
    monkeypatch.setattr(duplicates, "FEW", 0)
    monkeypatch.setattr(duplicates, "PIECE", piece)
    # Each pair once, too.
    assert sorted(found(hashes, bits)) == sorted(expected)


def test_the_bands_are_all_the_bits() -> None:
    assert [first for first, _ in duplicates.BANDS] == [0, 22, 43]
    assert sum(width for _, width in duplicates.BANDS) == 64


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("few", [0, duplicates.FEW])
def test_too_few_for_a_pair(monkeypatch: pytest.MonkeyPatch, count: int, few: int) -> None:
    monkeypatch.setattr(duplicates, "FEW", few)
    assert found(np.arange(count, dtype=np.uint64), 8) == []
