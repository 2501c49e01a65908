"""The timing session of a sweep: here, or where ``--timing-on`` says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import attrs

import variants
from bench.config.options import RunConfig
from bench.data.cache import DecodedImages
from bench.data.sources.prefixes import absolute
from bench.runner.manifest import Manifest
from bench.runner.preflight import PreflightResult
from bench.runner.record import keep_session, load_session
from bench.system.signals import StopRequest
from bench.timing.session import Session, Timed

logger = logging.getLogger(__name__)

MOST_PIPELINE_IMAGES = 64


def time_stage(
    chosen: Sequence[variants.Variant],
    checked: PreflightResult,
    config: RunConfig,
    images: DecodedImages,
    plugins: list[Path],
    journal: Manifest,
    stopper: StopRequest,
) -> tuple[Timed | None, Manifest]:
    """Time all variants of a sweep together, or find what was timed before it was broken off.

    Args:
        chosen: the variants.
        checked: what the check found; without a plan others time.
        config: the options.
        images: of the sweep, decoded.
        plugins: files that register variants.
        journal: of the sweep.
        stopper: says whether to stop before the end.

    Returns:
        What was found, or none (``--no-timing``), and the journal with the session in it.

    Raises:
        TrainingInterrupted: the stopper said so.
        BenchError: the machine that was to time cannot.
    """
    if not config.timing:
        return None, journal
    if journal.session is not None:
        timed = load_session(config.results_dir, journal.session)
        if timed is not None:
            return timed, journal
        logger.info(f"timing: session {journal.session} cannot be read: timed anew")
    parts = checked.runs[0].parts.without(images)
    files = [absolute(parts.index.path(p)) for p in parts.used.valid[:MOST_PIPELINE_IMAGES]]
    if checked.plan is None:
        timed = checked.executor.time(
            chosen, config, parts.num_classes, plugins=plugins, images=files, stopper=stopper
        )
    else:
        logger.info(f"timing: {checked.plan.line()}")
        session = Session(
            checked.plan, config, num_classes=parts.num_classes, plugins=plugins, images=files
        )
        timed = session.run()
    # Trainings take hours: what was timed must not hang on their end.
    keep_session(timed, config.results_dir)
    # A session that a signal cut short is kept, but it is not that of this sweep.
    stopper.check()
    journal = attrs.evolve(journal, session=timed.record["id"])
    journal.write(config.results_dir)
    return timed, journal
