from __future__ import annotations

from collections import Counter

import pytest

from bench.data.splitting.splits import (
    Split,
    group_warnings,
    largest_remainder,
    split,
    stratified_subset,
)
from bench.errors import BenchError
from tests.data.indexes import by_class, make_index

PADDY = (479, 380, 337, 1738, 965, 1442, 620, 1594, 1764, 1088)


@pytest.mark.parametrize("counts", [{"a": 82, "b": 57, "c": 96}, {"a": 3, "b": 7, "c": 1000}])
@pytest.mark.parametrize("fractions", [(0.15, 0.1), (0.15, 0.0), (0.5, 0.4), (0.01, 0.01)])
@pytest.mark.parametrize("seed", [0, 1])
def test_split_is_a_partition_with_every_class_in_every_part(
    counts: dict[str, int], fractions: tuple[float, float], seed: int
) -> None:
    index = make_index(counts)
    got = split(index, valid_fraction=fractions[0], test_fraction=fractions[1], seed=seed)
    assert sorted(got.train + got.valid + got.test) == list(range(len(index)))
    for positions in got.as_dict().values():
        assert list(positions) == sorted(positions)
    assert min(by_class(index, got.train)) >= 1
    assert min(by_class(index, got.valid)) >= 1
    if fractions[1]:
        assert min(by_class(index, got.test)) >= 1
    else:
        assert got.test == ()


def test_counts_are_those_of_largest_remainder() -> None:
    # 82: 61.5, 12.3, 8.2; 57: 42.75, 8.55, 5.7; 96: 72, 14.4, 9.6; first of equal remainders wins.
    index = make_index({"a": 82, "b": 57, "c": 96})
    got = split(index, valid_fraction=0.15, test_fraction=0.1, seed=0)
    assert by_class(index, got.train) == [62, 43, 72]
    assert by_class(index, got.valid) == [12, 8, 14]
    assert by_class(index, got.test) == [8, 6, 10]


def test_split_depends_on_the_seed_alone() -> None:
    index = make_index({"a": 40, "b": 50})
    again = make_index({"b": 50, "a": 40})
    first = split(index, valid_fraction=0.15, test_fraction=0.1, seed=3)
    assert first == split(again, valid_fraction=0.15, test_fraction=0.1, seed=3)
    assert first != split(index, valid_fraction=0.15, test_fraction=0.1, seed=4)


def test_draw_is_not_the_first_files() -> None:
    index = make_index({"a": 400, "b": 400})
    valid = split(index, valid_fraction=0.5, test_fraction=0.0, seed=0).valid
    halves = Counter((position % 400) // 200 for position in valid)
    assert min(halves.values()) > 150


@pytest.mark.parametrize(("test_fraction", "needed"), [(0.1, 3), (0.0, 2)])
def test_class_too_small_to_split_is_named(test_fraction: float, needed: int) -> None:
    index = make_index({"a": 9, "rare": needed - 1})
    with pytest.raises(BenchError) as caught:
        split(index, valid_fraction=0.15, test_fraction=test_fraction, seed=0)
    message = str(caught.value)
    assert f"'rare' has {needed - 1} image(s)" in message
    assert f"needs {needed}" in message
    assert ("--test-fraction 0" in message) == (needed == 3)
    enough = make_index({"a": 9, "rare": needed})
    split(enough, valid_fraction=0.15, test_fraction=test_fraction, seed=0)


def test_own_parts_are_kept_as_they_are() -> None:
    parts = {
        "train": {"a": 5, "b": 5},
        "valid": {"a": 1, "b": 2},
        "test": {"a": 3, "b": 1},
    }
    index = make_index({}, parts)
    got = split(index, valid_fraction=0.3, test_fraction=0.3, seed=0)
    for part, positions in got.as_dict().items():
        assert {index.parts[position] for position in positions} == {part}
        assert len(positions) == sum(parts[part].values())


def test_own_validation_without_test_leaves_test_empty() -> None:
    index = make_index({}, {"train": {"a": 9, "b": 9}, "valid": {"a": 1, "b": 1}})
    got = split(index, valid_fraction=0.15, test_fraction=0.1, seed=0)
    assert (len(got.train), len(got.valid), len(got.test)) == (18, 2, 0)


def test_validation_is_taken_out_of_train_when_only_test_is_given() -> None:
    index = make_index({}, {"train": {"a": 20, "b": 40}, "test": {"a": 4, "b": 4}})
    got = split(index, valid_fraction=0.25, test_fraction=0.9, seed=0)
    assert by_class(index, got.train) == [15, 30]
    assert by_class(index, got.valid) == [5, 10]
    assert {index.parts[position] for position in got.test} == {"test"}
    assert len(got.test) == 8


def test_train_alone_is_divided_in_three() -> None:
    index = make_index({}, {"train": {"a": 20, "b": 20}})
    got = split(index, valid_fraction=0.2, test_fraction=0.1, seed=0)
    assert (len(got.train), len(got.valid), len(got.test)) == (28, 8, 4)


def test_splits_without_groups_are_those_of_the_first_release() -> None:
    index = make_index({"a": 12, "b": 9, "c": 30})
    got = split(index, valid_fraction=0.15, test_fraction=0.1, seed=0)
    assert got.valid == (8, 10, 20, 21, 38, 45, 46)
    assert got.test == (1, 12, 35, 47, 50)
    got = split(index, valid_fraction=0.15, test_fraction=0.1, seed=7)
    assert got.valid == (5, 9, 19, 24, 29, 39, 44)
    assert got.test == (11, 13, 22, 32, 34)


# --- groups ----------------------------------------------------------------------------------


def test_validation_taken_out_of_train_keeps_groups_and_leaves_the_own_test_part() -> None:
    index = make_index({}, {"train": {"a": 20, "b": 40}, "test": {"a": 4, "b": 4}})
    # Position 0 is tested; it and the first six training images belong together.
    groups = [0 if p == 0 or 8 <= p < 14 else p + 1 for p in range(len(index))]
    for seed in range(20):
        got = split(index, valid_fraction=0.25, test_fraction=0.9, seed=seed, groups=groups)
        assert {index.parts[p] for p in got.test} == {"test"}
        assert len({p in got.valid for p in range(8, 14)}) == 1
        assert by_class(index, got.valid)[1] == 10
        assert group_warnings(index, groups, got) == [
            "1 group(s) of images that belong together lie in more than one part of the data's "
            "own split, which is kept as it is"
        ]


def test_groups_of_several_classes_are_warned_of() -> None:
    index = make_index({"a": 3, "b": 3})
    (line,) = group_warnings(index, [0, 1, 2, 0, 3, 4], Split((0, 1, 3, 4), (2, 5), ()))
    assert line.startswith("1 group(s) of images that belong together have images of several")
    assert group_warnings(index, range(6), Split((0, 1, 3, 4), (2, 5), ())) == []


# --- subsets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10, 11, 97, 195, 1000, 10_406])
def test_subset_is_stratified_and_exact(limit: int) -> None:
    index = make_index({f"class{i}": count for i, count in enumerate(PADDY)})
    got = stratified_subset(range(len(index)), index.labels, limit, seed=0)
    assert len(set(got)) == limit
    assert list(got) == sorted(got)
    counts = by_class(index, got)
    assert min(counts) >= 1
    if limit >= 195:
        for count, whole in zip(counts, PADDY, strict=True):
            assert abs(count - limit * whole / sum(PADDY)) < 1


def test_subset_depends_on_the_seed_and_not_on_the_order() -> None:
    index = make_index({"a": 50, "b": 70})
    positions = list(range(0, 120, 2))
    first = stratified_subset(positions, index.labels, 20, seed=1)
    assert set(first) <= set(positions)
    assert first == stratified_subset(positions[::-1], index.labels, 20, seed=1)
    assert first != stratified_subset(positions, index.labels, 20, seed=2)


@pytest.mark.parametrize("limit", [None, 8, 1000])
def test_limit_above_all_takes_all(limit: int | None) -> None:
    index = make_index({"a": 4, "b": 4})
    assert stratified_subset(range(8), index.labels, limit, seed=0) == tuple(range(8))


def test_limit_below_the_classes_is_refused() -> None:
    index = make_index({"a": 4, "b": 4, "c": 4})
    with pytest.raises(BenchError, match="raise the limit to at least 3"):
        stratified_subset(range(12), index.labels, 2, seed=0)


@pytest.mark.parametrize(
    ("total", "weights", "least", "expected"),
    [
        (10, [1, 1, 1], [0, 0, 0], [4, 3, 3]),
        (20, [0.75, 0.15, 0.1], [1, 1, 1], [15, 3, 2]),
        (3, [98, 1, 1], [1, 1, 1], [1, 1, 1]),
        (10, [98, 1, 1], [1, 1, 1], [8, 1, 1]),
        (5, [0.85, 0.15, 0], [1, 1, 0], [4, 1, 0]),
        (7, [0.5, 0.3, 0.2], [0, 0, 0], [4, 2, 1]),
    ],
)
def test_largest_remainder(
    total: int, weights: list[float], least: list[int], expected: list[int]
) -> None:
    assert largest_remainder(total, weights, least) == expected
