"""What every process of a team but the first does: train along, until the leader has ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import torch

import variants
from bench import build
from bench.along import Along, Ended
from bench.data.parts import decode_images
from bench.errors import BenchError
from bench.failures import explain
from bench.measure.environment import usable_cores
from bench.measure.memory import keep_freed_memory
from bench.scratch import scratch_folder
from bench.setup import set_up
from bench.single import fit_and_test
from bench.stopping import SignalError, StoppedError, Stopper
from bench.train.engine import DivergedError
from bench.train.progress import Progress
from bench.train.team import Team, TeamError, join


def follow(team: Team, stopper: Stopper, plugins: Sequence[Path]) -> int:
    """Train along; the exit code, as the leader has it.

    Args:
        team: of this process.
        stopper: takes this process' signals.
        plugins: files that register variants.

    Raises:
        TeamError: this process or another one has failed alone.
    """
    keep_freed_memory()
    build.load_plugins(list(plugins))
    with scratch_folder() as folder:
        while True:
            told = team.tell(None)
            if isinstance(told, Ended):
                return told.code
            try:
                with stopper.holding():
                    _train(team, told, stopper, folder)
            except (StoppedError, DivergedError):
                continue  # as the leader, who says what comes next
            except Exception as error:
                cause = team.cause(error)
                if isinstance(cause, TeamError):
                    raise cause from error
                raise TeamError(
                    f"process {team.rank}: {type(error).__name__}: {explain(error)}"
                ) from error


def _train(team: Team, told: Along, stopper: Stopper, folder: Path) -> None:
    sweep = told.sweep
    torch.set_num_threads(sweep.config.threads or max(1, usable_cores() // team.local_size))
    parts = sweep.parts
    images = decode_images(parts.index, parts.positions(), sweep.config, workers=usable_cores())
    with open(os.devnull, "w") as nowhere:
        here = attrs.evolve(
            sweep, device=team.device, images=images, stream=nowhere, stopper=stopper, team=team
        )
        variant = variants.get(told.variant)
        model, _ = build.build(variant, parts.num_classes, here.config)
        normalisation = build.normalisation(model)
        setup = set_up(here, variant, model, normalisation, [], before=told.before)
        fit_and_test(
            here,
            model,
            setup,
            Progress(told.variant, here.config.epochs, nowhere),
            folder,
            about={},
            recipe={},
        )


def run_together(lead: Callable[[Team], int], asked_device: str, plugins: Sequence[Path]) -> int:
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
    team = join(asked_device)
    try:
        if team.leads:
            return _lead(lead, team)
        stopper = Stopper()
        with stopper.listening():
            code = follow(team, stopper, plugins)
        team.leave()
        return code
    except TeamError as error:
        team.leave(str(error))
        print(f"error: {error}: what is finished is kept", file=sys.stderr, flush=True)
        return 1
    except SignalError as signal:
        return 128 + signal.number


def _lead(lead: Callable[[Team], int], team: Team) -> int:
    """Whatever ends this process must end the others, who wait for it."""
    code: int | None = 1
    try:
        code = lead(team)
    except BenchError:
        code = 2
        raise
    except TeamError:
        code = None
        raise
    finally:
        if code is not None:
            with contextlib.suppress(Exception):
                team.tell(Ended(code))
            team.leave()
    assert code is not None
    return code
