"""A set of 20,000 images, streamed from tar files and from a folder: speed and memory.

Nothing is kept decoded (`--no-cache`). Runs take turns, the folder first and last; every epoch but
a run's first one is a sample of its speed.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from PIL import Image

from bench.data.index import find_data, load_index
from bench.data.sources.shard_writer import write_shards
from bench.system.paths import cache_folder
from experiments.commands import train, training_flags
from experiments.pictures import pictures
from experiments.rows import Row, speed_row
from experiments.speed.memory import by_epoch
from experiments.suite import Json, Record, Tables, trace

SEED = 0
PACKAGES = ("torch", "timm", "pillow", "opencv-python-headless")
PARAMETERS = {
    "images": 20_000,
    "pixels": [160, 120],
    "shard_bytes": 8e6,
    "order": ["folder", "shards", "shards", "folder"],
    "epochs": 3,
    "image_size": 64,
    "batch_size": 32,
    "variant": "MobileNetV3_Small",
}
QUICK = {"images": 240, "order": ["folder", "shards"], "image_size": 32, "batch_size": 8}
LEAST = 0.9
MOST_GROWTH_MB = 50.0


def measure(chosen: Record) -> Json:
    """Train on both in turn."""
    outcome = []
    cache = cache_folder() / "scale"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.absolute()) as name:
        places = {what: Path(name, what) for what in ("folder", "shards")}
        folder = places["folder"]
        _write(folder, chosen)
        index = load_index(find_data(folder, cwd=folder))
        written = write_shards(
            index, places["shards"], shard_bytes=chosen["shard_bytes"], seed=SEED
        )
        trace(f"{chosen['images']:,} images in {len(written)} shards")
        for what in chosen["order"]:
            arguments = training_flags(
                chosen,
                variants=chosen["variant"],
                data_dir=places[what],
                no_cache=True,
                tune="off",
            )
            ended = train(arguments, watch_memory=True)
            (record,) = ended.records
            outcome.append(
                {
                    "what": what,
                    "wall_s": ended.seconds,
                    "images_per_s": [row["images_per_s"] for row in record["training"]["epochs"]],
                    "memory_mb": [row["own_mb"] for row in by_epoch(ended)],
                }
            )
            trace(f"{what}: {ended.seconds:.0f} s")
    parameters = {name: chosen[name] for name in PARAMETERS} | {"shards": len(written)}
    return {"parameters": parameters, "outcome": outcome}


def _write(folder: Path, chosen: Record) -> None:
    """Small copies of drawn pictures, each under several names: what is read is the same work."""
    small = []
    for path in sorted(pictures(60 if chosen["quick"] else 2600).glob("*/*.jpg")):
        target = folder / path.parent.name / f"0-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize(chosen["pixels"]).save(target, quality=85)
        small.append(target)
    for number in range(len(small), chosen["images"]):
        copy, place = divmod(number, len(small))
        name = small[place].name.removeprefix("0-")
        small[place].with_name(f"{copy}-{name}").hardlink_to(small[place])


def rows(record: Record) -> list[Row]:
    """Speed against the folder's, and growth of memory over the epochs."""
    parameters = record["parameters"]
    made = (
        f"{parameters['images']:,} JPEGs of {parameters['pixels'][0]}×{parameters['pixels'][1]} in "
        f"{parameters['shards']} shards, {parameters['variant']} at {parameters['image_size']} "
        f"pixels, batch {parameters['batch_size']}, --no-cache"
    )
    seconds: dict[str, list[float]] = {"shards": [], "folder": []}
    growth = []
    for run in record["outcome"]:
        seconds[run["what"]] += [1 / speed for speed in run["images_per_s"][1:]]
        if run["what"] == "shards":
            growth.append(run["memory_mb"][-1] - run["memory_mb"][0])
    return [
        speed_row(
            "Training from shards ÷ from the folder", *seconds.values(), LEAST,
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


def details(record: Record) -> Tables:
    """Every run."""
    cells = [
        [
            run["what"],
            f"{run['wall_s']:.0f}",
            ", ".join(f"{speed:.0f}" for speed in run["images_per_s"]),
            f"{statistics.mean(run['images_per_s'][1:]):.0f}",
            ", ".join(f"{memory:.0f}" for memory in run["memory_mb"]),
        ]
        for run in record["outcome"]
    ]
    header = ["data", "wall, s", "images/s by epoch", "of the later ones", "memory by epoch, MB"]
    return [("Every run, in its order", header, cells)]
