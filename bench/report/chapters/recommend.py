"""Recommendations that name every variant which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from bench.records.schema import lookup
from bench.report.analysis.matching import Ranking, rankings
from bench.report.analysis.pareto import front, too_few_images
from bench.report.analysis.ranking import accuracy_text
from bench.report.analysis.run_sets import usable
from bench.report.analysis.selection import Selection, caption
from bench.report.analysis.speeds import TimingSession, main_cases, no_floor, sessions_of
from bench.report.analysis.timings import (
    CaseKey,
    counted,
    images_text,
    latency_text,
    percent_text,
    too_few_rounds,
)
from bench.report.analysis.values import significant
from bench.report.chapters.speed import location, machine
from bench.report.render.markdown import Table, one_line
from bench.stats.pairs import TRAINED
from bench.stats.timing import FEWEST_ROUNDS, Location

HEADERS = ["Question", "Answer", "Cannot be told from it", "Basis"]


@attrs.frozen
class Answer:
    """A recommendation.

    Attributes:
        best: the best measured, or why none is named.
        tied: every variant that cannot be told from it.
        basis: what the answer rests on.
    """

    question: str
    best: str
    tied: tuple[str, ...] | None
    basis: str

    def row(self) -> list[str]:
        """Cells for :data:`HEADERS`."""
        tied = "n/a" if self.tied is None else ", ".join(self.tied) or "none"
        return [self.question, self.best, tied, self.basis]


def recommendations(
    selection: Selection,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
) -> Table:
    """Most accurate, fastest, best under a budget, Pareto front.

    Args:
        max_latency_ms: most milliseconds for one image at batch 1.
        max_size_mb: most MB (10⁶ bytes) of the weights.
    """
    answers = answers_of(selection, max_latency_ms, max_size_mb)
    session, number = largest_session(selection), len(sessions_of(selection))
    text = caption(
        selection.data_note(),
        f"Speeds: session {one_line(session.id)}, the one with most variants of {number}."
        if session and number > 1
        else "",
        "The best measured variant, and beside it every one that is not declared different from "
        "it: choose among all of them. Failed, invalid and undertrained runs take no part.",
        "Off a Pareto front is only what a variant on it beats by a declared difference in "
        "accuracy or speed without being declared worse in the other.",
        "".join(f"{about[0].upper()}{about[1:]}." for about in _about(selection)),
    )
    rows = [answer.row() for answer in answers]
    return Table("recommendations", "Recommendations", text, HEADERS, rows)


def _about(selection: Selection) -> list[str]:
    """Why the verdicts on accuracy are not about the variants."""
    largest = rankings(selection)[0][:1]
    return [each.about for each in largest if each.about and len(each.sets) > 1]


def answers_of(
    selection: Selection, max_latency_ms: float | None, max_size_mb: float | None
) -> list[Answer]:
    """The rows of :func:`recommendations`."""
    found, left_out = rankings(selection)
    largest = found[0] if found else None
    answers = [_most_accurate(largest, found, left_out)]
    session = largest_session(selection)
    timed = [(session, case) for case in main_cases(session)] if session else []
    answers += [_fastest(session, case) for session, case in timed]
    if max_latency_ms is not None:
        listed = [(session, case) for session, case in timed if case.latency]
        answers += [_within_latency(largest, *each, max_latency_ms) for each in listed]
        if not listed:
            question = f"Best within {max_latency_ms:g} ms"
            answers.append(Answer(question, "n/a (latency was not timed)", None, ""))
    if max_size_mb is not None:
        answers.append(_within_size(selection, largest, max_size_mb))
    answers += [_front(largest, *each) for each in timed if not each[1].latency]
    return answers


def largest_session(selection: Selection) -> TimingSession | None:
    """The session that timed most variants, of equal ones the last."""
    sessions = sessions_of(selection)
    return max(reversed(sessions), key=lambda each: len(each.timings)) if sessions else None


# --- accuracy --------------------------------------------------------------------------------


def _most_accurate(
    ranking: Ranking | None, found: Sequence[Ranking], left_out: Mapping[str, str]
) -> Answer:
    question = "Most accurate"
    if ranking is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        return Answer(question, "n/a (no accuracy that can be used)", None, reasons)
    others = sum(len(each.sets) for each in found[1:])
    more = f"; {counted(others, 'variant')} with other data or settings not compared" * bool(others)
    return _best(question, ranking, ranking.names, more)


def _best(question: str, ranking: Ranking, names: Sequence[str], more: str = "") -> Answer:
    """The most accurate among ``names``, in the order of the ranking."""
    kept = [name for name in ranking.names if name in names]
    if len(kept) == 1 and len(ranking.sets) == 1:
        more += "; the only variant with an accuracy"
    best = next(each for each in ranking.sets if each.variant == kept[0])
    tied = tuple(name for name in ranking.tied_with(kept[0]) if name in kept)
    basis = f"accuracy {accuracy_text(best)} (%, {best.part} part){more}"
    if len(ranking.sets) > 1:
        basis += f"; {ranking_basis(ranking)}"
    return Answer(question, kept[0], tied, basis)


def ranking_basis(ranking: Ranking) -> str:
    """What the verdicts on accuracy are about."""
    return f"of these {TRAINED}" if ranking.scope == TRAINED else "of the variants"


# --- speed -----------------------------------------------------------------------------------


def _locations(session: TimingSession, case: CaseKey) -> dict[str, Location]:
    """Return median and interval of every variant with a valid round."""
    places = {name: location(session, case, name) for name in session.timings}
    return {name: place for name, place in places.items() if place is not None}


def _fastest(session: TimingSession, case: CaseKey) -> Answer:
    question = f"{'Lowest latency' if case.latency else 'Highest throughput'}: {case.label()}"
    standing, places = session.standing(case), _locations(session, case)
    if not standing.ranks:
        return _provisional(question, session, case)
    best = min(standing.ranks, key=lambda name: places[name].median)
    tied = tuple(
        name
        for name in standing.ranks
        if name != best and standing.verdict(best, name) not in ("faster", "slower")
    )
    left_out = "".join(f"; {name}: {reason}" for name, reason in standing.left_out.items())
    noise = percent_text(session.noise_floor(case) or 0)
    basis = (
        f"{_figure(places[best], case)}, {counted(places[best].rounds, 'round')}, noise floor "
        f"{noise} %, {machine(session)}{left_out}"
    )
    return Answer(question, best, tied, basis)


def _provisional(question: str, session: TimingSession, case: CaseKey) -> Answer:
    """What was measured as fastest where nothing is declared: too few rounds, no noise floor."""
    reason, places = undecided(session, case), _locations(session, case)
    if len(places) < 2:
        return Answer(question, reason, None, machine(session))
    best = min(places, key=lambda name: places[name].median)
    basis = f"{_figure(places[best], case)}; {reason}; {machine(session)}"
    return Answer(question, f"{best}: measured fastest (provisional)", None, basis)


def _figure(rounds: Location, case: CaseKey) -> str:
    if case.latency:
        return f"{latency_text(rounds)} ms"
    return f"{images_text(rounds, case.batch_size)} images/s"


def undecided(session: TimingSession, case: CaseKey) -> str:
    """Why no variant is named the fastest."""
    rounds = max((place.rounds for place in _locations(session, case).values()), default=0)
    if 0 < rounds < FEWEST_ROUNDS:
        return too_few_rounds(rounds)
    if rounds and session.noise_floor(case) is None:
        return no_floor(session.control_ratio(case))
    return "n/a (no valid timing)"


# --- budgets ---------------------------------------------------------------------------------


def _within_latency(
    ranking: Ranking | None, session: TimingSession, case: CaseKey, budget_ms: float
) -> Answer:
    question = f"Best within {budget_ms:g} ms: {case.label()}"
    places = _locations(session, case)
    costs = {name: 1000 * place.median for name, place in places.items()}
    crossing = [
        f"the interval of {name}, {latency_text(place)} ms, crosses the budget"
        for name, place in places.items()
        if place.low and place.high and 1000 * place.low <= budget_ms < 1000 * place.high
    ]
    few = [place.rounds for place in places.values() if place.low is None]
    if few:
        crossing.append(f"latencies without interval: {counted(min(few), 'round')}, provisional")
    return _within(question, ranking, costs, budget_ms, "ms", crossing)


def _within_size(selection: Selection, ranking: Ranking | None, budget_mb: float) -> Answer:
    sizes = {
        name: lookup(usable(selection, name) or {}, "counts", "size_mb")
        for name in selection.variants()
    }
    costs = {name: float(size) for name, size in sizes.items() if size is not None}
    return _within(f"Best within {budget_mb:g} MB", ranking, costs, budget_mb, "MB", [])


def _within(
    question: str,
    ranking: Ranking | None,
    costs: Mapping[str, float],
    budget: float,
    unit: str,
    notes: Sequence[str],
) -> Answer:
    within = [name for name, cost in costs.items() if cost <= budget]
    if not costs:
        return Answer(question, f"n/a (no variant has its {unit} measured)", None, "")
    if not within:
        least = min(costs, key=lambda name: costs[name])
        text = f"none: the least is {least} with {significant(costs[least])} {unit}"
        return Answer(question, text, None, "; ".join(notes))
    listed = ", ".join(f"{name} {significant(costs[name])} {unit}" for name in within)
    more = "".join(f"; {note}" for note in (f"within: {listed}", *notes))
    judged = [name for name in within if ranking and name in ranking.names]
    if ranking is None or not judged:
        return Answer(question, "undecided: none of them has an accuracy", None, more[2:])
    return _best(question, ranking, judged, more)


# --- both ------------------------------------------------------------------------------------


def _front(ranking: Ranking | None, session: TimingSession, case: CaseKey) -> Answer:
    question = f"Pareto front of accuracy and throughput: {case.label()}"
    standing = session.standing(case)
    if not standing.ranks:
        return Answer(question, undecided(session, case), None, machine(session))
    names = [name for name in (ranking.names if ranking else []) if name in standing.ranks]
    if ranking is None or not names:
        return Answer(question, "n/a (no variant has both an accuracy and a speed)", None, "")
    few = too_few_images(ranking.median_detectable()) if len(names) > 1 else None
    if few is not None:
        return Answer(question, few, None, ranking_basis(ranking))
    words = {"faster": "better", "slower": "worse"}

    def speed(one: str, two: str) -> str:
        found = standing.verdict(one, two)
        return words.get(found, found)

    found = front(names, ranking.verdict, speed)
    beaten: dict[str, list[str]] = {}
    for name, (other, what) in found.off.items():
        beaten.setdefault(f"{other} is {what} than", []).append(name)
    off = "; ".join(f"{reason} {', '.join(names)}" for reason, names in beaten.items())
    basis = f"off the front: {off}" if off else "no variant is declared off it"
    basis += f"; {ranking_basis(ranking)}"
    return Answer(question, ", ".join(found.names), None, basis)
