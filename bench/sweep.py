"""Runs the variants of a sweep one after the other; one that fails does not stop the rest."""

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
from bench.check import Checked
from bench.data.parts import decode_parts
from bench.measure.environment import usable_cores
from bench.measure.memory import keep_freed_memory
from bench.presets import Resolved
from bench.single import Sweep, run_variant


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
    """Decode the images once, then run each variant on them.

    Args:
        chosen: the variants, in order.
        resolved: the options and where they came from.
        checked: what the check found: device and parts.
        command: the command line, for the records.
        plugins: files that register variants, for the timing processes.
        stream: where progress goes.

    Raises:
        BenchError: too little disk for the decoded images, or too few readable ones.
    """
    keep_freed_memory()
    torch.set_num_threads(resolved.config.threads or usable_cores())
    with tempfile.TemporaryDirectory(prefix="paddy-bench-") as folder:
        total = len(checked.parts.positions())
        with tqdm(
            total=total, desc="decoding", unit="image", file=stream, disable=not stream.isatty()
        ) as bar:
            parts, images = decode_parts(
                checked.parts,
                resolved.config,
                folder=Path(folder),
                workers=usable_cores(),
                on_progress=lambda done, _: bar.update(done - bar.n),
            )
        for path, reason in images.unreadable:
            print(f"warning: unreadable image, not used: {path} ({reason})", file=stream)
        sweep = Sweep(
            id=new_sweep_id(datetime.now()),
            command=command,
            resolved=resolved,
            device=checked.device,
            parts=parts,
            images=images,
            plugins=plugins,
            stream=stream,
        )
        runs = []
        for number, variant in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {variant.name}", file=stream, flush=True)
            folder_of_run, record = run_variant(sweep, variant)
            runs.append((folder_of_run, record))
            if record["error"]:
                error = record["error"]
                print(f"failed: {variant.name}: {error['type']}: {error['message']}", file=stream)
        return Outcome(sweep.id, runs)
