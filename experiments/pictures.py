"""The photographs of the experiments: drawn once, then linked into sets of the asked sizes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.data.index import SYNTHETIC_MARKER
from bench.data.synthetic.dataset import VERSION as DRAWN
from bench.data.synthetic.dataset import cached_synthetic, class_counts
from bench.system.paths import cache_folder

# A set is linked from the smallest of these that is large enough; drawing 8,000 takes minutes.
POOLS = (120, 2600, 8000)
SEED = 0


def pictures(images: int | Mapping[str, int]) -> Path:
    """A data folder with so many images of 480×640 pixels, the same at each call.

    Args:
        images: how many, in one folder for each class; or by part, as in
            ``{"train": 640, "valid": 20}``, in a folder for each part.
    """
    parts = {"": images} if isinstance(images, int) else images
    name = "-".join(f"{part}{count}" for part, count in parts.items())
    cache = cache_folder().absolute() / "speed"
    # Another way of drawing gives other pictures: they do not go by the same name.
    folder = cache / f"v{DRAWN}-{SEED}-{name}"
    if folder.is_dir():
        return folder
    files = iter(_in_mixed_order(cache, sum(parts.values())))
    unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    for part, count in parts.items():
        for _, file in zip(range(count), files, strict=False):
            place = unfinished / part / file.parent.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(file)
    if "" in parts:
        shutil.copy(file.parents[1] / SYNTHETIC_MARKER, unfinished)
    unfinished.rename(folder)
    return folder


def _in_mixed_order(cache: Path, images: int) -> list[Path]:
    """The first images of every class, mixed so that any run of them holds all classes alike."""
    pool = next((size for size in POOLS if size >= images), images)
    root = cached_synthetic(cache, pool, SEED)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    placed = []
    for folder, count in zip(folders, class_counts(images), strict=True):
        chosen = sorted(folder.glob("*.jpg"))[:count]
        placed += [((number + 0.5) / count, file) for number, file in enumerate(chosen)]
    return [file for _, file in sorted(placed)]
