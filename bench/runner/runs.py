"""The runs of a variant: one for each seed and fold, the same images for all variants."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from bench.config.options import RunConfig
from bench.data.parts import Parts, find_data_set, find_parts


@attrs.frozen
class Run:
    """What tells the runs of one variant apart.

    Attributes:
        seed: of split, weights, order and augmentation.
        fold: its number from 0, or none.
        parts: its images.
    """

    seed: int
    fold: int | None
    parts: Parts


def find_runs(config: RunConfig) -> list[Run]:
    """The images of every seed and fold, in order: the same for all variants.

    Raises:
        BenchError: as :func:`bench.data.parts.find_parts`.
    """
    data = find_data_set(config)
    return [
        Run(seed, fold, find_parts(config, data=data, seed=seed, fold=fold))
        for seed in range(config.seed, config.seed + config.seeds)
        for fold in (range(config.folds) if config.folds else [None])
    ]


def all_positions(runs: Sequence[Run]) -> list[int]:
    """Every position that one of the runs uses."""
    return sorted({position for run in runs for position in run.parts.positions()})
