"""Times the variants of a sweep together, then trains one after the other; a failure is a row."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import attrs
import torch
from tqdm import tqdm

import variants
from bench.check import Checked, Run, all_positions
from bench.config import RunConfig
from bench.data.cache import DecodedImages, decode
from bench.measure.environment import usable_cores
from bench.measure.memory import keep_freed_memory
from bench.presets import Resolved
from bench.record import keep_session
from bench.session import Session, Timed
from bench.single import Sweep, run_variant

MOST_PIPELINE_IMAGES = 64


@attrs.frozen
class Outcome:
    """A sweep's id, and folder and record of each of its runs, in order."""

    id: str
    runs: list[tuple[Path, dict[str, Any]]]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Records of the runs that failed."""
        return [record for _, record in self.runs if record["status"] != "complete"]


def new_sweep_id(now: datetime) -> str:
    """Sortable by time, unique among sweeps that start in one second."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_sweep(
    chosen: Sequence[variants.Variant],
    resolved: Resolved,
    checked: Checked,
    *,
    command: str,
    plugins: list[Path],
    stream: TextIO,
) -> Outcome:
    """Time all variants together, decode the images once, then train each at each seed and fold.

    Args:
        chosen: the variants, in order.
        resolved: the options and where they came from.
        checked: what the check found: device, images of each run, plan of the timing session.
        command: the command line, for the records.
        plugins: files that register variants, for the timing processes.
        stream: where progress goes.

    Raises:
        BenchError: too little disk for the decoded images, or too few readable ones.
    """
    keep_freed_memory()
    config = resolved.config
    torch.set_num_threads(config.threads or usable_cores())
    sweep_id = new_sweep_id(datetime.now())
    with tempfile.TemporaryDirectory(prefix="paddy-bench-") as folder:
        images = _decode(checked, config, Path(folder), stream)
        timed = _time(checked, config, images, plugins, stream)
        done: list[tuple[Path, dict[str, Any]]] = []
        total = len(chosen) * len(checked.runs)
        for run in checked.runs:
            readable = attrs.evolve(run, parts=run.parts.without(images))
            sweep = Sweep(
                id=sweep_id,
                command=command,
                resolved=resolved,
                device=checked.device,
                run=readable,
                data=readable.parts.as_record(images),
                images=images,
                timed=timed,
                stream=stream,
            )
            for variant in chosen:
                label = _label(run, checked.runs)
                print(f"[{len(done) + 1}/{total}] {variant.name}{label}", file=stream, flush=True)
                folder_of_run, record = run_variant(sweep, variant)
                done.append((folder_of_run, record))
                if record["error"]:
                    error = record["error"]
                    line = f"failed: {variant.name}{label}: {error['type']}: {error['message']}"
                    print(line, file=stream)
        return Outcome(sweep_id, done)


def _label(run: Run, runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return ""
    fold = "" if run.fold is None else f" fold {run.fold + 1}"
    return f", seed {run.seed}{fold}"


def _decode(checked: Checked, config: RunConfig, folder: Path, stream: TextIO) -> DecodedImages:
    """Every image that a run uses, decoded once."""
    positions = all_positions(checked.runs)
    with tqdm(
        total=len(positions), desc="decoding", unit="image", file=stream,
        disable=not stream.isatty(),
    ) as bar:  # fmt: skip
        images = decode(
            checked.runs[0].parts.index,
            positions,
            image_size=config.image_size,
            folder=folder,
            workers=usable_cores(),
            on_progress=lambda done, _: bar.update(done - bar.n),
        )
    for path, reason in images.unreadable:
        print(f"warning: unreadable image, not used: {path} ({reason})", file=stream)
    for run in checked.runs:
        run.parts.without(images)  # raises before anything is timed or trained
    return images


def _time(
    checked: Checked,
    config: RunConfig,
    images: DecodedImages,
    plugins: list[Path],
    stream: TextIO,
) -> Timed | None:
    if checked.plan is None:
        return None
    print(f"timing: {checked.plan.line()}", file=stream, flush=True)
    parts = checked.runs[0].parts.without(images)
    timed = Session(
        checked.plan,
        config,
        num_classes=parts.num_classes,
        plugins=plugins,
        images=[parts.index.path(p).absolute() for p in parts.used.valid[:MOST_PIPELINE_IMAGES]],
        stream=stream,
    ).run()
    # Trainings take hours: what was timed must not hang on their end.
    keep_session(timed, config.results_dir)
    return timed
