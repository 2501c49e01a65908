"""Run a timing session without training; its records hold counts and timings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import variants
from bench.config.options import RunConfig
from bench.config.presets import Resolved
from bench.data.images import UnreadableImage, read_size
from bench.data.index import ImageIndex
from bench.data.parts import find_index
from bench.data.sources.prefixes import absolute
from bench.errors import BenchError
from bench.records import new_run_folder
from bench.runner.preflight import plan_timing
from bench.runner.record import count_into, keep_session, new_record, now, time_into
from bench.runner.sweep import Outcome, new_sweep_id
from bench.runner.timing import MOST_PIPELINE_IMAGES
from bench.system.devices import choose_device, probe
from bench.timing.session import Session

logger = logging.getLogger(__name__)


def time_variants(
    chosen: Sequence[variants.Variant],
    resolved: Resolved,
    num_classes: int,
    *,
    command: str,
    plugins: list[Path],
) -> Outcome:
    """Time the variants together and write a record of each.

    Args:
        chosen: the variants, in order.
        resolved: the options and where they came from.
        num_classes: outputs of the models.
        command: the command line, for the records.
        plugins: files that register variants.

    Raises:
        BenchError: no CUDA where it is asked for, no images for the pipeline clock, or a time
            budget that does not hold a single round.
    """
    config = resolved.config
    device = choose_device(config.device)
    probe(device)
    images, data = _images(config, num_classes)
    plan = plan_timing(chosen, config, num_classes)
    logger.info(f"timing: {plan.line()}")
    for note in plan.notes:
        logger.info(f"timing: {note}")
    timed = Session(plan, config, num_classes=num_classes, plugins=plugins, images=images).run()
    keep_session(timed, config.results_dir)
    sweep_id = new_sweep_id(datetime.now())
    sweep = {"id": sweep_id, "command": command, "preset": resolved.preset}
    done = []
    for variant in chosen:
        record = new_record(
            variant, config, sweep=sweep, sources=resolved.sources, data=data, device=device
        )
        time_into(record, variant.name, timed)
        _count(record, variant, num_classes, config)
        if record["timing"]:
            record["status"] = "complete"
        else:
            reason = record["timing_error"] or "nothing was timed"
            record["status"] = "failed"
            record["error"] = {"type": "TimingError", "message": reason, "traceback": ""}
        record["finished"] = now()
        loads = {key: timed.record[key] for key in ("load_before", "load_after")}
        record["environment"] |= loads
        folder = new_run_folder(config.results_dir, variant.name, datetime.now(), record)
        done.append((folder, record))
    return Outcome(sweep_id, done)


def _count(
    record: dict[str, Any], variant: variants.Variant, num_classes: int, config: RunConfig
) -> None:
    """Count a variant; a failure is a warning, since the timings are valid without it."""
    try:
        count_into(record, variant, num_classes, config)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        record["warnings"].append(f"not counted: {text}")


def _images(config: RunConfig, num_classes: int) -> tuple[list[Path], dict[str, Any]]:
    """Return image files for the pipeline clock, and the ``data`` of the records."""
    empty: dict[str, Any] = {
        "root": None, "layout": "none (timing only)", "synthetic": False, "fingerprint": None,
        "classes": [], "counts": {}, "used": {}, "unreadable": [], "fold": None, "copies": None,
    }  # fmt: skip
    if "pipeline" not in config.clock_names:
        return [], empty
    index = find_index(config)
    paths = list(islice(_readable(index), MOST_PIPELINE_IMAGES))
    if not paths:
        raise BenchError(
            f"no image in {index.root} can be decoded: give --data-dir readable images, or leave "
            "pipeline out of --clocks"
        )
    facts = {
        "root": str(index.root) if not index.synthetic else "built-in synthetic set",
        "layout": index.layout,
        "synthetic": index.synthetic,
        **index.identity(),
    }
    return paths, {**empty, **facts}


def _readable(index: ImageIndex) -> Iterator[Path]:
    for position in range(len(index)):
        path = absolute(index.path(position))
        try:
            read_size(path)
        except UnreadableImage:
            continue
        yield path
