"""What the runs of a sweep work with, by lifetime: the sweep, a process, a seed and fold, a run."""

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
from bench.runner.record import new_record
from bench.system.signals import StopRequest
from bench.system.stage_timer import StageTimer
from bench.timing.estimate import StepRates
from bench.timing.session import Timed
from bench.timing.tuning import Choice
from bench.train.accumulate import Accumulation, shared_file
from bench.train.distributed import ProcessGroup
from bench.train.feature_store import FeatureStore

# Folder and record of a run.
Outcome = tuple[Path, dict[str, Any]]


@attrs.frozen(kw_only=True)
class SweepContext:
    """What all runs of a sweep share, in every process and on every machine.

    Attributes:
        device: of the process that started the sweep.
        timed: the timing session of the sweep, or none.
        rates: speeds of the variants' steps, as far as they are known.
        tuned: how variants are trained, where a measurement has chosen it.
        accumulation_parts: into how many parts a batch is divided at first.
        concurrent_runs: other trainings of the sweep that may run on the same machine meanwhile.
    """

    id: str
    command: str
    resolved: Resolved
    device: torch.device
    timed: Timed | None = None
    rates: Mapping[str, StepRates] = attrs.field(factory=dict)
    tuned: Mapping[str, Choice] = attrs.field(factory=dict)
    accumulation_parts: int = 1
    concurrent_runs: int = 0

    @property
    def config(self) -> RunConfig:
        """The options."""
        return self.resolved.config

    def accumulation(self) -> Accumulation:
        """Return the division of batches for the runs of one process."""
        shared = shared_file(self.config.results_dir, self.id)
        return Accumulation(self.accumulation_parts, shared=shared)


@attrs.frozen(kw_only=True)
class ProcessContext:
    """What the runs of one process share.

    Attributes:
        device: that it trains on.
        images: pixels of all runs.
        stopper: says whether to stop before the end.
        features: what a frozen backbone computed for other variants, or none.
        accumulation: divides batches that do not fit in memory, the same for all.
        team: the processes that train each model together.
        on_folder: called with the variant's name and the folder of its run, once it has one.
    """

    device: torch.device
    images: DecodedImages
    stopper: StopRequest = attrs.field(factory=StopRequest)
    features: FeatureStore | None = None
    accumulation: Accumulation = attrs.field(factory=Accumulation)
    team: ProcessGroup = attrs.field(factory=ProcessGroup)
    on_folder: Callable[[str, Path], object] = lambda variant, folder: None


@attrs.frozen
class Run:
    """What tells the runs of one variant apart.

    Attributes:
        seed: of split, weights, order and augmentation.
        fold: its number from 0, or none.
        parts: its images.
        data: the ``data`` of the record, once the images are decoded.
    """

    seed: int
    fold: int | None
    parts: DataSplits
    data: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RunSpec:
    """A run that is to be trained.

    Attributes:
        sweep: what it shares with all others.
        run: seed, fold and images.
        key: of what is trained; plugins' functions cannot go to other processes.
        label: tells it apart from other runs of the variant, for people.
        epoch_s: how long its first epoch is expected to take.
        expected_s: how long all of it is.
        later_s: how long the runs after it are.
        keep_features: whether later runs read what its frozen backbone computes.
        begun: folder and record of the run where it was broken off.
        ended: the same where it has ended already.
        costs: where its seconds go.
    """

    sweep: SweepContext
    run: Run
    key: str
    label: str = ""
    epoch_s: float = 0.0
    expected_s: float = 0.0
    later_s: float = 0.0
    keep_features: bool = False
    begun: Outcome | None = None
    ended: Outcome | None = None
    costs: StageTimer = attrs.field(factory=StageTimer)

    @property
    def variant(self) -> variants.Variant:
        """What is trained."""
        return variants.get(self.key)

    @property
    def config(self) -> RunConfig:
        """The options, with this run's seed."""
        return attrs.evolve(self.sweep.config, seed=self.run.seed)

    @property
    def parts(self) -> DataSplits:
        """The images of this run."""
        return self.run.parts

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Equal for variants whose frozen backbones can have the same features."""
        return self.variant.backbone, self.variant.weights_tag

    def new_record(self, device: torch.device) -> dict[str, Any]:
        """Return a record of this run that has not done anything yet."""
        sweep, resolved = self.sweep, self.sweep.resolved
        return new_record(
            self.variant,
            self.config,
            sweep={"id": sweep.id, "command": sweep.command, "preset": resolved.preset},
            sources=resolved.sources,
            data=self.run.data,
            device=device,
        )


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
    """A run that the other processes of a team are to train along.

    Attributes:
        spec: of the run.
        accumulation_parts: into how many parts its batches are divided by now.
        before: what was chosen when the training began that now goes on; none: it begins.
    """

    spec: RunSpec
    accumulation_parts: int
    before: Mapping[str, Any] | None


@attrs.frozen
class ShutdownCommand:
    """There is nothing more to train along.

    Attributes:
        code: the leader's exit code.
    """

    code: int
