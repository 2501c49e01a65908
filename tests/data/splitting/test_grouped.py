from __future__ import annotations

import pytest

from bench.data.index import ImageIndex
from bench.data.splitting.splits import Split, split
from bench.errors import BenchError
from tests.data.indexes import by_class, make_index

# Position → group: pairs and triples among the first thirty images of a class of 82, then singles.
GROUPS = [p // 3 if p < 15 else 100 + p // 2 if p < 30 else 1000 + p for p in range(235)]


def divided(index: ImageIndex, groups: list[int], seed: int, test_fraction: float = 0.1) -> Split:
    return split(index, valid_fraction=0.15, test_fraction=test_fraction, seed=seed, groups=groups)


def apart(groups: list[int], got: Split) -> int:
    """Groups that lie in more than one part."""
    held = [{groups[p] for p in part} for part in got.as_dict().values()]
    return sum(len(part) for part in held) - len(set().union(*held))


@pytest.mark.parametrize("test_fraction", [0.1, 0.0])
def test_no_group_is_separated_and_single_images_make_up_the_counts(test_fraction: float) -> None:
    index = make_index({"a": 82, "b": 57, "c": 96})
    alone = split(index, valid_fraction=0.15, test_fraction=test_fraction, seed=0)
    seen = set()
    for seed in range(50):
        got = divided(index, GROUPS, seed, test_fraction)
        assert apart(GROUPS, got) == 0
        assert sorted(got.train + got.valid + got.test) == list(range(235))
        for part, positions in got.as_dict().items():
            assert list(positions) == sorted(positions)
            assert by_class(index, positions) == by_class(index, alone.as_dict()[part])
        seen.add(got.valid)
    assert len(seen) == 50


def test_the_same_seed_draws_the_same() -> None:
    index = make_index({"a": 82, "b": 57, "c": 96})
    assert divided(index, GROUPS, 3) == divided(index, GROUPS, 3)
    renamed = [10_000 - group for group in GROUPS]
    assert divided(index, renamed, 3) == divided(index, GROUPS, 3)


def test_groups_are_drawn_into_every_part_by_its_share() -> None:
    """With copies always in train, nothing that has a copy would ever be tested."""
    index = make_index({"a": 82, "b": 57, "c": 96})
    first = range(30)
    drawn = {"train": 0, "valid": 0, "test": 0}
    for seed in range(200):
        for part, positions in divided(index, GROUPS, seed).as_dict().items():
            drawn[part] += len(set(positions) & set(first))
    shares = {part: count / (200 * 30) for part, count in drawn.items()}
    assert shares["train"] == pytest.approx(0.75, abs=0.04)
    assert shares["valid"] == pytest.approx(0.15, abs=0.03)
    assert shares["test"] == pytest.approx(0.10, abs=0.03)


def test_groups_alone_come_within_one_group_of_the_counts() -> None:
    index = make_index({"a": 90, "b": 150})
    groups = [p // 5 for p in range(240)]
    for seed in range(30):
        got = divided(index, groups, seed)
        assert apart(groups, got) == 0
        for part, wanted in (("valid", (13.5, 22.5)), ("test", (9, 15))):
            for count, target in zip(by_class(index, got.as_dict()[part]), wanted, strict=True):
                assert abs(count - target) <= 5


def test_a_class_of_few_large_groups_is_in_every_part() -> None:
    index = make_index({"a": 30, "b": 40})
    groups = [p // 10 if p < 30 else p for p in range(70)]
    for seed in range(20):
        got = divided(index, groups, seed)
        assert [by_class(index, part)[0] for part in got.as_dict().values()] == [10, 10, 10]


def test_groups_of_several_classes_stay_together() -> None:
    index = make_index({"a": 40, "b": 40})
    groups = [p % 40 // 2 if p % 40 < 20 else 100 + p for p in range(80)]
    for seed in range(30):
        got = divided(index, groups, seed)
        assert apart(groups, got) == 0
        for count in by_class(index, got.valid):
            assert abs(count - 6) <= 2
        assert min(by_class(index, got.test)) >= 1


@pytest.mark.parametrize(
    ("test_fraction", "needed", "mend"),
    [(0.1, 3, "--test-fraction 0"), (0.0, 2, "remove the class")],
)
def test_too_few_groups(test_fraction: float, needed: int, mend: str) -> None:
    index = make_index({"a": 9, "rare": 9})
    groups = [p if p < 9 else 100 + p % (needed - 1) for p in range(18)]
    with pytest.raises(BenchError) as caught:
        divided(index, groups, 0, test_fraction)
    message = str(caught.value)
    assert f"'rare' has {needed - 1} group(s)" in message
    assert f"each of {needed} parts" in message
    assert mend in message


def test_groups_that_hold_whole_classes_together_are_refused() -> None:
    """Two groups of both classes and one of each: b's own group is all that test could get."""
    index = make_index({"a": 9, "b": 3})
    groups = [0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1]
    with pytest.raises(BenchError, match="'b' has 2 group"):
        divided(index, groups, 0)
