"""Keeps features of a frozen backbone on disk while a sweep runs, within a limit.

Nothing depends on it but speed: what is not kept is computed again, with the same result.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import torch

logger = logging.getLogger(__name__)

# Weights and records are written to the same disk: they must still find room.
LEFT_FREE_BYTES = 10**9


@attrs.frozen(kw_only=True)
class FeatureKey:
    """All that features depend on within one sweep: equal keys, equal features.

    Attributes:
        epoch: from 1; none where every epoch sees the same images.
        backbone: digest of the frozen backbone.
        amp: ``off``, ``fp16`` or ``bf16``.
        normalisation: mean and std of the images.
    """

    part: str
    seed: int
    fold: int | None
    epoch: int | None
    backbone: str
    device: str
    amp: str
    image_size: int
    batch_size: int
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]


@attrs.define(eq=False)
class FeatureFile:
    """One file of features: a whole pass over a part.

    Attributes:
        path: of the file.
        on_error: called with the error of a disk that cannot take a batch.
        on_whole: called with the file when all batches are in it; until then nobody reads it.
        nbytes: that are written.
    """

    path: Path
    on_error: Callable[[OSError], None]
    on_whole: Callable[[FeatureFile], None]
    nbytes: int = 0
    # Of each batch a tensor without storage, for its type and memory format, and the labels.
    _batches: list[tuple[torch.Tensor, list[int]]] = attrs.field(factory=list)
    _whole: bool = False
    _file: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._file = self.path.open("wb", buffering=0)

    def add(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Store a batch. After an error of the disk it does nothing: the pass is not kept."""
        if self._file.closed:
            return
        host = features.detach().cpu()
        flat = host.as_strided((host.numel(),), (1,), host.storage_offset()).view(torch.uint8)
        rest, end = flat.numpy().data, self.nbytes
        try:
            while rest:
                written = os.pwrite(self._file.fileno(), rest, end)
                rest, end = rest[written:], end + written
        except OSError as error:
            self.close()
            self.on_error(error)
            return
        form = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device="meta")
        self._batches.append((form, labels.tolist()))
        self.nbytes = end

    def finish(self) -> None:
        """Say that all batches are there."""
        if not self._file.closed:
            self._file.close()
            self._whole = True
            self.on_whole(self)

    def close(self) -> None:
        """Remove the file of a pass that did not come to its end."""
        self._file.close()
        if not self._whole:
            self.path.unlink(missing_ok=True)

    def batches(self, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Features as they were computed, memory format included, and labels (B,), on a device."""
        with self.path.open("rb") as file:
            for form, labels in self._batches:
                # Own memory instead of a mapped file: aligned as a computed tensor is, on which
                # the last bits of a matrix product can depend.
                raw = torch.empty(form.nbytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
                if file.readinto(raw.numpy().data) != form.nbytes:
                    raise OSError(f"{self.path} ended early: something cut it while it was read")
                features = raw.view(form.dtype).as_strided(form.shape, form.stride())
                yield (
                    features.to(device, non_blocking=True),
                    torch.tensor(labels, dtype=torch.int64).to(device, non_blocking=True),
                )


class FeatureStore:
    """Features of one sweep, in one process.

    Args:
        folder: of the sweep alone; made at the first write. Whoever made the store removes it.
        limit_bytes: most that may be kept at a time.
    """

    def __init__(self, folder: Path, limit_bytes: float) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.notes: list[str] = []
        self._files: dict[FeatureKey, FeatureFile] = {}
        self._expected: dict[FeatureKey, int] = {}
        self._refused: set[str] = set()
        self._broken = False
        self._names = itertools.count(1)

    @property
    def used_bytes(self) -> int:
        """Return the bytes of all files that are whole."""
        return sum(file.nbytes for file in self._files.values())

    def expect(self, key: FeatureKey, images: int) -> None:
        """Leave room for a part that every epoch reads: it is worth more than one epoch's."""
        if key not in self._files:
            self._expected[key] = images

    def find(self, key: FeatureKey) -> FeatureFile | None:
        """Return what is stored under that key, if it is whole."""
        file = self._files.get(key)
        if file is None:
            return None
        with contextlib.suppress(OSError):
            if file.path.stat().st_size == file.nbytes:
                return file
        self._remove(key)
        return None

    def begin(self, key: FeatureKey, first: torch.Tensor, images: int) -> FeatureFile | None:
        """Start to store a pass; none where that cannot be.

        Args:
            key: of the pass.
            first: the features of its first batch.
            images: in the whole pass.
        """
        if self._broken or key.backbone in self._refused:
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if not self._fits(key, math.ceil(first.nbytes / len(first)), images, free):
                return None
            path = self.folder / f"{next(self._names):06}.features"
            return FeatureFile(path, self.give_up, functools.partial(self.add, key))
        except OSError as error:
            self.give_up(error)
            return None

    def refuse(self, backbone: str, why: str) -> None:
        """Store nothing of a backbone whose features differ from time to time."""
        self._refused.add(backbone)
        self.drop(backbone)
        self._warn(why)

    def give_up(self, error: OSError) -> None:
        """Store nothing more; what is stored stays."""
        self._broken = True
        self._warn(
            f"features of the frozen backbone are no longer kept in {self.folder} "
            f"({error.strerror or error}): each variant computes its own, with the same results"
        )

    def drop(self, backbone: str | None = None) -> None:
        """Free what is stored of a backbone, or everything."""
        for key in [*self._files, *self._expected]:
            if backbone in (None, key.backbone):
                self._remove(key)

    def add(self, key: FeatureKey, file: FeatureFile) -> None:
        """Take over a file that is whole."""
        self._files[key] = file
        self._expected.pop(key, None)

    def _fits(self, key: FeatureKey, bytes_per_image: int, images: int, free: int) -> bool:
        needed = images * bytes_per_image
        if key not in self._expected:
            needed += sum(self._expected.values()) * bytes_per_image
        if self.used_bytes + needed > self.limit_bytes:
            limit = f"the limit of {self.limit_bytes / 1e9:.3g} GB"
        elif needed > free - LEFT_FREE_BYTES:
            limit = f"the {free / 1e9:.3g} GB free in {self.folder}"
        else:
            return True
        self._warn(
            "features of the frozen backbone are not all kept: an epoch takes "
            f"{images * bytes_per_image / 1e9:.3g} GB, and {limit} is reached: "
            "each variant computes the rest, with the same results"
        )
        return False

    def _remove(self, key: FeatureKey) -> None:
        self._expected.pop(key, None)
        file = self._files.pop(key, None)
        if file is not None:
            file.path.unlink(missing_ok=True)

    def _warn(self, line: str) -> None:
        """Warn once for each kind of trouble: a sweep has many epochs."""
        start = line[:60]
        if not any(note.startswith(start) for note in self.notes):
            self.notes.append(line)
            logger.warning(line)
