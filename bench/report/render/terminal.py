"""What a run says of its accuracies in the terminal, once it has ended."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.analysis.matching import Ranking, rankings
from bench.report.analysis.ranking import accuracy_text, verdict_note
from bench.report.analysis.selection import Selection, distinct
from bench.report.analysis.validity import Record, judged_part
from bench.system.digits import counted, points

# A table of all pairs of more would fill the screen; the report has it.
MOST_VARIANTS = 12


def closing_lines(records: Sequence[Record]) -> list[str]:
    """Which part the accuracies are of, the ranks, and every verdict that is no tie."""
    selection = Selection(records)
    complete = selection.complete()
    if not complete:
        return []
    parts = distinct(map(judged_part, complete))
    chosen = "the validation part chose the best epoch, which flatters it"
    lines = [
        f"accuracy: on the {' or '.join(parts)} part, which report and compare judge by; {chosen}"
        if parts != ["validation"]
        else f"accuracy: on the validation part, since there is no test part; {chosen}"
    ]
    for ranking in rankings(selection)[0]:
        if len(ranking.sets) > 1:
            lines += _ranked(ranking)
    return lines


def _ranked(ranking: Ranking) -> list[str]:
    ranks = ranking.ranks()
    lines = [f"rank {ranks.get(each.variant, 'n/a')}: {each.variant}  {accuracy_text(each)}"
             for each in ranking.sets]  # fmt: skip
    declared = [pair for pair in ranking.pairs if pair.verdict in ("better", "worse")]
    if len(ranking.sets) <= MOST_VARIANTS:
        for pair in declared:
            assert pair.found is not None
            low, high = (points(100 * bound) for bound in (pair.found.low, pair.found.high))
            lines.append(
                f"{pair.variant} is {pair.verdict} than {pair.other}: "
                f"{points(100 * pair.found.difference)} points [{low} to {high}]"
            )
    judged = sum(pair.found is not None for pair in ranking.pairs)
    ties, apart = judged - len(declared), len(ranking.pairs) - judged
    lines.append(
        f"{ties} of {counted(judged, 'pair')} cannot be told apart"
        + (f"; {counted(apart, 'pair')} not compared" if apart else "")
    )
    return [*lines, *filter(None, [verdict_note([ranking])])]
