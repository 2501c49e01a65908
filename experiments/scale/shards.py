"""A set of 20,000 images, streamed from tar files and from a folder: speed and memory.

Nothing is kept decoded (`--no-cache`). Runs take turns, the folder first and last; every epoch but
a run's first one is a sample of its speed.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from bench.data.index import find_data, load_index
from bench.data.sources.shard_writer import write_shards
from bench.system.paths import cache_folder
from experiments import record as records
from experiments.record import Record, Row, trace
from experiments.speed.commands import run_bench
from experiments.speed.common import speed_row
from experiments.speed.memory import by_epoch
from experiments.speed.pictures import pictures

NAME = "shards"
IMAGES, DRAWN = 20_000, 2600
SIDE = (160, 120)
SHARD_BYTES = 8e6
ORDER = ("folder", "shards", "shards", "folder")
EPOCHS = 3
IMAGE_SIZE, BATCH_SIZE = 64, 32
VARIANT = "MobileNetV3_Small"
LEAST = 0.9
MOST_GROWTH_MB = 50.0
PACKAGES = ("torch", "timm", "pillow", "opencv-python-headless")


def run(quick: bool) -> dict[str, Any]:
    """Train on both in turn; ``quick``: 240 images at 32 pixels, once each."""
    images, drawn = (240, 60) if quick else (IMAGES, DRAWN)
    size, batch = (32, 8) if quick else (IMAGE_SIZE, BATCH_SIZE)
    order = ORDER[:2] if quick else ORDER
    parameters = {
        "images": images, "pixels": list(SIDE), "shard_bytes": SHARD_BYTES, "order": list(order),
        "epochs": EPOCHS, "image_size": size, "batch_size": batch, "variant": VARIANT,
    }  # fmt: skip
    record = records.head("scale", NAME, quick, 0, parameters, PACKAGES)
    outcome = []
    with tempfile.TemporaryDirectory(dir=_place()) as place:
        folder, shards = Path(place) / "folder", Path(place) / "shards"
        _write(folder, images, drawn)
        written = write_shards(
            load_index(find_data(folder, cwd=folder)), shards, shard_bytes=SHARD_BYTES, seed=0
        )
        trace(f"{images:,} images in {len(written)} shards")
        places = {"folder": folder, "shards": shards}
        for what in order:
            with tempfile.TemporaryDirectory() as cache:
                done = run_bench(
                    [
                        "--variants", VARIANT, "--data-dir", str(places[what]), "--no-cache",
                        "--image-size", str(size), "--batch-size", str(batch),
                        "--epochs", str(EPOCHS), "--patience", str(EPOCHS), "--tune", "off",
                    ],
                    cache=Path(cache),
                    watch_memory=True,
                )  # fmt: skip
            (one,) = done.records
            outcome.append(
                {
                    "what": what,
                    "wall_s": done.seconds,
                    "images_per_s": [row["images_per_s"] for row in one["training"]["epochs"]],
                    "memory_mb": [row["own_mb"] for row in by_epoch(done)],
                }
            )
            trace(f"{what}: {done.seconds:.0f} s")
    record["outcome"] = outcome
    record["parameters"]["shards"] = len(written)
    return record


def _place() -> Path:
    place = cache_folder() / "scale"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _write(folder: Path, images: int, drawn: int) -> None:
    """Small copies of drawn pictures, each under several names: what is read is the same work."""
    small = []
    for path in sorted(pictures(drawn).glob("*/*.jpg")):
        target = folder / path.parent.name / f"0-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize(SIDE).save(target, quality=85)
        small.append(target)
    for number in range(len(small), images):
        source = small[number % len(small)]
        name = source.name.removeprefix("0-")
        source.with_name(f"{number // len(small)}-{name}").hardlink_to(source)


def rows(record: Record) -> list[Row]:
    """Speed against the folder's, and growth of memory over the epochs."""
    parameters, outcome = record["parameters"], record["outcome"]
    made = (
        f"{parameters['images']:,} JPEGs of {parameters['pixels'][0]}×{parameters['pixels'][1]} in "
        f"{parameters['shards']} shards, {parameters['variant']} at {parameters['image_size']} "
        f"pixels, batch {parameters['batch_size']}, --no-cache"
    )
    seconds = {
        what: [
            1 / speed for one in outcome if one["what"] == what for speed in one["images_per_s"][1:]
        ]
        for what in ORDER
    }
    growth = [
        one["memory_mb"][-1] - one["memory_mb"][0] for one in outcome if one["what"] == "shards"
    ]
    return [
        speed_row(
            "Training from shards ÷ from the folder", seconds["shards"], seconds["folder"], LEAST,
            f"{made}; epochs 2 and {parameters['epochs']} of runs in turn",
        ),
        Row(
            "Memory of a run from shards, epoch 1 to the last",
            f"growth under {MOST_GROWTH_MB:g} MB",
            f"{max(growth):+.1f} MB",
            max(growth) < MOST_GROWTH_MB,
            f"{made}; anonymous memory, highest of each epoch, the worse of {len(growth)} runs",
        ),
    ]  # fmt: skip


def details(record: Record) -> list[tuple[str, list[str], list[list[str]]]]:
    """(caption, header, rows): every run."""
    cells = [
        [
            one["what"],
            f"{one['wall_s']:.0f}",
            ", ".join(f"{speed:.0f}" for speed in one["images_per_s"]),
            f"{statistics.mean(one['images_per_s'][1:]):.0f}",
            ", ".join(f"{memory:.0f}" for memory in one["memory_mb"]),
        ]
        for one in record["outcome"]
    ]
    header = ["data", "wall, s", "images/s by epoch", "of the later ones", "memory by epoch, MB"]
    return [("Every run, in its order", header, cells)]
