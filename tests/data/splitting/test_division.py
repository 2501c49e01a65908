from __future__ import annotations

from pathlib import Path

import attrs

from bench.config.options import RunConfig
from bench.data.index import Location, load_index
from bench.data.splitting.division import find_splits, leak_warnings, split_warnings
from bench.data.splitting.duplicates import Duplicates, find_duplicates
from bench.data.splitting.splits import Split
from tests.data.indexes import make_index

PAIRS = tuple((p, p + 1) for p in range(0, 30, 2))
COPIES = Duplicates(groups=PAIRS, exact=PAIRS)


def crossing(pairs: tuple[tuple[int, ...], ...], got: Split) -> int:
    parts = [set(part) for part in got.as_dict().values()]
    return sum(not any(set(pair) <= part for part in parts) for pair in pairs)


def test_copies_are_kept_together_only_when_asked() -> None:
    index = make_index({"a": 40, "b": 50})
    (apart,) = find_splits(RunConfig(), index, COPIES)
    (together,) = find_splits(RunConfig(dedup="group"), index, COPIES)
    assert crossing(PAIRS, apart) > 0
    assert crossing(PAIRS, together) == 0
    assert find_splits(RunConfig(), index, COPIES, seed=1) != [apart]
    assert find_splits(RunConfig(seed=1), index, COPIES) == find_splits(
        RunConfig(), index, COPIES, seed=1
    )


def test_the_datas_own_groups_are_always_kept_together() -> None:
    index = make_index({"a": 40, "b": 50})
    names = tuple(f"plant {p // 2}" if p < 30 else None for p in range(90))
    named = attrs.evolve(index, groups=names)
    none = Duplicates(groups=(), exact=())
    for config in (RunConfig(), RunConfig(folds=5)):
        for one in find_splits(config, named, none):
            assert crossing(PAIRS, one) == 0


def test_folds_keep_copies_together_when_asked() -> None:
    index = make_index({"a": 40, "b": 50})
    splits = find_splits(RunConfig(folds=5, dedup="group"), index, COPIES)
    assert len(splits) == 5
    assert sum(crossing(PAIRS, one) for one in splits) == 0
    assert sum(crossing(PAIRS, one) for one in find_splits(RunConfig(folds=5), index, COPIES)) > 0


def test_twins_are_counted_and_the_mend_is_named() -> None:
    index = make_index({"a": 6})
    copies = Duplicates(groups=((0, 3), (1, 4)), exact=())
    used = Split((0, 1, 2), (3, 4, 5), ())
    assert leak_warnings(RunConfig(), index, copies, used) == [
        "2 of 3 validation images have a copy among the training images: --dedup group keeps "
        "copies together"
    ]
    both = leak_warnings(RunConfig(), index, copies, Split((0, 1), (3,), (4, 5)))
    assert [line.partition(" images")[0] for line in both] == [
        "1 of 1 validation",
        "1 of 2 test",
    ]
    assert leak_warnings(RunConfig(), index, copies, Split((0, 3), (1, 4), (5,))) == []
    assert leak_warnings(RunConfig(), index, copies, Split((2, 5), (0, 1), (3,))) == [
        "1 of 1 test images have a copy among the validation images: --dedup group keeps copies "
        "together"
    ]


def test_the_datas_own_split_is_not_mended_by_dedup() -> None:
    index = make_index({}, {"test": {"a": 2}, "train": {"a": 4}})
    copies = Duplicates(groups=((0, 2),), exact=())
    (line,) = leak_warnings(RunConfig(), index, copies, Split((2, 3), (4, 5), (0, 1)))
    assert line.startswith("1 of 2 test images have a copy")
    assert line.endswith("the data's own split has them so")


def test_warnings_of_the_index_and_of_groups() -> None:
    index = attrs.evolve(make_index({"a": 40, "b": 50}), warnings=("passed over",))
    mixed = Duplicates(groups=((0, 45),), exact=())
    config = RunConfig(dedup="group")
    (one,) = find_splits(config, index, mixed)
    lines = split_warnings(config, index, mixed, one)
    assert lines[0] == "passed over"
    assert "several classes" in lines[1]
    assert split_warnings(RunConfig(), index, mixed, one) == ["passed over"]


def test_rice3_without_a_group_across_parts(rice3: Path) -> None:
    index = load_index(Location(rice3, "class-folders"))
    copies = find_duplicates(index, workers=2)
    assert len(copies.exact) == 16
    for seed in range(20):
        for options in ({}, {"folds": 5}):
            config = RunConfig(seed=seed, dedup="group", **options)
            for one in find_splits(config, index, copies):
                assert crossing(copies.groups, one) == 0
                assert leak_warnings(config, index, copies, one) == []
    (plain,) = find_splits(RunConfig(), index, copies)
    assert len(leak_warnings(RunConfig(), index, copies, plain)) == 2
