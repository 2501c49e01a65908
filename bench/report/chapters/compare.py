"""What ``bench compare`` says: variants against the first one named, or against baselines."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import attrs
from tabulate import tabulate

from bench.errors import BenchError
from bench.report.analysis.pairs import Pair, compare_pairs, matched, sentence
from bench.report.analysis.run_sets import has_accuracy
from bench.report.analysis.selection import Selection
from bench.report.analysis.validity import Record
from bench.report.chapters.attention import tables_of
from bench.report.render.markdown import Table


@attrs.frozen
class Compared:
    """What was asked to be compared.

    Attributes:
        pairs: variants, each with what it is compared with.
        selection: the runs that the verdicts rest on.
        title: first words of the tables' titles.
    """

    pairs: list[Pair]
    selection: Selection
    title: str


def compare_runs(records: Sequence[Record], names: Sequence[str]) -> Compared:
    """Compare variants of some records.

    Args:
        records: of runs; the latest complete ones of each variant count.
        names: variants, in any case; the others are compared with the first. None: every variant
            with its matched baseline.

    Raises:
        BenchError: an unknown variant, fewer than two, runs on different data or image sizes, or a
            run with neither accuracy nor timing.
    """
    selection = Selection(records)
    if names:
        wanted = _resolved(selection, names)
        # Verdicts are those of all variants together, as in the report, whoever is asked for.
        listed = [(name, wanted[0]) for name in wanted[1:]]
    else:
        listed = _baselines(selection)
    for name in dict.fromkeys(name for pair in listed for name in pair):
        _check_run(selection, name)
    pairs = compare_pairs(selection, listed)
    for pair in pairs:
        _check_data(pair)
    title = f"Against {listed[0][1]}" if names else "Each variant against its baseline"
    return Compared(pairs, selection, title)


def compare_text(records: Sequence[Record], names: Sequence[str]) -> str:
    """What is known of the differences between variants, as aligned text.

    Args and Raises as :func:`compare_runs`.
    """
    found = compare_runs(records, names)
    tables = tables_of(found.pairs, found.selection, found.title)[1:]
    blocks = ["\n".join(sentence(pair) for pair in found.pairs), *map(_text, tables)]
    return "\n\n".join(blocks) + "\n"


def compare_rows(
    records: Sequence[Record], names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The same unrounded: a row for each pair in ``accuracy``, for each pair and case in ``speed``.

    Args and Raises as :func:`compare_runs`. Differences of accuracy are fractions, ratios of speed
    are the variant's ÷ the other's.
    """
    found = compare_runs(records, names)
    accuracy, speed = tables_of(found.pairs, found.selection, found.title)[1:]
    return {"accuracy": _rows(accuracy), "speed": _rows(speed)}


def _rows(table: Table) -> list[dict[str, Any]]:
    if table.raw is None:
        return []
    headers, rows = table.raw
    return [dict(zip(headers, row, strict=True)) for row in rows]


def _text(table: Table) -> str:
    if not table.rows:
        return f"{table.title}\n{table.caption}"
    grid = tabulate(table.rows, headers=table.headers, tablefmt="simple", disable_numparse=True)
    return f"{table.title}\n{table.caption}\n\n{grid}"


# --- what was asked for ----------------------------------------------------------------------


def _resolved(selection: Selection, names: Sequence[str]) -> list[str]:
    """The variants' own names, each once, in the order given."""
    known = {name.lower(): name for name in selection.variants()}
    if not known:
        raise BenchError("no runs to compare: run some variants first (python -m bench run)")
    found: dict[str, None] = {}
    for name in names:
        if name.lower() not in known:
            near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
            hint = f"did you mean {known[near[0]]}? " if near else ""
            listed = ", ".join(known.values())
            raise BenchError(f"no run of {name!r}: {hint}There are runs of {listed}")
        found[known[name.lower()]] = None
    if len(found) < 2:
        others = [name for name in known.values() if name not in found]
        mend = f"name another ({', '.join(others)})" if others else "run another variant first"
        raise BenchError(f"one run only: {next(iter(found))} has nothing to compare with: {mend}")
    return list(found)


def _baselines(selection: Selection) -> list[tuple[str, str]]:
    listed = matched(selection)
    if listed:
        return listed
    known = selection.variants()
    if len(known) < 2:
        what = f"one run only: {known[0]}" if known else "no runs"
        raise BenchError(f"{what}: run a variant and its baseline (--variants all,baselines)")
    raise BenchError(
        f"no variant here has its baseline beside it: name two to compare ({', '.join(known)})"
    )


def _check_run(selection: Selection, name: str) -> None:
    complete = selection.complete(name)
    if complete and not any(has_accuracy(run) or run.get("timing") for run in complete):
        raise BenchError(
            f"the run of {name} has neither accuracy nor timing: run it again without --no-timing"
        )


def _check_data(pair: Pair) -> None:
    refused = pair.accuracy.refused
    if refused is not None and refused.data:
        raise BenchError(
            f"{pair.variant} and {pair.other} cannot be compared: {refused.reason}: run both with "
            "the same data and --image-size"
        )
