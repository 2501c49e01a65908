"""Time to accuracy with and without progressive learning: pairs are alike in all else."""

from __future__ import annotations

import pytest

from bench.report.analysis.selection import Selection
from bench.report.chapters.progressive import (
    HEADERS,
    RAW,
    find_pairs,
    progressive_tables,
    seconds_until,
)
from bench.stats.ratios import mean_ratio


def curve(accuracies: list[float], seconds: float) -> list[dict]:
    return [
        {
            "epoch": place, "train_loss": 1.0, "train_acc": share, "valid_loss": 1.0,
            "valid_acc": share, "valid_macro_f1": share, "base_lr": 1e-3, "head_lr": 1e-3,
            "train_seconds": seconds - 1, "valid_seconds": 1.0, "images_per_s": 10.0,
        }
        for place, share in enumerate(accuracies, 1)
    ]  # fmt: skip


@pytest.fixture
def make(make_record):
    """``make(seed, progressive, accuracies, seconds of an epoch)`` → a record."""

    def run(seed: int, progressive: bool, accuracies: list[float], seconds: float, **more):
        record = make_record("ResNet18", seed=seed, minute=seed + 10 * progressive, **more)
        record["config"]["progressive"] = progressive
        record["training"]["epochs"] = curve(accuracies, seconds)
        record["sweep"]["id"] = "grown" if progressive else "plain"
        if progressive:
            record["training"]["growth"] = [{"first": 1, "image_size": 32, "strength": 0.3}]
        return record

    return run


def row_of(table) -> dict[str, str]:
    (cells,) = table.rows
    return dict(zip(HEADERS, cells, strict=True))


def test_planted_gains_are_found(make):
    """Half the seconds an epoch, the same epoch: 0.5 for all pairs."""
    plain = [make(seed, False, [0.5, 0.8, 0.7], 10 + seed) for seed in range(3)]
    grown = [make(seed, True, [0.4, 0.8, 0.9], (10 + seed) / 2) for seed in range(3)]
    (table,) = progressive_tables(Selection([*plain, *grown]))
    row = row_of(table)
    assert row["Pairs"] == "3"
    assert row["Plain: best accuracy (%)"] == "80.0"
    assert row["Progressive: best accuracy (%)"] == "90.0"
    assert row["Reached the plain best"] == "3 of 3"
    assert row["Time to it, progressive ÷ plain, interval"] == "0.50 [0.50–0.50]"
    assert row["Verdict"] == "faster"
    header, rows = table.raw
    first = dict(zip(header, rows[0], strict=True))
    assert tuple(header) == RAW
    assert first["plain_seconds_to_target"] == pytest.approx(20)
    assert first["progressive_seconds_to_target"] == pytest.approx(10)
    assert first["progressive_seconds"] == pytest.approx(15)
    assert "32 from epoch 1" in table.caption


def test_one_that_never_gets_there_leaves_no_ratio(make):
    plain = [make(seed, False, [0.5, 0.8], 10) for seed in range(3)]
    grown = [make(seed, True, [0.5, 0.8 if seed else 0.79], 5) for seed in range(3)]
    row = row_of(progressive_tables(Selection([*plain, *grown]))[0])
    assert row["Reached the plain best"] == "2 of 3"
    assert row["Time to it, progressive ÷ plain, interval"] == "n/a (not all reached it)"
    assert row["Verdict"] == "not reached"


def test_few_pairs_decide_nothing_and_wide_intervals_tie(make):
    two = [make(seed, grown, [0.8], 5 if grown else 10) for seed in (0, 1) for grown in (0, 1)]
    row = row_of(progressive_tables(Selection(two))[0])
    assert row["Verdict"] == "undecided: 2 pairs, an interval needs 3"
    seconds = {0: 3, 1: 30, 2: 10}
    wide = [
        make(seed, grown, [0.8], seconds[seed] if grown else 10)
        for seed in range(3)
        for grown in (False, True)
    ]
    assert row_of(progressive_tables(Selection(wide))[0])["Verdict"] == "~ tie"


def test_slower_is_said_too(make):
    runs = [make(seed, grown, [0.8], 20 if grown else 10) for seed in range(3) for grown in (0, 1)]
    assert row_of(progressive_tables(Selection(runs))[0])["Verdict"] == "slower"


def test_the_other_half_may_be_of_another_sweep(make):
    grown, plain = make(0, True, [0.8], 5), make(0, False, [0.8], 10)
    elsewhere = make(0, False, [0.8], 10)
    elsewhere["variant"] = {**elsewhere["variant"], "name": "ResNet34"}
    (table,) = progressive_tables(Selection([grown]), [plain, elsewhere])
    assert row_of(table)["Pairs"] == "1"
    assert progressive_tables(Selection([plain]), [grown])[0].rows == table.rows
    # A report of plain runs alone does not speak of it.
    assert progressive_tables(Selection([plain]), [elsewhere]) == []


def test_without_its_half_a_run_says_so(make):
    row = row_of(progressive_tables(Selection([make(0, True, [0.8], 5)]))[0])
    assert row["Pairs"] == "0"
    assert "no usable plain run of the same seed" in row["Plain: best accuracy (%)"]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["config"].update(epochs=99),
        lambda r: r["config"].update(image_size=96),
        lambda r: r["config"].update(seed=7),
        lambda r: r["data"].update(fingerprint="other"),
        lambda r: r["variant"].update(version=2),
        lambda r: r["environment"].update(machine="elsewhere"),
        lambda r: r["environment"].update(threads=64),
        lambda r: r["training"].update(device_name="another GPU"),
    ],
)
def test_what_differs_in_anything_else_is_no_pair(make, change):
    plain, grown = make(0, False, [0.8], 10), make(0, True, [0.8], 5)
    assert len(find_pairs([plain, grown])) == 1
    change(grown)
    assert find_pairs([plain, grown]) == []


def test_of_repeated_runs_the_latest_counts(make):
    old, new = make(0, False, [0.5], 10), make(0, False, [0.6], 10)
    new["started"] = "2026-11-24T18:00:00+00:00"
    (pair,) = find_pairs([new, make(0, True, [0.8], 5), old])
    assert pair.plain is new


def test_seconds_count_from_the_beginning(make):
    record = make(0, False, [0.1, 0.5, 0.5, 0.9], 10)
    assert [seconds_until(record, share) for share in (0.0, 0.5, 0.9, 0.95)] == [10, 20, 40, None]


def test_the_interval_is_students_of_the_logarithms():
    found = mean_ratio([0.5, 0.6, 0.7])
    assert found is not None
    assert found.ratio == pytest.approx(0.5943922)
    assert (found.low, found.high) == pytest.approx((0.3911651, 0.9032045), rel=1e-5)
    # scipy.stats.ttest_1samp of the logarithms.
    assert found.p_value == pytest.approx(0.0332123, rel=1e-4)
    assert mean_ratio([]) is None
    assert mean_ratio([2.0, 2.0]).p_value is None
    assert mean_ratio([0.5, 2.0]).ratio == pytest.approx(1)
    assert (mean_ratio([2.0] * 3).p_value, mean_ratio([1.0] * 3).p_value) == (0, 1)


def test_the_reports_own_runs_come_before_later_ones_elsewhere(make):
    own = [make(0, False, [0.5], 10), make(0, True, [0.8], 5)]
    later = make(0, False, [0.6], 10)
    later["started"] = "2026-11-25T18:00:00+00:00"
    (pair,) = find_pairs(own, [later])
    assert pair.plain is own[0]
    # Two strangers are no pair of this report.
    assert find_pairs([], own) == []


def test_undertrained_runs_say_nothing(make):
    """A collapsed plain run's best is reached at once."""
    plain, grown = make(0, False, [0.1], 10), make(0, True, [0.8], 5)
    part = plain["validation"]
    part["predictions"] = [0] * len(part["labels"])
    part["accuracy"] = part["labels"].count(0) / len(part["labels"])
    (table,) = progressive_tables(Selection([plain, grown]))
    assert row_of(table)["Pairs"] == "0"
    assert "Left out as invalid or undertrained: 1." in table.caption


@pytest.mark.parametrize(
    "break_it",
    [
        lambda r: r["training"].update(epochs=[]),
        lambda r: r["training"].update(epochs="many"),
        lambda r: r["training"]["epochs"][0].update(valid_acc=None),
        lambda r: r["training"]["epochs"][0].update(train_seconds=0),
        lambda r: r["training"]["epochs"][0].update(valid_acc=float("nan")),
        lambda r: r["training"].update(growth="32"),
        lambda r: r["training"].update(growth=[7]),
        lambda r: r["config"].update(seed=[1]),
        lambda r: r["data"].update(fold={"of": 3}),
        lambda r: r.update(config=None),
        lambda r: r.update(training=7),
    ],
)
def test_hostile_records_elsewhere_do_not_break_a_report(make, break_it):
    own, other = make(0, True, [0.8], 5), make(0, False, [0.8], 10)
    break_it(other)
    assert progressive_tables(Selection([own]), [other])
    plain = make(0, False, [0.8], 10)
    assert progressive_tables(Selection([plain]), [other]) in (
        [],
        progressive_tables(Selection([plain]), []),
    )


def test_verdicts_are_corrected_for_the_number_of_variants(make):
    """Ratios whose p is 0.033 alone, and above 0.05 with a second variant."""
    runs = []
    for name in ("ResNet18", "MobileNetV3_Small"):
        for seed, share in enumerate((0.5, 0.6, 0.7)):
            for progressive in (False, True):
                record = make(seed, progressive, [0.8], 100 * share if progressive else 100)
                record["variant"] = {**record["variant"], "name": name}
                runs.append(record)
    (alone,) = progressive_tables(Selection(runs[:6]))
    assert [row[HEADERS.index("Verdict")] for row in alone.rows] == ["faster"]
    (both,) = progressive_tables(Selection(runs))
    assert [row[HEADERS.index("Verdict")] for row in both.rows] == ["~ tie", "~ tie"]
