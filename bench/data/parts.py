"""From a config to the images of each split: found, compared, divided, limited, decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench.config.options import RunConfig
from bench.data.cache import DecodedImages, open_images
from bench.data.index import ImageIndex, Location, find_data, load_index
from bench.data.splitting import division
from bench.data.splitting.duplicates import Duplicates, duplicate_groups, find_duplicates
from bench.data.splitting.grouped import group_by
from bench.data.splitting.splits import Split, stratified_subset
from bench.errors import BenchError
from bench.imaging import LOADER
from bench.system.environment import usable_cores
from bench.system.paths import cache_folder

# In a record: validation and test images with a copy in training, test images with one in
# validation, in the order of :meth:`Duplicates.leaked_between`.
LEAKED_KEYS = ("valid_with_twin", "test_with_twin", "test_with_twin_in_valid")


@attrs.frozen
class DataSet:
    """The images of a sweep: every labelled one found, and which are copies of each other."""

    index: ImageIndex
    copies: Duplicates


@attrs.frozen(kw_only=True)
class DataSplits:
    """The images of a run.

    Attributes:
        index: every labelled image found.
        copies: which of them are copies of each other.
        split: indices of each split, before limits.
        used: indices of each split, after limits.
        fold: which fold is the test split, from 0, and how many there are; none: no folds.
        dedup: ``group`` where copies were kept in one split, else ``none``.
        warnings: what was passed over, one line each.
    """

    index: ImageIndex
    copies: Duplicates
    split: Split
    used: Split
    fold: tuple[int, int] | None
    dedup: str
    warnings: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.index.classes)

    def positions(self) -> list[int]:
        """Return every index that is used."""
        return sorted({i for indices in self.used.as_dict().values() for i in indices})

    def without(self, images: DecodedImages) -> DataSplits:
        """Return the same without what could not be decoded.

        Raises:
            BenchError: nothing is left to train on, or to validate with.
        """
        used = self.used.map(lambda indices: [i for i in indices if i in images.rows])
        if len(used.train) < 2 or not used.valid:
            raise BenchError(
                f"too few images of {self.index.root} can be decoded: {len(used.train)} to train "
                f"on, {len(used.valid)} to validate with: repair or replace them"
            )
        lines = (f"unreadable image, not used: {path} ({why})" for path, why in images.unreadable)
        return attrs.evolve(self, used=used, warnings=(*self.warnings, *lines))

    def as_record(self, images: DecodedImages) -> dict[str, Any]:
        """Return the ``data`` of a record."""
        index = self.index
        leaked = self.copies.leaked_between(self.used.as_dict()).values()
        return {
            "root": str(index.root) if not index.synthetic else "built-in synthetic set",
            "layout": index.layout,
            "synthetic": index.synthetic,
            **index.identity(),
            "loader": LOADER,
            "classes": list(index.classes),
            "counts": {name: index.counts(held) for name, held in self.split.as_dict().items()},
            "used": {name: len(held) for name, held in self.used.as_dict().items()},
            "unreadable": [path for path, _ in images.unreadable],
            "fold": None if self.fold is None else {"number": self.fold[0] + 1, "of": self.fold[1]},
            "copies": {
                **self.copies.as_record(index),
                "dedup": self.dedup,
                **{
                    key: [index.paths[i] for i in indices]
                    for key, indices in zip(LEAKED_KEYS, leaked, strict=True)
                },
            },
            "units": self._units(),
        }

    def _units(self) -> dict[str, str]:
        """Return the first image of the group of each evaluated image that has one, or copies."""
        paths, groups = self.index.paths, duplicate_groups(self.index, self.copies)
        if groups is None:
            return {}
        members = group_by(groups, range(len(groups)))
        evaluated = (*self.used.valid, *self.used.test)
        return {
            paths[i]: paths[members[groups[i]][0]] for i in evaluated if len(members[groups[i]]) > 1
        }


def find_index(config: RunConfig, *, cwd: Path | None = None) -> ImageIndex:
    """Return the images that a config means; the synthetic set where there are none.

    Raises:
        BenchError: no such folder, no labelled images, one class (see
            :mod:`bench.data.index`).
    """
    location = find_data(config.data_dir, cwd=cwd or Path.cwd())
    if location is None:
        from bench.data.synthetic.dataset import cached_synthetic

        folder = cached_synthetic(cache_folder(), config.synthetic_images, config.seed)
        location = Location(folder, "synthetic")
    return load_index(location)


def find_data_set(
    config: RunConfig,
    *,
    cwd: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> DataSet:
    """Return the images that a config means, compared with each other (hashes are cached).

    Args:
        config: the options.
        cwd: where ``data/`` is looked for; none: the current folder.
        on_progress: called with (images hashed, images in all).

    Raises:
        BenchError: as :func:`find_index`; what divides the images is not installed.
    """
    index = find_index(config, cwd=cwd)
    # Comparing the images takes its time.
    division.require_division(config, index)
    copies = find_duplicates(
        index, cache=cache_folder(), workers=usable_cores(), on_progress=on_progress
    )
    return DataSet(index, copies)


def find_parts(
    config: RunConfig,
    *,
    data: DataSet | None = None,
    seed: int | None = None,
    fold: int | None = None,
    cwd: Path | None = None,
) -> DataSplits:
    """Split and limit the images of a config.

    Args:
        config: the options.
        data: the images, where they are known already.
        seed: of the split and the limits; none: the config's. The synthetic set is always drawn
            with the config's.
        fold: which of the config's folds is the test split, from 0; none: the first.
        cwd: where ``data/`` is looked for; none: the current folder.

    Raises:
        BenchError: as :func:`find_index` and :func:`bench.data.splitting.division.find_splits`; no
            image to validate with; a limit below the number of classes; a batch larger than the
            training split.
    """
    data = data or find_data_set(config, cwd=cwd)
    seed = config.seed if seed is None else seed
    number = (fold or 0) if config.folds is not None else 0
    index = data.index
    split = division.find_splits(config, index, data.copies, seed=seed)[number]
    limits = {"train": config.train_limit, "valid": config.valid_limit, "test": None}
    used = Split(
        **{
            name: stratified_subset(indices, index.labels, limits[name], seed)
            for name, indices in split.as_dict().items()
        }
    )
    if not used.valid:
        raise BenchError(f"{index.root} leaves no images to validate with: raise --valid-fraction")
    if config.batch_size > len(used.train):
        raise BenchError(
            f"--batch-size {config.batch_size} is larger than the training part of "
            f"{len(used.train)} images: lower it to {len(used.train)} or less"
        )
    warnings = division.split_warnings(config, index, data.copies, split)
    missing = [name for name, count in index.counts(used.train).items() if count == 0]
    if missing:
        warnings.append(f"classes without a training image: {', '.join(missing)}")
    return DataSplits(
        index=index,
        copies=data.copies,
        split=split,
        used=used,
        fold=None if config.folds is None else (number, config.folds),
        dedup=config.dedup,
        warnings=(*warnings, *division.leak_warnings(config, index, data.copies, used)),
    )


def decode_images(
    index: ImageIndex,
    positions: Sequence[int],
    config: RunConfig,
    *,
    workers: int,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    say: Callable[[str], object] = lambda line: None,
) -> DecodedImages:
    """Return the pixels of images as a config wants them, from the cache where it says so.

    Raises:
        BenchError: as :func:`bench.data.cache.open_images`.
    """
    return open_images(
        index,
        positions,
        image_size=config.image_size,
        cache=cache_folder() if config.cache else None,
        limit=config.cache_limit,
        workers=workers,
        on_progress=on_progress,
        say=say,
    )
