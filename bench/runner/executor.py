"""The protocol of whoever trains several runs of a sweep, and this machine as one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO

import torch

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.runner.process_pool import Job, train_all
from bench.runner.turns import Outcome
from bench.system.devices import choose_devices
from bench.system.signals import Stopper
from bench.timing.session import Timed


class Executor(Protocol):
    """Trains the runs of a sweep: processes of this machine, Ray, SLURM."""

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        """Return the devices that train at once, one name each.

        Args:
            config: the options.
            device: that ``--device`` means on this machine.

        Raises:
            BenchError: it cannot train what is asked for.
        """

    def train(
        self,
        jobs: Sequence[Job],
        devices: Sequence[str],
        *,
        plugins: Sequence[Path],
        threads: int,
        features: Path,
        features_limit: float,
        stopper: Stopper,
        stream: TextIO,
    ) -> Iterator[tuple[int, Outcome]]:
        """Train jobs as :func:`bench.runner.process_pool.train_all` does."""

    def time(
        self,
        chosen: Sequence[variants.Variant],
        config: RunConfig,
        num_classes: int,
        *,
        plugins: Sequence[Path],
        images: Sequence[Path],
        stream: TextIO,
        stopper: Stopper,
    ) -> Timed:
        """Run the timing session on the machine that ``--timing-on`` names.

        Raises:
            BenchError: there is none, or it cannot time.
            StoppedError: the stopper said so.
        """


class LocalExecutor:
    """Processes of this machine, one for each device."""

    def preflight(self, config: RunConfig, device: torch.device) -> list[str]:
        return choose_devices(config.devices, device)

    train = staticmethod(train_all)

    def time(self, *_: object, **__: object) -> Timed:
        raise BenchError("--timing-on needs --executor ray")
