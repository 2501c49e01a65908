"""The tables of pairs: in words, accuracy and size, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bench.report.analysis.matching import ranking_of
from bench.report.analysis.pairs import Pair, SpeedPair, compare_pairs, matched, sentence
from bench.report.analysis.ranking import verdict_note
from bench.report.analysis.selection import Selection, caption, distinct
from bench.report.analysis.speeds import sessions_of
from bench.report.analysis.timings import RATIO_NOTE, percent_text, ratio_text
from bench.report.chapters.speed import machine
from bench.report.render.markdown import Table
from bench.stats.multiple import ALPHA
from bench.stats.pairs import PairVerdict
from bench.stats.timing import LEAST_DIFFERENCE, Ratio
from bench.system.digits import apart, points

WORDS = ["Variant", "Against", "In words"]
ACCURACY = [
    "Variant", "Against", "Δ accuracy (points), interval", "p, adjusted", "Verdict", "About",
    "Images", "Right only in the variant", "Right only in the other",
    "Minimum detectable (points)", "Δ params", "Δ GMACs at 224",
]  # fmt: skip
SPEED = [
    "Variant", "Against", "Case", "Speed ratio, interval", "Rounds", "Verdict",
    "Smallest visible (%)",
]  # fmt: skip


def pair_tables(selection: Selection) -> list[Table]:
    """Each variant against its matched baseline, where the report has both."""
    return tables_of(compare_pairs(selection, matched(selection)), selection)


def tables_of(
    pairs: Sequence[Pair], selection: Selection, title: str = "Each variant against its baseline"
) -> list[Table]:
    """What pairs are in words, in accuracy and size, and in speed.

    Args:
        title: first words of the tables' titles.
    """
    note = selection.data_note()
    return [
        Table(
            "pairs",
            f"{title}: in words",
            caption(note, "Only what was declared is claimed; the figures follow."),
            WORDS,
            [[pair.variant, pair.other, sentence(pair)] for pair in pairs],
            csv=bool(pairs),
        ),
        _accuracy_table(pairs, selection, title),
        _speed_table(pairs, selection, title),
    ]


# --- accuracy and size -----------------------------------------------------------------------


def _table(
    table_id: str,
    title: str,
    text: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    raw: Sequence[Mapping[str, Any]],
) -> Table:
    columns = (list(raw[0]), [list(row.values()) for row in raw]) if raw else None
    return Table(table_id, title, text, headers, rows, columns, csv=bool(rows))


def _accuracy_table(pairs: Sequence[Pair], selection: Selection, title: str) -> Table:
    judged = distinct(
        ranking_of(selection, pair.variant, pair.other) for pair in pairs if pair.accuracy.found
    )
    notes = distinct(text for pair in pairs for text in pair.accuracy.notes)
    text = caption(
        selection.data_note(),
        f"{verdict_note(judged)} Below {ALPHA:g} the difference is declared, else "
        "~ tie. Minimum detectable: the difference that would be declared with a probability of "
        "80 %. Right only in one of the two: counted over all seeds, an image once for each "
        "of them."
        if judged
        else "",
        "Parameters: with the head of the run's classes. GMACs: fvcore counts one multiply-add as "
        "one.",
        f"Runs: {'; '.join(notes)}." if notes else "",
    )
    rows, raw = map(accuracy_row, pairs), list(map(_raw_accuracy, pairs))
    title = f"{title}: accuracy, size, work"
    return _table("pairs-accuracy", title, text, ACCURACY, list(rows), raw)


def _reason(pair: Pair) -> str:
    refused = pair.accuracy.refused
    return pair.reason or (refused.reason if refused else "")


def accuracy_row(pair: Pair) -> list[str]:
    """Cells for :data:`ACCURACY`."""
    accuracy, tested = pair.accuracy, pair.accuracy.found
    if pair.reason or tested is None:
        cells = [f"n/a ({_reason(pair)})", "n/a", "not compared", *["n/a"] * 5]
    else:
        cells = [
            difference_text(tested),
            p_text(tested.p_value),
            word(tested.verdict),
            tested.scope,
            accuracy.images(),
            str(tested.only_variant),
            str(tested.only_other),
            apart(100 * tested.minimum_detectable, 1, 0.0),
        ]
    return [
        pair.variant,
        pair.other,
        *cells,
        pair.parameters.text(0) if pair.parameters else "n/a",
        pair.gmacs.text(4) if pair.gmacs else "n/a",
    ]


def difference_text(found: PairVerdict) -> str:
    """``+3.0 [+0.4 to +5.6]``, in points."""
    return points_text(found.difference, (found.low, found.high))


def points_text(difference: float, bounds: tuple[float, float]) -> str:
    """``+3.0 [+0.4 to +5.6]``, in points."""
    low, high = (points(100 * bound) for bound in bounds)
    return f"{points(100 * difference)} [{low} to {high}]"


def word(verdict: str) -> str:
    """``better``, ``worse``, ``~ tie``."""
    return "~ tie" if verdict == "tie" else verdict


def p_text(p_value: float) -> str:
    """``0.034``, ``below 0.001``; never rounded onto the level that verdicts depend on."""
    return "below 0.001" if p_value < 0.001 else apart(p_value, 3, ALPHA)


def _raw_accuracy(pair: Pair) -> dict[str, Any]:
    accuracy = pair.accuracy
    tested = None if pair.reason else accuracy.found
    keys = [field.name for field in attrs.fields(PairVerdict) if field.name != "seeds"]
    return {
        "variant": pair.variant,
        "other": pair.other,
        "part": accuracy.part or None,
        "reason": _reason(pair) or None,
        **{key: getattr(tested, key, None) for key in keys},
        "verdict": tested.verdict if tested else "not compared",
        "seeds": len(accuracy.seeds) if tested else None,
        "parameters_difference": pair.parameters and pair.parameters.difference,
        "gmacs_224_difference": pair.gmacs and pair.gmacs.difference,
        "sentence": sentence(pair),
    }


# --- speed -----------------------------------------------------------------------------------


def _speed_table(pairs: Sequence[Pair], selection: Selection, title: str) -> Table:
    listed = [(pair, speed) for pair in pairs for speed in pair.speeds]
    used = distinct(speed.session for _, speed in listed)
    machines = distinct(
        machine(session) for session in sessions_of(selection) if session.id in used
    )
    families = sorted({speed.comparisons for _, speed in listed})
    text = caption(
        f"Machine: {'; '.join(machines)}." if machines else "",
        "Ratio: speed of the variant ÷ speed of the other in the same round; above 1 the variant "
        f"is faster. {RATIO_NOTE}",
        "Verdicts are those of the session: corrected after Holm for all comparisons of the case "
        f"({', '.join(map(str, families))}), each interval at the level of that test; a difference "
        f"must be above {100 * LEAST_DIFFERENCE:g} % and the noise floor. Smallest visible: the "
        "difference that so many rounds of this spread show with a probability of 80 % at that "
        "level, never below the noise floor."
        if families
        else "No two of these were timed in one session.",
    )
    rows = [_speed_row(pair, speed) for pair, speed in listed]
    raw = [_raw_speed(pair, speed) for pair, speed in listed]
    return _table("pairs-speed", f"{title}: speed", text, SPEED, rows, raw)


def _speed_row(pair: Pair, speed: SpeedPair) -> list[str]:
    """Cells for :data:`SPEED`."""
    visible = speed.minimum_detectable_difference
    return [
        pair.variant,
        pair.other,
        speed.case.label(),
        ratio_text(speed.ratio),
        str(speed.ratio.rounds if speed.ratio else 0),
        speed.verdict,
        "n/a" if visible is None else percent_text(visible),
    ]


def _raw_speed(pair: Pair, speed: SpeedPair) -> dict[str, Any]:
    internal = ("error", "freedom", "verdict")
    keys = [field.name for field in attrs.fields(Ratio) if field.name not in internal]
    return {
        "session": speed.session,
        "variant": pair.variant,
        "other": pair.other,
        **attrs.asdict(speed.case),
        **{key: getattr(speed.ratio, key, None) for key in keys},
        "noise_floor": speed.floor,
        "verdict": speed.verdict,
        "comparisons": speed.comparisons,
    }
