"""How many rounds of timing a time budget holds, and what so many rounds can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import psutil

from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.stats.timing import FEWEST_ROUNDS
from bench.system.environment import usable_cores
from bench.timing.cases import CHANNELS_LAST, CONTIGUOUS, Case
from bench.timing.timer import BLOCK_S, WARMUP_S, WARMUP_STEPS, planned_blocks

MOST_STARTING = 4
# A training step of EfficientNetV2-S at batch 16 and 224 pixels, with what PyTorch itself takes.
PROCESS_BYTES = 3e9
PROCESS_START_S = 8.0
TYPICAL_SPREAD = 0.04
UNKNOWN_RATE = (0.5, 0.1)
# Seconds before a mode can be timed, the mean of ten rounds: only the first compiles and exports.
PREPARATION_S = {"compiled": 20.0, "onnxruntime": 3.0, "onnxruntime-int8": 6.0, "openvino": 3.0}

Rate = tuple[float, float]


def most_together(cases: Sequence[Case]) -> int:
    """How many timing processes live at once, one of them running: as many as memory holds."""
    if any(case.device == "cuda" for case in cases):
        return _starting()
    return max(1, int(psutil.virtual_memory().available / PROCESS_BYTES))


def _starting() -> int:
    """How many processes start at once."""
    return max(1, min(usable_cores(), MOST_STARTING))


@attrs.frozen(kw_only=True)
class Plan:
    """What a session will do.

    Attributes:
        names: variants, in order.
        baseline: the one that the others are related to and that runs twice.
        cases: what is timed of each.
        rounds: how many are planned.
        round_s: seconds that one round is expected to take.
        budget_s: seconds that the session may take, or none.
        notes: what people should know, one line each.
        keys: what finds the very version of a name; where it has none, the name does.
    """

    names: tuple[str, ...]
    baseline: str
    cases: tuple[Case, ...]
    rounds: int
    round_s: float
    budget_s: float | None
    notes: tuple[str, ...]
    keys: Mapping[str, str] = attrs.field(factory=dict)

    def key_of(self, name: str) -> str:
        """What the process that times a variant finds it by."""
        return self.keys.get(name, name)

    @property
    def seconds(self) -> float:
        """How long the session is expected to take."""
        return self.rounds * self.round_s

    def line(self) -> str:
        """The plan in a line, for people."""
        return (
            f"{self.rounds} round{'s' if self.rounds > 1 else ''} of {len(self.names) + 1} "
            f"processes (the baseline {self.baseline} twice), {len(self.cases)} settings each, "
            f"about {written_duration(self.seconds)}"
        )


def plan_session(
    names: Sequence[str],
    baseline: str,
    cases: Sequence[Case],
    config: RunConfig,
    rates: Mapping[str, Mapping[str, Rate]],
) -> Plan:
    """As many of the config's rounds as its time budget holds.

    Args:
        names: the variants.
        baseline: one of them.
        cases: what is timed.
        config: rounds, time budget, image size.
        rates: by device and variant, seconds for one image in a training step and in a forward
            pass at the run's image size with all threads, as far as they are known.

    Raises:
        BenchError: the budget does not hold a single round.
    """
    ready_at_once = _starting()
    entries = [*names, baseline]
    slowest = {device: max(known.values(), default=UNKNOWN_RATE) for device, known in rates.items()}

    def rate(name: str, case: Case) -> Rate:
        return rates[case.device].get(name, slowest[case.device])

    round_s = sum(
        PROCESS_START_S / ready_at_once
        + sum(_case_seconds(case, config, rate(name, case)) for case in cases)
        for name in entries
    )
    rounds = _rounds_within(config, round_s, len(entries))
    notes = []
    if rounds < config.rounds:
        notes.append(
            f"the time budget holds {rounds} of {config.rounds} rounds; "
            f"{config.rounds} take about {written_duration(config.rounds * round_s)}"
        )
    timed = {case.mode for case in cases}
    notes += [
        f"mode {mode} is not timed: eager has that memory format"
        for mode in (CHANNELS_LAST, CONTIGUOUS)
        if mode in config.mode_names and mode not in timed
    ]
    notes.append(precision(rounds))
    return Plan(
        names=tuple(names),
        baseline=baseline,
        cases=tuple(cases),
        rounds=rounds,
        round_s=round_s,
        budget_s=config.time_budget,
        notes=tuple(notes),
    )


def _rounds_within(config: RunConfig, round_s: float, processes: int) -> int:
    """Return how many of the config's rounds its time budget holds."""
    budget = config.time_budget
    if budget is None:
        return config.rounds
    if round_s > budget:
        raise BenchError(
            f"--time-budget {written_duration(budget)} is too small for a single round of "
            f"{processes} processes, which takes about {written_duration(round_s)}: give "
            f"--time-budget {written_duration(1.2 * round_s)} or more (about "
            f"{written_duration(FEWEST_ROUNDS * 1.1 * round_s)} for intervals), or fewer "
            "--variants or --clocks"
        )
    return min(config.rounds, int(budget / round_s))


def precision(rounds: int) -> str:
    """Return what so many rounds can tell, at a spread of 4 % between processes."""
    if rounds < FEWEST_ROUNDS:
        return f"below {FEWEST_ROUNDS} rounds no interval is printed and nothing is called faster"
    from scipy import stats

    # A ratio has the spread of two processes.
    error = TYPICAL_SPREAD * (2 / rounds) ** 0.5
    half = 100 * stats.t.ppf(0.975, rounds - 1) * error
    return (
        f"{rounds} rounds give ratios within about ±{half:.1f} % where processes differ by "
        f"{100 * TYPICAL_SPREAD:.0f} %"
    )


def _case_seconds(case: Case, config: RunConfig, known: Rate) -> float:
    train_s, forward_s = known
    step = (train_s if case.clock == "train" else forward_s) * case.batch_size
    step *= (case.image_size / config.image_size) ** 2
    if case.device == "cpu" and case.threads == 1:
        step *= config.threads or usable_cores()
    if case.clock == "pipeline":
        step += 0.01 * case.batch_size / max(1, case.threads)
    warm = max(WARMUP_STEPS[case.device] * step, WARMUP_S[case.device])
    block = max(BLOCK_S, step)
    return PREPARATION_S.get(case.mode, 0.0) + warm + planned_blocks(block) * block


def written_duration(seconds: float) -> str:
    """``85s``, ``12m``, ``1.5h``: rounded up, as ``--time-budget`` takes it."""
    if seconds < 100:
        return f"{math.ceil(seconds)}s"
    if seconds < 100 * 60:
        return f"{math.ceil(seconds / 60)}m"
    return f"{seconds / 3600:.1f}h"
