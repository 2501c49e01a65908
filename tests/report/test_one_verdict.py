"""Every place that speaks of a pair of variants says the same of it."""

from __future__ import annotations

import html
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.report.analysis.matching import accuracy_pair, rankings
from bench.report.analysis.selection import Selection
from bench.report.chapters.attention import p_text
from bench.report.chapters.compare import compare_rows, compare_text
from bench.report.chapters.recommend import answers_of
from bench.report.claims.statements import Claim
from bench.report.render.document import render
from bench.report.render.terminal import closing_lines
from tests.report.fake_records import PADDY
from tests.report.sessions import set_predictions, timed_together

BASE = "B"
NAMES = list("ABCDEFGHIJ")
# Planted accuracies: A, B and C differ by steps that tie, A and C do not; I is far behind.
SHARES = dict(zip(NAMES, (0.97, 0.94, 0.91, 0.94, 0.93, 0.95, 0.94, 0.92, 0.70, 0.9), strict=True))
SECONDS = {name: 0.01 * (1 + number / 3) for number, name in enumerate(NAMES)}
IMAGES = 400
NOISE, LUCK = 0.1, 0.01
FLIPPED = {"better": "worse", "worse": "better"}


def crafted(make_record, seeds: int) -> list[dict]:
    """Ten variants: one collapsed (J); with several seeds one has fewer (H)."""
    rng = np.random.default_rng(1)
    ease = rng.random(IMAGES)
    records = []
    for seed in range(seeds):
        for record in timed_together(make_record, SECONDS, baseline=BASE, seed=seed):
            name = record["variant"]["name"]
            if name == "H" and seeds > 1 and seed == seeds - 1:
                continue
            moved = ease + rng.normal(0, NOISE, IMAGES)
            share = SHARES[name] + (LUCK * rng.normal() if seeds > 1 else 0)
            set_predictions(record, (moved < np.quantile(moved, min(1, share))).tolist())
            if name == "J":
                record["test"]["predictions"] = [0] * IMAGES
            record["variant"]["baseline"] = None if name == BASE else BASE
            record["config"]["seeds"] = seeds
            record["training"]["initial_weights"] = "x.in1k"
            record["folder"] = f"{name}-{seed}"
            records.append(record)
    return records


@pytest.fixture(params=[1, 3], ids=["one training each", "three seeds"])
def sweep(request, make_record) -> list[dict]:
    return crafted(make_record, request.param)


def expected(records) -> dict[tuple[str, str], str]:
    """The one verdict on each ordered pair."""
    selection = Selection(records)
    return {
        (one, two): accuracy_pair(selection, one, two).verdict
        for one in NAMES
        for two in NAMES
        if one != two
    }


def tables_of_markdown(text: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    title = ""
    headers: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            title, headers = line.lstrip("# "), []
        elif line.startswith("|"):
            cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split(" | ")]
            if not headers:
                headers = cells
            elif not set(line) <= set("|-: "):
                found.setdefault(title, []).append(dict(zip(headers, cells, strict=True)))
    return found


def tables_of_page(page: str) -> list[list[dict[str, str]]]:
    found = []
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        rows = [
            [
                html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()
                for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            ]
            for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        ]
        if rows and len({len(row) for row in rows}) == 1:
            found.append([dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    return found


def said_in_rows(rows) -> dict[tuple[str, str], str]:
    """Verdicts of rows of the table of pairs."""
    return {(row["Variant"], row["Against"]): row["Verdict"].removeprefix("~ ") for row in rows}


def check_ties(rows, verdicts) -> int:
    """The ranking's rows: shared ranks and "cannot be told from"; how many were looked at."""
    ranked = {row["Variant"]: row for row in rows if row["Rank"].isdigit()}
    for name, row in ranked.items():
        others = [other for other in ranked if other != name]
        tied = row["Cannot be told from"]
        listed = others if tied == "all others" else [] if tied == "none" else tied.split(", ")
        for other in others:
            assert (other in listed) == (verdicts[name, other] not in FLIPPED), (name, other)
        worse = sum(verdicts[other, name] == "better" for other in others)
        assert int(row["Rank"]) == 1 + worse
    return len(ranked)


@pytest.mark.usefixtures("undrawn")
def test_no_two_places_disagree_about_a_pair(sweep, tmp_path: Path):
    verdicts = expected(sweep)
    assert set(verdicts.values()) == {"better", "worse", "tie", "not compared"}
    assert all(verdicts[b, a] == FLIPPED.get(word, word) for (a, b), word in verdicts.items())
    # Ties are not transitive here.
    assert (verdicts["A", "B"], verdicts["B", "C"]) == ("tie", "tie")
    assert verdicts["A", "C"] == "better"
    claims = [
        Claim(
            f"{a}-{b}",
            a,
            "accuracy",
            0.0,
            "points",
            "here",
            form="difference",
            against=b,
            conditions=PADDY,
        )
        for a, b in combinations(NAMES, 2)
    ]
    path = render(sweep, tmp_path / "report", title="t", own_claims=claims)
    markdown = tables_of_markdown(path.read_text(encoding="utf8"))
    page = path.with_name("report.html").read_text(encoding="utf8")

    # report.md
    pairs = next(rows for title, rows in markdown.items() if "accuracy, size, work" in title)
    from_baseline = {pair: verdicts[pair] for pair in verdicts if pair[1] == BASE}
    assert said_in_rows(pairs) == from_baseline
    assert check_ties(markdown["Accuracy, ranked"], verdicts) == 9

    # report.html, tables and data
    shown = tables_of_page(page)
    pairs_shown = next(rows for rows in shown if rows and "p, adjusted" in rows[0])
    assert said_in_rows(pairs_shown) == from_baseline
    ranking_shown = next(rows for rows in shown if rows and "Cannot be told from" in rows[0]
                         and "Rank" in rows[0])  # fmt: skip
    assert check_ties(ranking_shown, verdicts) == 9
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    ranked = [one for one in data["variants"] if one["rank"] is not None]
    keys = ("Variant", "Rank", "Cannot be told from")
    rows = [
        dict(zip(keys, (one["name"], str(one["rank"]), one["tied"]), strict=True)) for one in ranked
    ]
    assert check_ties(rows, verdicts) == 9

    # Claims
    selection = Selection(sweep)
    judged = {row["Claim"]: row for row in markdown["Verdicts on the documented numbers"]}
    for claim in claims:
        row, word = judged[claim.sentence()], verdicts[claim.variant, claim.against]
        found = re.search(r"(better|worse|~ tie) among all variants", row["Evidence"])
        assert (found[1].removeprefix("~ ") if found else "not compared") == word
        pair = accuracy_pair(selection, claim.variant, claim.against).found
        if pair is not None:
            assert f"[{100 * pair.low:.1f}–{100 * pair.high:.1f}]" in row["Measured here"]

    # The terminal
    said = {
        (found[1], found[3]): found[2]
        for line in closing_lines(sweep)
        if (found := re.match(r"(\w) is (better|worse) than (\w):", line))
    }
    assert said
    for (one, two), word in verdicts.items():
        assert said.get((one, two), FLIPPED.get(said.get((two, one), ""), "")) == (
            word if word in FLIPPED else ""
        )

    # compare, every pair on its own and all against one
    for first in NAMES:
        others = [name for name in NAMES if name != first]
        rows = compare_rows(sweep, [first, *others])["accuracy"]
        assert {row["variant"]: row["verdict"] for row in rows} == {
            name: verdicts[name, first] for name in others
        }
        text = compare_text(sweep, [first, others[0]])
        one = accuracy_pair(selection, others[0], first)
        if one.found is not None:
            assert f"{100 * one.found.low:+.1f} to {100 * one.found.high:+.1f}" in text
            assert p_text(one.found.p_value) in text


def test_the_api_and_the_command_say_what_the_report_says(sweep, tmp_path, monkeypatch):
    verdicts = expected(sweep)
    monkeypatch.setattr("bench.records.select_records", lambda *_: (sweep, [], "s", []))
    found = bench.compare("A", "C", results_dir=tmp_path)
    whole = bench.compare(*NAMES, results_dir=tmp_path)
    assert found.verdict.tolist() == [verdicts["C", "A"]] == ["worse"]
    for row in whole.itertuples():
        assert row.verdict == verdicts[row.variant, row.other]
    # The sweep's own interval, whoever else is asked for.
    ours, theirs = found.iloc[0], whole[whole.variant == "C"].iloc[0]
    keys = ["difference", "low", "high", "p_value", "minimum_detectable", "scope"]
    assert ours[keys].tolist() == theirs[keys].tolist()
    assert (ours.low > 0 or ours.high < 0) == (ours.verdict in FLIPPED)


def test_the_recommendations_and_the_front_follow_the_verdicts(sweep):
    verdicts = expected(sweep)
    answers = {one.question.split(":")[0]: one for one in answers_of(Selection(sweep), None, None)}
    best = answers["Most accurate"]
    assert set(best.tied) == {
        name for name in NAMES
        if name not in (best.best, "J") and verdicts[best.best, name] not in FLIPPED
    }  # fmt: skip
    found = answers["Pareto front of accuracy and throughput"]
    front = found.best.split(", ")
    for name in NAMES[:-1]:
        if name not in front:
            # Faster is earlier in the alphabet: off is what an earlier member beats, or a more
            # accurate one.
            assert any(verdicts[member, name] != "worse" for member in front)
    words = "of these trained models" if len(sweep) == 10 else "of the variants"
    assert words in found.basis


def test_a_variant_with_fewer_seeds_is_compared_on_those_that_both_have(make_record):
    sweep = crafted(make_record, 3)
    (ranking, *_) = rankings(Selection(sweep))[0]
    assert ranking.scope == "variants"
    pair = ranking.pair("A", "H")
    assert pair.seeds == (0, 1)
    assert pair.notes == (
        "H has no run with seed 2: its pairs rest on the seeds that both have",
    )  # fmt: skip
    assert ranking.pair("A", "B").seeds == (0, 1, 2)


def test_one_seed_among_several_is_left_out_and_takes_nothing_from_the_others(make_record):
    sweep = [
        record
        for record in crafted(make_record, 3)
        if record["variant"]["name"] in "ABC"
        and (record["variant"]["name"] != "C" or record["config"]["seed"] == 0)
    ]
    selection = Selection(sweep)
    (ranking,), left_out = rankings(selection)
    assert ranking.names == ["A", "B"]
    assert left_out == {"C": "shares fewer than 2 seeds with each of the others"}
    without = Selection([record for record in sweep if record["variant"]["name"] != "C"])
    assert ranking.pair("A", "B").found == rankings(without)[0][0].pair("A", "B").found
    pair = accuracy_pair(selection, "A", "C")
    assert pair.found is None
    assert pair.refused is not None
    assert pair.refused.reason == "the two share 1 seed, verdicts about variants need 2"
    lines = "\n".join(closing_lines(sweep))
    assert "C" not in lines.split("rank 2", 1)[1].split("cannot be told apart")[0]


def test_a_newer_sweep_that_says_nothing_of_a_pair_hides_no_older_one(make_record):
    def run(name, seed, sweep, hour):
        record = set_predictions(
            make_record(name, seed=seed), [n >= 8 * (name == "B") for n in range(100)]
        )
        record["sweep"]["id"] = sweep
        record["finished"] = f"2026-01-01T{hour:02}:00:00+00:00"
        record["folder"] = f"{name}-{seed}-{sweep}"
        return record

    records = [run("R", 0, "r", 5), run("R", 1, "r", 6)]
    records += [
        run("A", 0, "old", 1),
        run("B", 0, "old", 2),
        run("A", 0, "a", 3),
        run("B", 1, "b", 4),
    ]
    assert accuracy_pair(Selection(records), "A", "B").verdict == "better"


def test_few_images_leave_verdicts_about_the_trained_models(make_record):
    records = [
        set_predictions(make_record(name, seed=seed), [n >= wrong for n in range(40)])
        for seed in (0, 1)
        for name, wrong in (("A", 1), ("B", 12))
    ]
    (ranking, *_) = rankings(Selection(records))[0]
    assert ranking.scope == "trained models"
    assert ranking.about == (
        "two variants share 40 of the 60 images or groups that verdicts about variants need"
    )
    assert ranking.verdict("A", "B") == "better"


def test_copies_count_once_and_the_table_says_so(make_record):
    records = []
    for name, wrong in (("A", 0), ("B", 8)):
        record = set_predictions(make_record(name), [n >= wrong for n in range(100)])
        record["data"]["units"] = {f"{n}.jpg": f"{n - n % 2}.jpg" for n in range(100)}
        records.append(record)
    found = accuracy_pair(Selection(records), "A", "B")
    # Eight images of four photographs: p is 2 ÷ 2⁴, not 2 ÷ 2⁸.
    assert found.found.p_value == pytest.approx(0.125)
    assert found.verdict == "tie"
    assert found.images() == "100 test images in 50 groups"
