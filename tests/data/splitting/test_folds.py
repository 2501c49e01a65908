from __future__ import annotations

from collections import Counter

import pytest

from bench.data.index import ImageIndex
from bench.data.splitting.division import fold_splits
from bench.data.splitting.splits import Split
from bench.errors import BenchError
from tests.data.indexes import by_class, make_index

GROUPS = [p // 3 if p < 30 else 1000 + p for p in range(235)]


@pytest.fixture
def index() -> ImageIndex:
    return make_index({"a": 82, "b": 57, "c": 96})


def folds(index: ImageIndex, count: int, seed: int = 0, groups: list[int] | None = None):
    return fold_splits(index, count, valid_fraction=0.15, seed=seed, groups=groups)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "grouped"])
@pytest.mark.parametrize("count", [2, 5])
def test_every_image_is_tested_once(
    index: ImageIndex, count: int, groups: list[int] | None
) -> None:
    splits = folds(index, count, groups=groups)
    assert len(splits) == count
    tested = Counter(position for one in splits for position in one.test)
    assert tested == Counter(range(235))
    for one in splits:
        assert sorted(one.train + one.valid + one.test) == list(range(235))
        assert list(one.test) == sorted(one.test)


@pytest.mark.parametrize(("groups", "slack"), [(None, 1), (GROUPS, 3)], ids=["alone", "grouped"])
def test_folds_and_validation_are_stratified(
    index: ImageIndex, groups: list[int] | None, slack: int
) -> None:
    for one in folds(index, 5, groups=groups):
        for count, whole in zip(by_class(index, one.test), (82, 57, 96), strict=True):
            assert abs(count - whole / 5) <= slack
        rest = by_class(index, one.train + one.valid)
        for count, whole in zip(by_class(index, one.valid), rest, strict=True):
            assert abs(count - 0.15 * whole) < 1


def test_groups_stay_in_one_part_of_every_fold(index: ImageIndex) -> None:
    for seed in range(10):
        for one in folds(index, 5, seed, GROUPS):
            parts = [{GROUPS[p] for p in part} for part in one.as_dict().values()]
            assert sum(len(part) for part in parts) == len(set().union(*parts))


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "grouped"])
def test_the_seed_decides(index: ImageIndex, groups: list[int] | None) -> None:
    first = folds(index, 4, 1, groups)
    assert first == folds(index, 4, 1, groups)
    assert {one.test for one in first}.isdisjoint(one.test for one in folds(index, 4, 2, groups))


def test_data_with_its_own_split_is_refused() -> None:
    index = make_index({}, {"train": {"a": 9, "b": 9}, "test": {"a": 5, "b": 5}})
    with pytest.raises(BenchError, match="has its own split: leave --folds out"):
        folds(index, 2)


def test_a_training_part_alone_is_no_split() -> None:
    index = make_index({}, {"train": {"a": 9, "b": 9}})
    assert len(folds(index, 3)) == 3


@pytest.mark.parametrize(("count", "needed"), [(2, 4), (3, 3), (5, 5)])
def test_a_class_smaller_than_the_folds(count: int, needed: int) -> None:
    message = f"--folds {count} needs {needed} images in every class, and 'rare' has {needed - 1}"
    with pytest.raises(BenchError, match=message):
        folds(make_index({"a": 20, "rare": needed - 1}), count)
    for one in folds(make_index({"a": 20, "rare": needed}), count):
        assert min(by_class(make_index({"a": 20, "rare": needed}), one.train)) >= 1


def test_a_class_of_fewer_groups_than_folds() -> None:
    index = make_index({"a": 20, "rare": 12})
    groups = [p if p < 20 else 100 + p % 4 for p in range(32)]
    with pytest.raises(BenchError, match=r"groups .* in every class, and 'rare' has 4"):
        folds(index, 5, groups=groups)
    assert all(isinstance(one, Split) for one in folds(index, 4, groups=groups))
