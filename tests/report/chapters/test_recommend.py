"""Tests of the recommendations."""

from __future__ import annotations

import re

import pytest

from bench.report.analysis.selection import Selection
from bench.report.chapters.compare import compare_text
from bench.report.chapters.recommend import recommendations
from bench.report.render.document import render
from tests.report.sessions import set_predictions, timed_together, timing_only

GOOD = [True] * 100
WORSE = [True] * 70 + [False] * 30
SPEEDS = {"ResNet18": 0.010, "ResNet18_Hybrid": 0.0105, "MobileNetV3_Small": 0.003}
RIGHT = {"ResNet18": GOOD, "ResNet18_Hybrid": [True] * 98 + [False] * 2, "MobileNetV3_Small": WORSE}


@pytest.fixture
def timed(make_record):
    """A function: three variants with planted speeds and hits."""

    def build(speeds=None, **more):
        records = timed_together(make_record, speeds or SPEEDS, **more)
        for record in records:
            set_predictions(record, RIGHT[record["variant"]["name"]])
        return records

    return build


def answers(records, *budgets) -> dict[str, list[str]]:
    table = recommendations(Selection(records), *budgets)
    return {row[0].partition(":")[0]: row[1:] for row in table.rows}


def test_the_best_and_all_that_cannot_be_told_from_it_are_named(timed):
    found = answers(timed())
    assert found["Most accurate"][:2] == ["ResNet18", "ResNet18_Hybrid"]
    assert (
        found["Most accurate"][2]
        == "accuracy 100.0 [96.3–100.0], n 100 (%, test part); of these trained models"
    )
    assert found["Highest throughput"][:2] == ["MobileNetV3_Small", "none"]
    assert found["Lowest latency"][:2] == ["MobileNetV3_Small", "none"]
    assert "10 rounds, noise floor 0." in found["Lowest latency"][2]


def test_equal_speeds_are_all_named(timed):
    found = answers(timed(dict.fromkeys(SPEEDS, 0.01)))
    best, tied, _ = found["Highest throughput"]
    assert {best, *tied.split(", ")} == set(SPEEDS)


@pytest.mark.parametrize(("rounds", "text"), [(1, "1 round"), (5, "5 rounds")])
def test_few_rounds_name_what_was_measured_fastest_as_provisional(timed, rounds, text):
    found = answers(timed(rounds=rounds))
    why = f"undecided: {text}, an interval needs 6"
    for question in ("Lowest latency", "Highest throughput"):
        best, tied, basis = found[question]
        assert (best, tied) == ("MobileNetV3_Small: measured fastest (provisional)", "n/a")
        assert why in basis
    assert found["Pareto front of accuracy and throughput"][:2] == [why, "n/a"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("rounds", [1, 5, 10])
def test_below_six_rounds_nothing_is_called_faster_anywhere(timed, rounds, tmp_path):
    records = timed(rounds=rounds)
    path = render(records, tmp_path, title="few")
    page = path.with_name("report.html").read_text("utf8")
    page = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    names = [record["variant"]["name"] for record in records]
    written = [path.read_text("utf8"), page, compare_text(records, names)]
    # What rules and notes say of the words is no verdict; the guide says them of itself.
    verdicts = re.compile(r"\| faster +\||>faster<|  faster  |is faster and|\bgains \d")
    fastest = re.compile(r"(?:measured|the) fastest(?! \(provisional\))")
    for text in written:
        assert bool(verdicts.search(text)) == (rounds >= 6)
        assert fastest.findall(text) == []
    assert ("measured fastest (provisional)" in written[0]) == (rounds < 6)
    assert ("measured fastest (provisional)" in written[1]) == (rounds < 6)


def test_one_variant_alone_is_not_the_fastest(timed):
    records = timed({"ResNet18": 0.01}, rounds=1)
    assert answers(records)["Highest throughput"][0] == "undecided: 1 round, an interval needs 6"


def on_many_images(records):
    """Seven hundred images, so that there are enough for a front."""
    wrong = {"ResNet18": 0, "ResNet18_Hybrid": 3, "MobileNetV3_Small": 200}
    for record in records:
        few = wrong[record["variant"]["name"]]
        set_predictions(record, [n >= few for n in range(700)])
    return records


def test_too_few_images_give_no_front(timed):
    found = answers(timed())["Pareto front of accuracy and throughput"]
    assert found[0] == (
        "too few images for a front: half of the pairs could differ by 16 points unseen"
    )


def test_the_pareto_front_keeps_the_fast_and_the_accurate(timed):
    found = answers(on_many_images(timed()))["Pareto front of accuracy and throughput"]
    assert found[0] == "ResNet18, MobileNetV3_Small"
    assert found[2] == (
        "off the front: ResNet18 is faster and not declared less accurate than ResNet18_Hybrid; "
        "of these trained models"
    )


def test_ties_stay_on_the_pareto_front(timed):
    found = answers(on_many_images(timed({**SPEEDS, "ResNet18_Hybrid": 0.010})))
    front = found["Pareto front of accuracy and throughput"]
    assert front[0] == "ResNet18, ResNet18_Hybrid, MobileNetV3_Small"
    assert front[2] == "no variant is declared off it; of these trained models"


def test_a_latency_budget_leaves_the_slower_ones_out(timed):
    found = answers(timed(), 5)["Best within 5 ms"]
    assert found[:2] == ["MobileNetV3_Small", "none"]
    assert "within: MobileNetV3_Small 3" in found[2]
    wide = answers(timed(), 50)["Best within 50 ms"]
    assert wide[:2] == ["ResNet18", "ResNet18_Hybrid"]


def test_a_budget_within_the_interval_is_said(timed):
    text = answers(timed(), 10.1)["Best within 10.1 ms"][2]
    assert "the interval of ResNet18, " in text
    assert "crosses the budget" in text


def test_a_budget_that_nothing_meets_names_the_least(timed):
    records = timed()
    found = answers(records, 0.5, 0.5)
    assert found["Best within 0.5 ms"][0].startswith("none: the least is MobileNetV3_Small with 3")
    assert found["Best within 0.5 MB"][0] == "none: the least is MobileNetV3_Small with 6.11 MB"


def test_a_size_budget_takes_the_most_accurate_that_fits(timed):
    found = answers(timed(), None, 45)
    assert found["Best within 45 MB"][:2] == ["ResNet18", "none"]
    assert "Best within 5 ms" not in found


def test_few_rounds_of_latency_are_said_with_the_budget(timed):
    text = answers(timed(rounds=3), 50)["Best within 50 ms"][2]
    assert "latencies without interval: 3 rounds" in text


def test_without_accuracy_speeds_are_still_recommended(timed):
    found = answers([timing_only(record) for record in timed()], 50, 50)
    assert found["Most accurate"][0] == "n/a (no accuracy that can be used)"
    assert found["Lowest latency"][0] == "MobileNetV3_Small"
    assert found["Best within 50 ms"][0] == "undecided: none of them has an accuracy"
    assert found["Pareto front of accuracy and throughput"][0].startswith("n/a (no variant has")


def test_without_timing_accuracy_is_still_recommended(timed):
    records = [{**record, "timing": [], "session": None} for record in timed()]
    found = answers(records, 50)
    assert list(found) == ["Most accurate", "Best within 50 ms"]
    assert found["Best within 50 ms"][0] == "n/a (latency was not timed)"


def test_invalid_and_undertrained_variants_are_never_recommended(timed):
    records = timed()
    records[0]["test"]["predictions"] = [0] * 100
    records[2]["counts"]["parameters_declared"] = 1
    found = answers(records, 50, 50)
    assert found["Most accurate"][:2] == ["ResNet18_Hybrid", "none"]
    assert found["Highest throughput"][0] == "ResNet18"
    assert found["Best within 50 MB"][0] == "ResNet18_Hybrid"
    assert found["Best within 50 ms"][0] == "ResNet18_Hybrid"
    assert "MobileNetV3_Small: invalid" in found["Highest throughput"][2]


def test_the_session_with_most_variants_is_used(timed, make_record):
    alone = timed_together(
        make_record, {"MobileNetV3_Small": 0.1}, baseline="MobileNetV3_Small", session="s2"
    )
    table = recommendations(Selection([*timed(), *alone]))
    assert "Speeds: session s1, the one with most variants of 2." in table.caption
