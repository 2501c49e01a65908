"""The built-in data set, for when there is none: drawn photographs of rice leaves, ten classes.

Every image has a generator of its own, seeded by (seed, class, number), so that a set is the same
however many images or processes draw it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from numpy.random import PCG64, Generator
from PIL import Image

from bench.data.index import SYNTHETIC_MARKER
from bench.data.splitting.splits import largest_remainder
from bench.data.synthetic.leaves import photograph
from bench.data.synthetic.lesions import SIGNS
from bench.errors import BenchError
from bench.system.environment import usable_cores

VERSION = 1
CLASSES = tuple(sorted(SIGNS))
# Images of each class in Kaggle's set, whose imbalance the drawn set keeps.
KAGGLE_COUNTS = (479, 380, 337, 1738, 965, 1442, 620, 1594, 1764, 1088)
LEAST_PER_CLASS = 6
JPEG_QUALITY = 88
IMAGES_PER_TASK = 20


def draw_image(label: int, number: int, seed: int) -> Image.Image:
    """Draw one photograph of 480×640 pixels.

    Args:
        label: index of the class in :data:`CLASSES`.
        number: which image of the class.
        seed: of the set.
    """
    return photograph(Generator(PCG64([seed, label, number])), SIGNS[CLASSES[label]])


def class_counts(images: int) -> list[int]:
    """Return how many images of each class make a set of ``images``.

    Raises:
        BenchError: too few to give every class :data:`LEAST_PER_CLASS`.
    """
    least = [LEAST_PER_CLASS] * len(CLASSES)
    if images < sum(least):
        raise BenchError(
            f"--synthetic-images {images} is too few: at least {sum(least)}, "
            f"{LEAST_PER_CLASS} for each of {len(CLASSES)} classes"
        )
    return largest_remainder(images, KAGGLE_COUNTS, least)


def write_synthetic(root: Path, images: int, seed: int) -> None:
    """Write a set as one folder of JPEGs for each class; whole or not at all.

    Args:
        root: the folder to make; an existing one must be empty.
        images: how many.
        seed: of the set.

    Raises:
        BenchError: the folder holds something, is a file or cannot be written.
    """
    counts = class_counts(images)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BenchError(f"{root} is not an empty folder: give a new one")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        raise BenchError(f"{root} cannot be written ({error.strerror}): give another") from error
    try:
        tasks = []
        for label, count in enumerate(counts):
            folder, numbers = part / CLASSES[label], range(count)
            folder.mkdir()
            for start in numbers[::IMAGES_PER_TASK]:
                tasks.append((folder, label, numbers[start : start + IMAGES_PER_TASK], seed))
        workers = min(len(tasks), usable_cores())
        # A forked process would inherit locks of libraries that run threads.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(_write_images, *zip(*tasks, strict=True)))
        marker = {"synthetic": True, "version": VERSION, "images": images, "seed": seed}
        (part / SYNTHETIC_MARKER).write_text(json.dumps(marker) + "\n", encoding="utf8")
        part.chmod(0o755)
        _move(part, root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_images(folder: Path, label: int, numbers: range, seed: int) -> None:
    for number in numbers:
        draw_image(label, number, seed).save(folder / f"{number:05}.jpg", quality=JPEG_QUALITY)


def _move(part: Path, root: Path) -> None:
    try:
        part.replace(root)
    except OSError as error:
        raise BenchError(f"{root} cannot be written ({error.strerror}): give another") from error


def cached_synthetic(cache_root: Path, images: int, seed: int) -> Path:
    """Return the folder of a set in the cache, drawn on first use.

    Raises:
        BenchError: as :func:`write_synthetic`.
    """
    root = cache_root / f"synthetic-v{VERSION}-{images}-{seed}"
    if not (root / SYNTHETIC_MARKER).is_file():
        try:
            write_synthetic(root, images, seed)
        except BenchError:
            # Another process may have drawn the same set meanwhile.
            if not (root / SYNTHETIC_MARKER).is_file():
                raise
    return root
