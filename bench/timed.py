"""A timing session without training: records that hold counts and timings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import variants
from bench.check import choose_device, plan_timing
from bench.config import RunConfig
from bench.data.parts import find_index
from bench.presets import Resolved
from bench.record import count_into, new_record, now, time_into
from bench.results import new_run_folder, write_json
from bench.session import Session
from bench.sweep import MOST_PIPELINE_IMAGES, Outcome, new_sweep_id


def time_variants(
    chosen: Sequence[variants.Variant],
    resolved: Resolved,
    num_classes: int,
    *,
    command: str,
    plugins: list[Path],
    stream: TextIO,
) -> Outcome:
    """Time the variants together and write a record of each.

    Args:
        chosen: the variants, in order.
        resolved: the options and where they came from.
        num_classes: outputs of the models.
        command: the command line, for the records.
        plugins: files that register variants.
        stream: where progress goes.

    Raises:
        BenchError: no CUDA where it is asked for, no images for the pipeline clock, or a time
            budget that does not hold a single round.
    """
    config = resolved.config
    device = choose_device(config.device)
    images, data = _images(config, num_classes)
    plan = plan_timing(chosen, config, num_classes)
    print(f"timing: {plan.line()}", file=stream, flush=True)
    for note in plan.notes:
        print(f"timing: {note}", file=stream, flush=True)
    timed = Session(
        plan, config, num_classes=num_classes, plugins=plugins, images=images, stream=stream
    ).run()
    sweep_id = new_sweep_id(datetime.now())
    sweep = {"id": sweep_id, "command": command, "preset": resolved.preset}
    done = []
    for variant in chosen:
        record = new_record(
            variant, config, sweep=sweep, sources=resolved.sources, data=data, device=device
        )
        time_into(record, variant.name, timed)
        if record["timing"]:
            count_into(record, variant, num_classes, config)
            record["status"] = "complete"
        else:
            reason = record["timing_error"] or "nothing was timed"
            record["error"] = {"type": "TimingError", "message": reason, "traceback": ""}
        record["finished"] = now()
        folder = new_run_folder(config.results_dir, variant.name, datetime.now())
        write_json(folder / "run.json", record)
        done.append((folder, record))
    return Outcome(sweep_id, done)


def _images(config: RunConfig, num_classes: int) -> tuple[list[Path], dict[str, Any]]:
    """Files for the pipeline clock, and the ``data`` of the records."""
    nothing: dict[str, Any] = {
        "root": None, "layout": "none (timing only)", "synthetic": False, "fingerprint": None,
        "classes": [], "counts": {}, "used": {}, "unreadable": [], "fold": None, "copies": None,
    }  # fmt: skip
    if "pipeline" not in config.clock_names:
        return [], nothing
    index = find_index(config)
    paths = [index.path(p).absolute() for p in range(min(len(index), MOST_PIPELINE_IMAGES))]
    known = {
        "root": str(index.root) if not index.synthetic else "built-in synthetic set",
        "layout": index.layout,
        "synthetic": index.synthetic,
        "fingerprint": index.fingerprint,
    }
    return paths, {**nothing, **known}
