"""What every process of a team but the first does: train along, until the leader has ended."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.data.cache import DecodedImages
from bench.data.parts import decode_images
from bench.errors import BenchError
from bench.models import build
from bench.runner.context import ProcessContext, RunSpec, ShutdownCommand, TrainCommand
from bench.runner.record import explain
from bench.runner.run import fit_and_test
from bench.runner.setup import set_up
from bench.system.console import log_to
from bench.system.environment import usable_cores
from bench.system.memory import keep_freed_memory
from bench.system.paths import scratch_folder
from bench.system.progress import Progress
from bench.system.signals import SignalError, StopRequest, TrainingInterrupted
from bench.train.accumulate import Accumulation
from bench.train.distributed import PeerLost, ProcessGroup, ProcessGroupError, join
from bench.train.loop import DivergedError


def follow(team: ProcessGroup, stopper: StopRequest, plugins: Sequence[Path]) -> int:
    """Train along; the exit code, as the leader has it.

    Args:
        team: of this process.
        stopper: takes this process' signals.
        plugins: files that register variants.

    Raises:
        ProcessGroupError: this process or another one has failed alone.
    """
    keep_freed_memory()
    with scratch_folder() as folder, stopper.holding():
        try:
            build.load_plugins(list(plugins))
            follower = _Follower(team, stopper, folder)
            while not isinstance(command := team.tell(None), ShutdownCommand):
                # As the leader, who says what comes next.
                with contextlib.suppress(TrainingInterrupted, DivergedError):
                    follower.train(command)
            return command.code
        except Exception as error:
            cause = team.cause(error)
            if isinstance(cause, ProcessGroupError):
                raise cause from error
            text = f"process {team.rank}: {type(error).__name__}: {explain(error)}"
            # A signal to all ends those that load images first; the leader has its own.
            raise (PeerLost if stopper.number else ProcessGroupError)(text) from error


class _Follower:
    """Trains along with the leader.

    Args:
        team: of this process.
        stopper: takes this process' signals.
        folder: for what a training leaves, which nobody reads.
    """

    def __init__(self, team: ProcessGroup, stopper: StopRequest, folder: Path) -> None:
        self.team, self.stopper, self.folder = team, stopper, folder
        self._images: tuple[Any, DecodedImages] | None = None

    def train(self, command: TrainCommand) -> None:
        """Train one run."""
        spec, team = command.spec, self.team
        config, variant = spec.config, spec.variant
        torch.set_num_threads(config.threads or max(1, usable_cores() // team.local_size))
        process = ProcessContext(
            device=team.device,
            images=self._decoded(spec),
            stopper=self.stopper,
            accumulation=Accumulation(command.accumulation_parts),
            team=team,
        )
        model, _ = build.build(variant, spec.parts.num_classes, config)
        normalisation = build.normalisation(model)
        setup = set_up(spec, process, model, normalisation, [], before=command.before)
        progress = Progress(variant.name, config.epochs)
        fit_and_test(spec, process, model, setup, progress, self.folder, about={}, recipe={})

    def _decoded(self, spec: RunSpec) -> DecodedImages:
        """This machine's pixels of a run's images, the same object for all runs that have them."""
        index, positions = spec.parts.index, sorted(spec.parts.positions())
        key = index.fingerprint, tuple(positions)
        if self._images is None or self._images[0] != key:
            images = decode_images(index, positions, spec.config, workers=usable_cores())
            self._images = key, images
        return self._images[1]


def run_together(
    lead: Callable[[ProcessGroup], int], asked_device: str, plugins: Sequence[Path]
) -> int:
    """Lead the other processes that torchrun has started, or follow the one that does.

    Args:
        lead: what the first process does with its team; its exit code.
        asked_device: ``auto``, ``cpu`` or ``cuda``.
        plugins: files that register variants.

    Returns:
        The exit code, the same in all processes; 1 where one of them has failed alone.

    Raises:
        BenchError: they cannot come together.
    """
    try:
        team = join(asked_device)
    except BenchError as error:
        if os.environ.get("RANK") == "0":
            raise
        # It may be of this machine alone.
        print(f"error: process {os.environ['RANK']}: {error}", file=sys.stderr)
        return 2
    try:
        if team.leads:
            return _lead(lead, team)
        stopper = StopRequest()
        # The leader shows what all do.
        with stopper.listening(), log_to(logging.NullHandler()):
            code = follow(team, stopper, plugins)
        team.leave()
        return code
    except ProcessGroupError as error:
        # Who has only lost the others leaves the word to the one that knows why.
        team.leave(None if isinstance(error, PeerLost) else str(error), broken=True)
        print(f"error: {error}: what is finished is kept", file=sys.stderr, flush=True)
        if team.device.type == "cuda":
            # Kernels that wait for other processes keep this one from ending.
            sys.stdout.flush()
            os._exit(1)
        return 1
    except SignalError as signal:
        return 128 + signal.number


def _lead(lead: Callable[[ProcessGroup], int], team: ProcessGroup) -> int:
    """Whatever ends this process must end the others, who wait for it."""
    code: int | None = 1
    try:
        code = lead(team)
    except BenchError:
        code = 2
        raise
    except ProcessGroupError:
        code = None
        raise
    finally:
        if code is not None:
            with contextlib.suppress(Exception):
                team.tell(ShutdownCommand(code))
            team.leave()
    assert code is not None
    return code
