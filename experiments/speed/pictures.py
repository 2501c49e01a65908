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


def pictures(parts: int | Mapping[str, int]) -> Path:
    """A data folder with so many images of 480×640 pixels, the same at each call.

    Args:
        parts: images in one folder for each class; or images by part, as in
            ``{"train": 640, "valid": 20}``, in a folder for each part.
    """
    if isinstance(parts, int):
        wanted, name = {"": parts}, f"{parts}"
    else:
        wanted = dict(parts)
        name = "-".join(f"{part}{count}" for part, count in wanted.items())
    # Another way of drawing gives other pictures: they do not go by the same name.
    folder = cache_folder() / "speed" / f"v{DRAWN}-{SEED}-{name}"
    if folder.is_dir():
        return folder
    files = _in_mixed_order(sum(wanted.values()))
    part_folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    begin = 0
    for part, count in wanted.items():
        for file in files[begin : begin + count]:
            place = part_folder / part / file.parent.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(file)
        begin += count
    if isinstance(parts, int):
        shutil.copy(files[0].parents[1] / SYNTHETIC_MARKER, part_folder)
    part_folder.rename(folder)
    return folder


def _in_mixed_order(images: int) -> list[Path]:
    """The first images of every class, mixed so that any run of them holds all classes alike."""
    pool = next((size for size in POOLS if size >= images), images)
    root = cached_synthetic(cache_folder() / "speed", pool, SEED)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    placed = []
    for folder, count in zip(folders, class_counts(images), strict=True):
        chosen = sorted(folder.glob("*.jpg"))[:count]
        placed += [((number + 0.5) / count, file) for number, file in enumerate(chosen)]
    return [file for _, file in sorted(placed)]
