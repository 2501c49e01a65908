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
from bench.report.analysis.selection import Selection, distinct
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

    def tables(self) -> list[Table]:
        """The tables of accuracy and of speed."""
        return tables_of(self.pairs, self.selection, self.title)[1:]


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
        first, *others = _resolved(selection, names)
        # Verdicts are those of all variants together, as in the report, whoever is asked for.
        listed = [(name, first) for name in others]
    else:
        listed = _baselines(selection)
    for name in distinct(name for pair in listed for name in pair):
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
    compared = compare_runs(records, names)
    blocks = ["\n".join(map(sentence, compared.pairs)), *map(_text, compared.tables())]
    return "\n\n".join(blocks) + "\n"


def compare_rows(
    records: Sequence[Record], names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The same unrounded: a row for each pair in ``accuracy``, for each pair and case in ``speed``.

    Args and Raises as :func:`compare_runs`. Differences of accuracy are fractions, ratios of speed
    are the variant's ÷ the other's.
    """
    accuracy, speed = compare_runs(records, names).tables()
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
    variants = {name.lower(): name for name in selection.variants()}
    if not variants:
        raise BenchError("no runs to compare: run some variants first (python -m bench run)")
    for name in names:
        if name.lower() not in variants:
            near = difflib.get_close_matches(name.lower(), list(variants), n=1, cutoff=0.5)
            hint = f"did you mean {variants[near[0]]}? " if near else ""
            listed = ", ".join(variants.values())
            raise BenchError(f"no run of {name!r}: {hint}There are runs of {listed}")
    resolved = distinct(variants[name.lower()] for name in names)
    if len(resolved) < 2:
        others = [name for name in variants.values() if name not in resolved]
        hint = f"name another ({', '.join(others)})" if others else "run another variant first"
        raise BenchError(f"one run only: {resolved[0]} has nothing to compare with: {hint}")
    return resolved


def _baselines(selection: Selection) -> list[tuple[str, str]]:
    listed = matched(selection)
    if listed:
        return listed
    variants = selection.variants()
    if len(variants) < 2:
        what = f"one run only: {variants[0]}" if variants else "no runs"
        raise BenchError(f"{what}: run a variant and its baseline (--variants all,baselines)")
    raise BenchError(
        f"no variant here has its baseline beside it: name two to compare ({', '.join(variants)})"
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
