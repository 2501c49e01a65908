"""What all variants of a sweep share at one seed and fold, on every process of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

import variants
from bench.config.options import RunConfig
from bench.config.presets import Resolved
from bench.data.cache import DecodedImages
from bench.data.parts import DataSplits, find_data_set, find_parts
from bench.system.signals import StopRequest
from bench.system.stage_timer import StageTimer
from bench.timing.estimate import StepRates
from bench.timing.session import Timed
from bench.timing.tuning import Choice
from bench.train.accumulate import Accumulation
from bench.train.distributed import ProcessGroup
from bench.train.feature_store import FeatureStore


def nothing(*values: object) -> None:
    """Who is told does nothing."""


@attrs.frozen(kw_only=True)
class Sweep:
    """What all variants of a sweep share at one seed and fold.

    Attributes:
        run: seed, fold and images.
        data: the ``data`` of the record.
        images: their pixels.
        timed: the timing session of the sweep, or none.
        rates: speeds of the variants' steps, as far as they are known.
        tuned: how variants are trained, where a measurement has chosen it.
        features: what a frozen backbone computed for other variants, or none.
        needed_later: variants after which others of the same backbone come.
        expected_s: what the run at hand was expected to take, in seconds.
        later_s: what the runs after it are expected to take.
        costs: where the seconds of the run at hand go.
        stopper: says whether to stop before the end.
        accumulation: divides batches that do not fit in memory, the same for all.
        team: the processes that train each model together.
        beside: other trainings of the sweep that may run on the same machine at the same time.
        on_folder: called with the variant's name and the folder of its run, once it has one.
    """

    id: str
    command: str
    resolved: Resolved
    device: torch.device
    run: Run
    data: dict[str, Any]
    images: DecodedImages
    timed: Timed | None
    rates: Mapping[str, StepRates] = attrs.field(factory=dict)
    tuned: Mapping[str, Choice] = attrs.field(factory=dict)
    features: FeatureStore | None = None
    needed_later: frozenset[str] = frozenset()
    expected_s: float = 0.0
    later_s: float = 0.0
    costs: StageTimer = attrs.field(factory=StageTimer)
    stopper: StopRequest = attrs.field(factory=StopRequest)
    accumulation: Accumulation = attrs.field(factory=Accumulation)
    team: ProcessGroup = attrs.field(factory=ProcessGroup)
    beside: int = 0
    on_folder: Callable[[str, Path], object] = nothing

    def plain(self) -> Sweep:
        """As it can be told to another process, on another machine too."""
        return attrs.evolve(
            self,
            timed=None,
            features=None,
            stopper=StopRequest(),
            costs=StageTimer(),
            accumulation=Accumulation(parts=self.accumulation.parts),
            team=ProcessGroup(),
            on_folder=nothing,
        )

    @property
    def config(self) -> RunConfig:
        """The options, with this run's seed."""
        return attrs.evolve(self.resolved.config, seed=self.run.seed)

    @property
    def parts(self) -> DataSplits:
        """The images of this run."""
        return self.run.parts


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
    parts: DataSplits


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


@attrs.frozen
class TrainCommand:
    """A run to train along.

    Attributes:
        sweep: without what belongs to the leader's process.
        variant: key of what is trained.
        before: what was chosen when the training began that now goes on; none: it begins.
    """

    sweep: Sweep
    variant: str
    before: Mapping[str, Any] | None

    @classmethod
    def of(
        cls, sweep: Sweep, variant: variants.Variant, before: Mapping[str, Any] | None
    ) -> TrainCommand:
        """As it can be told to another process, on another machine too."""
        return cls(sweep.plain(), variant.key, before)


@attrs.frozen
class Ended:
    """There is nothing more to train along.

    Attributes:
        code: the leader's exit code.
    """

    code: int
