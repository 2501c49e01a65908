"""A comparison in one plain sentence, which claims nothing that was not declared."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.pairs import Pair, SpeedPair
from bench.report.timed import CaseKey
from bench.report.values import counted
from bench.stats.pairs import TRAINED
from bench.system.digits import points


def sentence(pair: Pair) -> str:
    """What a variant costs and gains against another, and what could not be seen.

    ``CA against V2-S: costs 4 % speed (CPU, batch 16) and gains nothing measurable on this data
    (23 test images: a difference below 25 points would likely not have been seen).``
    """
    if pair.reason:
        return f"{pair.variant} is not compared with {pair.other}: {pair.reason}."
    clauses = [*_speed_clauses(pair.speeds)]
    accuracy = _accuracy_clause(pair)
    if accuracy:
        clauses.append(accuracy)
    parts = []
    if clauses:
        parts.append(f"{pair.variant} against {pair.other}: {_listed(clauses)}.")
    undecided = [_undecided(speed) for speed in pair.speeds if not speed.declared]
    if undecided:
        parts.append(f"Speed undecided: {'; '.join(undecided)}.")
    if not pair.speeds:
        parts.append("Speed not compared: the two were not timed in one session.")
    if not accuracy:
        parts.append(f"Accuracy not compared: {_refusal(pair)}.")
    text = " ".join(parts)
    return text if clauses else f"{pair.variant} against {pair.other}: {text[0].lower()}{text[1:]}"


def _speed_clauses(speeds: Sequence[SpeedPair]) -> list[str]:
    """Equal verdicts in one clause each: costs, gains, no difference."""
    found: dict[str, list[SpeedPair]] = {}
    for speed in speeds:
        found.setdefault(speed.verdict, []).append(speed)
    clauses = []
    for verdict, verb in (("slower", "costs"), ("faster", "gains")):
        listed = [
            f"{percent(speed)}{' speed' if place == 0 else ''} ({where(speed.case)})"
            for place, speed in enumerate(found.get(verdict, []))
        ]
        if listed:
            clauses.append(f"{verb} {_listed(listed)}")
    ties: dict[str, list[str]] = {}
    for speed in found.get("~ tie", []):
        ties.setdefault(_unseen(speed), []).append(where(speed.case))
    if ties:
        listed = [f"{'; '.join(cases)}{unseen}" for unseen, cases in ties.items()]
        clauses.append(f"shows no measurable difference in speed ({'; '.join(listed)})")
    return clauses


def percent(speed: SpeedPair) -> str:
    """How much slower or faster, as the change of the speed: a ratio of 0.96 is ``4 %``."""
    change = 0.0 if speed.ratio is None else 100 * abs(speed.ratio.ratio - 1)
    return f"{two_digits(change)} %"


def two_digits(number: float) -> str:
    """``4.2``, ``25``, ``130``."""
    return f"{number:.0f}" if number >= 10 else f"{float(f'{number:.2g}'):g}"


def where(case: CaseKey) -> str:
    """``CPU, 2 threads, batch 16, 224 pixels``, with what is not the plain model in float32."""
    parts = [case.where()]
    if case.device == "cpu":
        parts.append(counted(case.threads, "thread"))
    parts += [f"batch {case.batch_size}", f"{case.image_size} pixels"]
    if case.clock == "train":
        parts.append("training step")
    if case.dtype != "float32":
        parts.append(case.dtype)
    return ", ".join(parts)


def _unseen(speed: SpeedPair) -> str:
    visible = speed.smallest_visible
    if visible is None:
        return ""
    return f": a difference below {two_digits(100 * visible)} % would likely not have been seen"


def _undecided(speed: SpeedPair) -> str:
    return f"{where(speed.case)} ({speed.verdict.removeprefix('undecided: ')})"


# --- accuracy --------------------------------------------------------------------------------


def _accuracy_clause(pair: Pair) -> str:
    accuracy, found = pair.accuracy, pair.accuracy.found
    if found is None:
        return ""
    basis = accuracy.images()
    if found.scope == TRAINED:
        basis += ", of these trained models"
    if found.verdict == "tie":
        visible = 100 * found.minimum_detectable
        unseen = (
            "no difference, however large, could have been seen"
            if visible >= 100
            else f"a difference below {two_digits(visible)} points would likely not have been seen"
        )
        return f"gains nothing measurable on this data ({basis}: {unseen})"
    size = f"{two_digits(100 * abs(found.difference))} points of accuracy"
    interval = f"interval {points(100 * found.low)} to {points(100 * found.high)}"
    verb = "gains" if found.verdict == "better" else "loses"
    return f"{verb} {size} ({interval}, {basis})"


def _refusal(pair: Pair) -> str:
    refused = pair.accuracy.refused
    return refused.reason if refused else "no verdict"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
