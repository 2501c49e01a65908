"""A sweep of ten variants by Ray on this machine, one after the other, against the same without.

In turn, the plain one first and last.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from experiments import record as records
from experiments.record import Record, Row, trace
from experiments.speed.commands import run_bench
from experiments.speed.pictures import pictures

NAME = "ray"
VARIANTS = "all,baselines"
IMAGES = 600
ORDER = ("plain", "ray", "ray", "plain")
IMAGE_SIZE, BATCH_SIZE, EPOCHS = 64, 32, 2
MOST_SHARE, MOST_S = 0.10, 20.0


def run(quick: bool) -> dict[str, Any]:
    """Run both; ``quick``: one variant, 60 images, once each."""
    variants, images, batch, epochs = (
        ("MobileNetV3_Small", 60, 8, 1) if quick else (VARIANTS, IMAGES, BATCH_SIZE, EPOCHS)
    )
    order = ORDER[:2] if quick else ORDER
    parameters = {
        "variants": variants, "images": images, "image_size": IMAGE_SIZE, "batch_size": batch,
        "epochs": epochs, "order": list(order),
    }  # fmt: skip
    record = records.head("scale", NAME, quick, 0, parameters, ("torch", "timm", "ray"))
    outcome = []
    for what in order:
        more = ["--executor", "ray", "--devices", "1"] if what == "ray" else []
        with tempfile.TemporaryDirectory() as cache:
            done = run_bench(
                [
                    "--variants", variants, "--data-dir", str(pictures(images)),
                    "--image-size", str(IMAGE_SIZE), "--batch-size", str(batch),
                    "--epochs", str(epochs), "--patience", str(epochs), "--tune", "off", *more,
                ],
                cache=Path(cache),
            )  # fmt: skip
        complete = sum(one["status"] == "complete" for one in done.records)
        outcome.append(
            {"what": what, "wall_s": done.seconds, "complete": complete, "costs": done.costs}
        )
        trace(f"{what}: {done.seconds:.0f} s, {complete} complete")
    record["outcome"] = outcome
    return record


def rows(record: Record) -> list[Row]:
    """What Ray adds."""
    walls = {
        what: [one["wall_s"] for one in record["outcome"] if one["what"] == what] for what in ORDER
    }
    plain, ray = (statistics.mean(walls[what]) for what in ("plain", "ray"))
    most = max(MOST_SHARE * plain, MOST_S)
    parameters = record["parameters"]
    each = "; ".join(
        f"{what} {', '.join(f'{wall:.1f} s' for wall in walls[what])}" for what in ("plain", "ray")
    )
    return [
        Row(
            "What Ray adds to a sweep",
            f"at most {MOST_SHARE:.0%} or {MOST_S:g} s, whichever is more: {most:.1f} s",
            f"{ray - plain:+.1f} s ({ray:.1f} s against {plain:.1f} s)",
            ray - plain <= most,
            f"{parameters['variants']}, {parameters['images']} images at "
            f"{parameters['image_size']} pixels, {parameters['epochs']} epochs, one run at a time; "
            f"{each}",
        )
    ]
