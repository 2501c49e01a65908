"""Times one variant in a fresh process, with the allocator set before it starts.

Heap layout and allocator state differ from process to process and decide much of a CPU timing, so
the sweep's own process never times anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config import RunConfig, build

REFERENCE_SIZE = 224
START_S = 120.0


def time_variant(
    name: str, num_classes: int, config: RunConfig, *, devices: list[str], plugins: list[Path]
) -> dict[str, Any]:
    """Time a variant's inference at the run's image size and at 224.

    Args:
        name: of a registered variant.
        num_classes: outputs of its classifier.
        config: threads, image size, time budget and what the model is built from.
        devices: ``cpu``, ``cuda``.
        plugins: files to run first, in the new process too.

    Returns:
        ``timing``: one record for each device and size that could be timed; ``timing_error``: what
        went wrong with the others, or None.
    """
    from bench.measure.memory import ALLOCATOR_ENVIRONMENT

    sizes = sorted({config.image_size, REFERENCE_SIZE})
    job = {
        "variant": name,
        "num_classes": num_classes,
        "config": config.as_record(),
        "cases": [{"device": device, "image_size": size} for device in devices for size in sizes],
        "plugins": [str(path) for path in plugins],
    }
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "timing.json"
        command = [sys.executable, "-m", "bench.timing_process", str(out)]
        limit = START_S + len(job["cases"]) * (60 + 10 * config.time_budget)  # type: ignore[arg-type]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(job),
                text=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, **ALLOCATOR_ENVIRONMENT, "PYTHONPATH": path},
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return {"timing": [], "timing_error": f"timing did not end within {limit:.0f} s"}
        if out.is_file():
            return json.loads(out.read_text(encoding="utf8"))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"timing": [], "timing_error": f"timing process ended with {done.returncode}: {last}"}


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the fresh process does with its job: build once, time each case."""
    import torch

    import variants
    from bench.build import build as build_model
    from bench.build import load_plugins
    from bench.measure.throughput import BATCH_SIZE, time_inference

    config = _config(job["config"])
    load_plugins([Path(path) for path in job["plugins"]])
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model, _ = build_model(variants.get(job["variant"]), job["num_classes"], config)
    timing, errors = [], []
    for case in job["cases"]:
        try:
            timing.append(
                time_inference(
                    model,
                    device=torch.device(case["device"]),
                    image_size=case["image_size"],
                    budget_s=config.time_budget,
                )
            )
        except torch.OutOfMemoryError:
            where = f"on {case['device']} at {case['image_size']} pixels"
            errors.append(f"out of memory at batch {BATCH_SIZE} {where}")
    return {"timing": timing, "timing_error": "; ".join(errors) or None}


def _config(values: Mapping[str, Any]) -> RunConfig:
    """The config of a record, for a model with random weights (timing needs no others)."""
    paths = {name: Path(values[name]) for name in ("results_dir", "reports_dir")}
    plain = {**values, **paths, "data_dir": None, "weights": None, "pretrained": False}
    return build(plain)


def main() -> None:
    """Read the job from standard input, write the outcome to the file named as argument."""
    outcome = measure(json.load(sys.stdin))
    Path(sys.argv[1]).write_text(json.dumps(outcome), encoding="utf8")


if __name__ == "__main__":
    main()
