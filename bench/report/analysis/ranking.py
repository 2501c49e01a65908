"""Variants by accuracy: ranks that ties share, and what each cannot be told from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.analysis.matching import Ranking, mean_accuracy, rankings, shares
from bench.report.analysis.run_sets import RunSet
from bench.report.analysis.seeds import macro_f1_of, of_runs
from bench.report.analysis.selection import Selection, caption, distinct
from bench.report.analysis.timings import counted
from bench.report.analysis.validity import judged_accuracy
from bench.report.analysis.values import percent_with_interval
from bench.report.render.markdown import Table
from bench.stats.multiple import ALPHA
from bench.stats.pairs import TRAINED


def accuracy_text(runs: RunSet) -> str:
    """Return ``90.0 [82.1–94.6], n 120``; of several seeds with their range."""
    accuracy, seeds = of_runs(list(runs.runs.values())), shares(runs)
    low, high = (accuracy.low, accuracy.high) if accuracy else (None, None)
    text = percent_with_interval(mean_accuracy(runs), low, high)
    if len(seeds) > 1:
        text += f", {len(seeds)} seeds {100 * min(seeds):.1f}–{100 * max(seeds):.1f}"
    if accuracy is not None and accuracy.images:
        text += f", {accuracy.count()}"
    return text + (f", {counted(len(runs.folds), 'fold')}" if len(runs.folds) > 1 else "")


def images(runs: RunSet) -> int:
    """Return distinct images evaluated."""
    names = {name for hits in runs.hits_by_seed().values() for name in hits}
    if names:
        return len(names)
    accuracy = judged_accuracy(runs.first)
    return (accuracy.total or 0) if accuracy else 0


# --- table -----------------------------------------------------------------------------------

HEADERS = (
    "Set", "Rank", "Variant", "Accuracy (%), 95 % interval", "Macro-F1, 95 % interval", "Part",
    "Cannot be told from",
)  # fmt: skip
RAW = ("set", "variant", "rank", "part", "accuracy", "seeds", "folds", "images", "reason")


def ranking_table(selection: Selection) -> Table:
    """Return all variants by accuracy with shared ranks; those without stand last, with why."""
    ranked, left_out = rankings(selection)
    rows: list[list[str]] = []
    raw: list[list[Any]] = []
    for number, ranking in enumerate(ranked, start=1):
        ranks = ranking.ranks()
        for runs in ranking.sets:
            rank, f1 = ranks.get(runs.variant), macro_f1_of(list(runs.runs.values()))
            tied = named(ranking.tied_with(runs.variant), len(ranking.sets) - 1)
            rows.append([
                str(number),
                "n/a (nothing to compare with)" if rank is None else str(rank),
                runs.variant,
                accuracy_text(runs),
                f1.text() if f1 else "n/a",
                runs.part,
                "n/a" if rank is None else tied,
            ])  # fmt: skip
            figures = (mean_accuracy(runs), len(runs.seeds), len(runs.folds), images(runs))
            raw.append([number, runs.variant, rank, runs.part, *figures, None])
    for name, reason in left_out.items():
        rows.append(["n/a", "n/a", name, f"n/a ({reason})", "n/a", "n/a", "n/a"])
        raw.append([None, name, *[None] * 6, reason])
    several = len(ranked) > 1
    first = 0 if several else 1
    text = _caption(ranked, selection, several=several)
    shown = [row[first:] for row in rows]
    return Table("ranking", "Accuracy, ranked", text, HEADERS[first:], shown, (RAW, raw))


def named(names: Sequence[str], others: int) -> str:
    """Return names, or ``all others`` where several are all of them."""
    if len(names) == others > 2:
        return "all others"
    return ", ".join(names) or "none"


def verdict_note(rankings: Sequence[Ranking]) -> str:
    """Return how the verdicts on accuracies were made, and what they are about."""
    judged = [ranking for ranking in rankings if any(pair.found for pair in ranking.pairs)]
    parts = []
    for scope in distinct(ranking.scope for ranking in judged):
        alike = [ranking for ranking in judged if ranking.scope == scope]
        number = " and ".join(counted(len(ranking.pairs), "comparison") for ranking in alike)
        if scope == TRAINED:
            reasons = "; ".join(distinct(ranking.about for ranking in alike))
            parts.append(
                f"Verdicts are of these trained models ({reasons}): exact McNemar test on the same "
                "images (where groups or several trainings count together, its sign-flip form), "
                f"Holm's correction for {number}, and each interval at the level at which Holm "
                "tested that pair."
            )
        else:
            variants = " and ".join(str(len(ranking.sets)) for ranking in alike)
            parts.append(
                "Verdicts are about the variants, for new seeds and new images of this data set: "
                "Obuchowski and Rockette's analysis with Hillis' degrees of freedom, seeds and "
                f"images random, Tukey's simultaneous 95 % intervals over {variants} variants "
                f"({number})."
            )
    return " ".join(parts)


def _caption(found: Sequence[Ranking], selection: Selection, *, several: bool) -> str:
    notes = distinct(note for ranking in found for pair in ranking.pairs for note in pair.notes)
    method = verdict_note(found)
    return caption(
        selection.data_note(),
        f"{method} Better or worse where p, adjusted for them all, is below {ALPHA:g}; ties share "
        "a rank."
        if method
        else "No two accuracies can be compared.",
        "Sets differ in data, image size, part, seeds or settings and are ranked apart."
        if several
        else "",
        f"Seeds: {'; '.join(notes)}." if notes else "",
    )
