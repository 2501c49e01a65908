"""Real timing sessions, and what their rounds say, by the functions that decide in a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.config.options import build
from bench.stats.timing import Ratio, compare_speeds, judge_ratios, noise_floor
from bench.timing.cases import Case
from bench.timing.planner import plan_session
from bench.timing.session import CONTROL, Session, Timed

# Of the planted models; the slower one has the extra blocks too.
BLOCKS, EXTRA_BLOCKS = 20, 2

Pair = tuple[str, str]
# Seconds of each block, by entry and number of the round; in a record the numbers are text.
Seconds = Mapping[str, Mapping[Any, Sequence[float]]]


def model_case(regime: str, image_size: int, batch_size: int, threads: int) -> Case:
    """A model alone on the CPU."""
    return Case(
        device="cpu",
        clock="model",
        regime=regime,
        image_size=image_size,
        batch_size=batch_size,
        threads=threads,
    )


def run_session(
    names: Sequence[str],
    baseline: str,
    cases: Sequence[Case],
    values: Mapping[str, Any],
    **how: Any,
) -> tuple[Timed, dict[str, list[dict[str, Any]]]]:
    """Run one of the harness' own sessions.

    Args:
        names: variants.
        baseline: which of them is timed twice.
        cases: what is timed.
        values: options by name.
        how: ``plugins`` of the session.

    Returns:
        The session, and the entries of the variants and of the baseline's second name (A/A).
    """
    config = build(values)
    plan = plan_session(names, baseline, cases, config, {"cpu": {}})
    timed = Session(plan, config, num_classes=10, images=[], **how).run()
    return timed, {**timed.timing, baseline + CONTROL: timed.record["control"]["timing"]}


def blocks_of(entry: Mapping[str, Any]) -> dict[int, list[float]]:
    """Seconds of each block of an entry, by round."""
    return {each["round"]: each["block_seconds"] for each in entry["rounds"]}


def compare(seconds: Seconds, variant: str, baseline: str) -> Ratio | None:
    """Speed of one entry ÷ speed of another."""
    rounds = (
        {int(number): blocks for number, blocks in seconds[name].items()}
        for name in (variant, baseline)
    )
    return compare_speeds(*rounds)


def judge(
    seconds: Seconds, baseline: str, pairs: Iterable[Pair], control: str = ""
) -> tuple[dict[Pair, str], dict[Pair, Ratio | None], float | None]:
    """Compare pairs of entries of a session, the first with the second of each.

    Args:
        seconds: of the session.
        baseline: which was timed twice.
        pairs: names.
        control: the baseline's second name.

    Returns:
        ``faster``, ``slower``, ``tie`` or ``undecided`` of each pair; the ratios; the noise floor.
    """
    floor = noise_floor(compare(seconds, control or baseline + CONTROL, baseline))
    ratios = {pair: compare(seconds, *pair) for pair in pairs}
    family = judge_ratios(ratios, lambda pair: floor)
    verdicts = {pair: family.verdict(*pair) for pair in ratios}
    return verdicts, ratios, floor
