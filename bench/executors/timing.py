"""A timing session on another machine than the one that started the sweep."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError
from bench.executors.task import ChannelHandler, ProgressChannel, check_versions, load_texts
from bench.runner.preflight import plan_timing, require_modes
from bench.system.console import log_to
from bench.system.paths import scratch_folder
from bench.timing.session import Session, Timed

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Request:
    """What is to be timed.

    Attributes:
        keys: of the variants, in order.
        plugins: file name and text of those that register variants.
        config: the options.
        num_classes: outputs of the models.
        images: for the pipeline clock, under the same paths everywhere.
        cwd: that relative paths are meant from.
        versions: that the machine must have.
    """

    keys: tuple[str, ...]
    plugins: tuple[tuple[str, str], ...]
    config: RunConfig
    num_classes: int
    images: tuple[Path, ...]
    cwd: Path
    versions: Mapping[str, str]


def check_modes(config: RunConfig, where: str) -> None:
    """See that this machine has the packages of what is to be timed.

    Raises:
        BenchError: it does not.
    """
    try:
        require_modes(config)
    except BenchError as error:
        raise BenchError(f"worker {where}: {error}") from error


def time_here(request: Request, board: ProgressChannel) -> Timed:
    """Plan and run a session on this machine, alone on it.

    Args:
        request: what to time.
        board: to whoever started the sweep.

    Raises:
        BenchError: other versions, or a budget that does not hold a single round.
    """
    check_versions(request.versions)
    if request.cwd.is_dir():
        os.chdir(request.cwd)
    with scratch_folder() as scratch, log_to(ChannelHandler(board)):
        plugins = load_texts(request.plugins, scratch)
        chosen = [variants.get(key) for key in request.keys]
        plan = plan_timing(chosen, request.config, request.num_classes)
        logger.info(f"timing: {plan.line()}")
        return Session(
            plan,
            request.config,
            num_classes=request.num_classes,
            plugins=plugins,
            images=request.images,
        ).run()
