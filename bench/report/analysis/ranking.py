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
from bench.report.render.markdown import Table
from bench.stats.multiple import ALPHA
from bench.stats.pairs import TRAINED


def accuracy_text(runs: RunSet) -> str:
    """``90.0 [82.1–94.6], n 120``; of several seeds with their range."""
    found = of_runs(list(runs.runs.values()))
    share = shares(runs)
    text = f"{100 * mean_accuracy(runs):.1f}"
    if found is not None and found.low is not None and found.high is not None:
        text += f" [{100 * found.low:.1f}–{100 * found.high:.1f}]"
    if len(share) > 1:
        text += f", {len(share)} seeds {100 * min(share):.1f}–{100 * max(share):.1f}"
    if found is not None and found.images:
        text += f", {found.count()}"
    folds = len({fold for _, fold in runs.runs})
    return text + (f", {counted(folds, 'fold')}" if folds > 1 else "")


def images(runs: RunSet) -> int:
    """Distinct images evaluated."""
    pooled = runs.pooled(list(runs.runs)).values()
    known = {name for hits in pooled for name in hits}
    if known:
        return len(known)
    found = judged_accuracy(runs.first)
    return (found.total or 0) if found else 0


# --- table -----------------------------------------------------------------------------------

RAW = ("set", "variant", "rank", "part", "accuracy", "seeds", "folds", "images", "reason")


def ranking_table(selection: Selection) -> Table:
    """All variants by accuracy with shared ranks; who takes no rank stands last with the reason."""
    found, left_out = rankings(selection)
    several = len(found) > 1
    rows: list[list[str]] = []
    raw: list[list[Any]] = []
    for number, ranking in enumerate(found, start=1):
        ranks = ranking.ranks()
        for each in ranking.sets:
            tied = named(ranking.tied_with(each.variant), len(ranking.sets) - 1)
            place = ranks.get(each.variant)
            rank = "n/a (nothing to compare with)" if place is None else str(place)
            f1 = macro_f1_of(list(each.runs.values()))
            cells = [rank, each.variant, accuracy_text(each), f1.text() if f1 else "n/a"]
            cells += [each.part, "n/a" if place is None else tied]
            rows.append([str(number), *cells] if several else cells)
            keys = list(each.runs)
            seeds, folds = ({key[place] for key in keys} for place in (0, 1))
            figures = (each.part, mean_accuracy(each), len(seeds), len(folds), images(each), None)
            raw.append([number, each.variant, place, *figures])
    for name, reason in left_out.items():
        cells = ["n/a", name, f"n/a ({reason})", "n/a", "n/a", "n/a"]
        rows.append(["n/a", *cells] if several else cells)
        raw.append([None, name, None, None, None, None, None, None, reason])
    headers = ["Rank", "Variant", "Accuracy (%), 95 % interval"]
    headers += ["Macro-F1, 95 % interval", "Part", "Cannot be told from"]
    if several:
        headers.insert(0, "Set")
    text = _caption(found, selection, several=several)
    return Table("ranking", "Accuracy, ranked", text, headers, rows, (RAW, raw))


def named(names: Sequence[str], others: int) -> str:
    """Names, or ``all others`` where several are all of them."""
    if len(names) == others > 2:
        return "all others"
    return ", ".join(names) or "none"


def verdict_note(rankings: Sequence[Ranking]) -> str:
    """How the verdicts on accuracies were made, and what they are about."""
    judged = [ranking for ranking in rankings if any(pair.found for pair in ranking.pairs)]
    parts = []
    for scope in distinct(ranking.scope for ranking in judged):
        kept = [ranking for ranking in judged if ranking.scope == scope]
        number = " and ".join(counted(len(ranking.pairs), "comparison") for ranking in kept)
        if scope == TRAINED:
            reasons = "; ".join(distinct(ranking.about for ranking in kept))
            parts.append(
                f"Verdicts are of these trained models ({reasons}): exact McNemar test on the same "
                "images (where groups or several trainings count together, its sign-flip form), "
                f"Holm's correction for {number}, and each interval at the level at which Holm "
                "tested that pair."
            )
        else:
            variants = " and ".join(str(len(ranking.sets)) for ranking in kept)
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
