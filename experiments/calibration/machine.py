"""A simulated machine: seconds of every process of many timing sessions, with planted nuisances."""

from __future__ import annotations

import attrs
import numpy as np

PROCESS_SD = 0.04
BLOCK_SD = 0.02
BLOCKS = 9


@attrs.frozen
class Scenario:
    """What disturbs the timings; all effects multiply, so they are sums of logarithms.

    Attributes:
        name, meaning: for the table.
        neighbours: correlation of the effects of two processes that run one after the other, AR(1).
        walk: standard deviation of the machine's random walk, for each process that passes.
        wave: amplitude of a sinusoid over time; its period is drawn for each session,
            log-uniform from one round to twice the session, and so is its phase.
        slow_processes, slow_blocks: share of processes, and of blocks, that a burst slows down by
            10 to 60 % (uniform).
        limit: whether it is beyond what the bars are about and only shows where trust ends.
    """

    name: str
    meaning: str
    neighbours: float = 0.0
    walk: float = 0.0
    wave: float = 0.0
    slow_processes: float = 0.0
    slow_blocks: float = 0.0
    limit: bool = False


BURSTS = {"slow_processes": 0.04, "slow_blocks": 0.05}
DRIFT = {"walk": 0.005, "wave": 0.03}
SCENARIOS = (
    Scenario("quiet", "process and block effects only"),
    Scenario("neighbours alike", "AR(1), 0.5 between neighbouring processes", neighbours=0.5),
    Scenario("drift", "random walk 0.5 % a process, sinusoid of 3 %", **DRIFT),
    Scenario("bursts", "4 % of processes and 5 % of blocks slowed by 10–60 %", **BURSTS),
    Scenario(
        "everything",
        "AR(1) 0.5, drift and bursts as above, together",
        neighbours=0.5,
        **DRIFT,
        **BURSTS,
    ),
    Scenario(
        "far beyond",
        "AR(1) 0.7, random walk 1 %, sinusoid of 5 %, 10 % of processes slowed",
        neighbours=0.7,
        walk=0.01,
        wave=0.05,
        slow_processes=0.10,
        slow_blocks=0.05,
        limit=True,
    ),
)


def draw(
    scenario: Scenario, shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sessions of equally fast entries, whose processes take turns block by block in each round.

    Args:
        scenario: what disturbs them.
        shape: sessions, rounds, entries. The order of a round is that of the one before, rotated
            by one place.

    Returns:
        (sessions, rounds, entries, blocks) logarithms of seconds, where 0 is an undisturbed block;
        and (sessions, rounds · entries) the machine's drift at each process.
    """
    sessions, rounds, entries = shape
    slots = rounds * entries
    turns = (sessions, rounds, BLOCKS, entries)
    drift = _drift(scenario, (sessions, slots), entries, rng).reshape(turns)
    logs = drift + _noise(scenario, (sessions, rounds, entries), rng).swapaxes(2, 3)
    places = (np.arange(entries)[None, :] - np.arange(rounds)[:, None]) % entries
    blocks = np.take_along_axis(logs, np.broadcast_to(places[:, None, :], turns), axis=3)
    return blocks.swapaxes(2, 3), drift.mean(axis=2).reshape(sessions, slots)


def _drift(
    scenario: Scenario, shape: tuple[int, int], entries: int, rng: np.random.Generator
) -> np.ndarray:
    """(sessions, blocks in order of time)."""
    sessions, slots = shape
    blocks = slots * BLOCKS
    drift = np.zeros((sessions, blocks))
    if scenario.walk:
        steps = rng.normal(0, scenario.walk / np.sqrt(BLOCKS), drift.shape)
        drift += np.cumsum(steps, axis=1)
    if scenario.wave:
        bounds = np.log(entries), np.log(2 * slots)
        period = np.exp(rng.uniform(*bounds, (sessions, 1)))
        phase = rng.uniform(0, 2 * np.pi, (sessions, 1))
        time = np.arange(blocks) / BLOCKS
        drift += scenario.wave * np.sin(2 * np.pi * time / period + phase)
    return drift


def _noise(scenario: Scenario, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """(sessions, rounds, places, blocks): everything but the drift."""
    sessions, rounds, places = shape
    slots = rounds * places
    fresh = rng.normal(0, PROCESS_SD, (sessions, slots))
    effect = fresh.copy()
    for slot in range(1, slots):
        before = scenario.neighbours * effect[:, slot - 1]
        effect[:, slot] = before + np.sqrt(1 - scenario.neighbours**2) * fresh[:, slot]
    effect += _bursts(scenario.slow_processes, effect.shape, rng)
    blocks = rng.normal(0, BLOCK_SD, (sessions, slots, BLOCKS))
    blocks += _bursts(scenario.slow_blocks, blocks.shape, rng)
    return (blocks + effect[:, :, None]).reshape(*shape, BLOCKS)


def _bursts(share: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    slowed = np.log1p(rng.uniform(0.1, 0.6, shape))
    return np.where(rng.random(shape) < share, slowed, 0.0)


def true_medians(scenario: Scenario, drift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(sessions,) logarithm of the median over all processes that a session could have run.

    A drifting machine has no median of its own. The session's truth is that of the processes that
    might have been started at any of its moments, under the drift that it had: the mixture, over
    these moments, of the drift plus the distribution of process effects, blocks and bursts.
    """
    still = attrs.evolve(scenario, neighbours=0.0)
    noise = np.median(_noise(still, (2000, 1, 10), rng), axis=3).ravel()
    noise = np.quantile(noise, (np.arange(200) + 0.5) / 200)
    parts = np.array_split(drift, max(1, len(drift) // 100))
    return np.concatenate([np.median(part[:, :, None] + noise, axis=(1, 2)) for part in parts])
