"""From a config to the images of each part: found, split, limited, decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from platformdirs import user_cache_path

from bench.config import RunConfig
from bench.data.cache import DecodedImages, decode
from bench.data.index import ImageIndex, find_data, load_index
from bench.data.splits import PARTS, Split, split, stratified_subset
from bench.errors import BenchError
from bench.presets import ENVIRONMENT_PREFIX


@attrs.frozen
class Parts:
    """The images of a run.

    Attributes:
        index: every labelled image found.
        split: positions of each part, before limits.
        used: positions of each part, after limits.
        warnings: what was passed over, one line each.
    """

    index: ImageIndex
    split: Split
    used: Split
    warnings: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.index.classes)

    def positions(self) -> list[int]:
        """Every position that is used."""
        return sorted({p for part in self.used.as_dict().values() for p in part})

    def without(self, images: DecodedImages) -> Parts:
        """The same without what could not be decoded.

        Raises:
            BenchError: nothing is left to train on, or to validate with.
        """
        kept = Split(
            *(tuple(p for p in part if p in images.rows) for part in self.used.as_dict().values())
        )
        if len(kept.train) < 2 or not kept.valid:
            raise BenchError(
                f"too few images of {self.index.root} can be decoded: {len(kept.train)} to train "
                f"on, {len(kept.valid)} to validate with: repair or replace them"
            )
        lines = [f"unreadable image, not used: {path} ({why})" for path, why in images.unreadable]
        return attrs.evolve(self, used=kept, warnings=(*self.warnings, *lines))

    def as_record(self, images: DecodedImages) -> dict[str, Any]:
        """The ``data`` of a record."""
        return {
            "root": str(self.index.root) if not self.index.synthetic else "built-in synthetic set",
            "layout": self.index.layout,
            "synthetic": self.index.synthetic,
            "fingerprint": self.index.fingerprint,
            "classes": list(self.index.classes),
            "counts": {
                part: self.index.counts(positions)
                for part, positions in self.split.as_dict().items()
            },
            "used": {part: len(positions) for part, positions in self.used.as_dict().items()},
            "unreadable": [path for path, _ in images.unreadable],
        }


def cache_folder() -> Path:
    """Where the harness keeps what it can make again; ``PADDY_BENCH_CACHE_DIR`` changes it."""
    own = os.environ.get(ENVIRONMENT_PREFIX + "CACHE_DIR")
    return Path(own).expanduser() if own else user_cache_path("paddy-bench")


def find_index(config: RunConfig, *, cwd: Path | None = None) -> ImageIndex:
    """The images that a config means; the synthetic set where it names none and none are found.

    Raises:
        BenchError: no such folder, no labelled images, one class (see :mod:`bench.data.index`).
    """
    location = find_data(config.data_dir, cwd=cwd or Path.cwd())
    if location is None:
        from bench.data.synthetic import cached_synthetic

        folder = cached_synthetic(cache_folder(), config.synthetic_images, config.seed)
        location = find_data(folder, cwd=folder)
        assert location is not None
    return load_index(location)


def find_parts(config: RunConfig, *, cwd: Path | None = None) -> Parts:
    """Index, split and limit the images of a config.

    Raises:
        BenchError: as :func:`find_index`; a class too small to split; a limit below the number of
            classes; a batch larger than the training part.
    """
    index = find_index(config, cwd=cwd)
    whole = split(
        index,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
    limits = {"train": config.train_limit, "valid": config.valid_limit, "test": None}
    used = Split(
        *(
            stratified_subset(whole.as_dict()[part], index.labels, limits[part], config.seed)
            for part in PARTS
        )
    )
    if not used.valid:
        raise BenchError(f"{index.root} leaves no images to validate with: raise --valid-fraction")
    if config.batch_size > len(used.train):
        raise BenchError(
            f"--batch-size {config.batch_size} is larger than the training part of "
            f"{len(used.train)} images: lower it to {len(used.train)} or less"
        )
    warnings = list(index.warnings)
    missing = [name for name, count in index.counts(used.train).items() if count == 0]
    if missing:
        warnings.append(f"classes without a training image: {', '.join(missing)}")
    return Parts(index, whole, used, tuple(warnings))


def decode_parts(
    parts: Parts,
    config: RunConfig,
    *,
    folder: Path,
    workers: int,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Parts, DecodedImages]:
    """Decode what is used into ``folder``; the parts without what could not be decoded.

    Raises:
        BenchError: too little disk, or too few readable images.
    """
    images = decode(
        parts.index,
        parts.positions(),
        image_size=config.image_size,
        folder=folder,
        workers=workers,
        on_progress=on_progress,
    )
    return parts.without(images), images
