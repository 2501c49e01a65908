"""Keeps features of a frozen backbone on disk while a sweep runs, within a limit.

Nothing depends on it but speed: what is not kept is computed again, with the same result.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

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


@attrs.frozen
class _Batch:
    """Where a batch lies in its file, and the form of its tensor."""

    offset: int
    nbytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    labels: list[int]


@attrs.frozen
class StoredEpoch:
    """One file of features: a whole pass over a part."""

    path: Path
    nbytes: int
    entries: list[_Batch]

    def batches(self, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Features as they were computed, memory format included, and labels (B,), on a device."""
        cuda = device.type == "cuda"
        with self.path.open("rb") as file:
            for entry in self.entries:
                # Own memory instead of a mapped file: aligned as a computed tensor is, on which
                # the last bits of a matrix product can depend.
                raw = torch.empty(entry.nbytes, dtype=torch.uint8, pin_memory=cuda)
                file.seek(entry.offset)
                if file.readinto(raw.numpy().data) != entry.nbytes:
                    raise OSError(f"{self.path} ended early: something cut it while it was read")
                features = raw.view(entry.dtype).as_strided(entry.shape, entry.stride)
                labels = torch.tensor(entry.labels, dtype=torch.int64)
                yield (
                    features.to(device, non_blocking=True),
                    labels.to(device, non_blocking=True),
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
        self.used_bytes = 0
        self.notes: list[str] = []
        self._epochs: dict[FeatureKey, StoredEpoch] = {}
        self._expected: dict[FeatureKey, int] = {}
        self._refused: set[str] = set()
        self._broken = False
        self._files = 0

    def expect(self, key: FeatureKey, images: int) -> None:
        """Leave room for a part that every epoch reads: it is worth more than one epoch's."""
        if key not in self._epochs:
            self._expected[key] = images

    def find(self, key: FeatureKey) -> StoredEpoch | None:
        """What is stored under that key, if it is whole."""
        found = self._epochs.get(key)
        if found is None:
            return None
        try:
            whole = found.path.stat().st_size == found.nbytes
        except OSError:
            whole = False
        if not whole:
            self._remove(key)
            return None
        return found

    def begin(self, key: FeatureKey, first: torch.Tensor, images: int) -> Writing | None:
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
            self._files += 1
            path = self.folder / f"{self._files:06}.features"
            return Writing(self, key, path)
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
        for key in [key for key in self._epochs if backbone in (None, key.backbone)]:
            self._remove(key)
        for key in [key for key in self._expected if backbone in (None, key.backbone)]:
            del self._expected[key]

    def add(self, key: FeatureKey, epoch: StoredEpoch) -> None:
        """Take over a file that is whole."""
        self._epochs[key] = epoch
        self._expected.pop(key, None)
        self.used_bytes += epoch.nbytes

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
        epoch = self._epochs.pop(key)
        self.used_bytes -= epoch.nbytes
        epoch.path.unlink(missing_ok=True)

    def _warn(self, line: str) -> None:
        """Once for each kind of trouble: a sweep has many epochs."""
        start = line[:60]
        if not any(note.startswith(start) for note in self.notes):
            self.notes.append(line)
            logger.warning(line)


class Writing:
    """A pass that is being stored; the store knows nothing of it before it is whole."""

    def __init__(self, store: FeatureStore, key: FeatureKey, path: Path) -> None:
        self.store = store
        self.key = key
        self.path = path
        self.entries: list[_Batch] = []
        self.nbytes = 0
        self.failed = False
        self.kept = False
        self.file = path.open("wb", buffering=0)

    def add(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Store a batch. After an error of the disk it does nothing: the pass is not kept."""
        if self.failed:
            return
        host = features.detach().cpu()
        flat = host.as_strided((host.numel(),), (1,), host.storage_offset()).view(torch.uint8)
        rest = flat.numpy().data
        at = self.nbytes
        try:
            while rest:
                written = os.pwrite(self.file.fileno(), rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            self.failed = True
            self.close()
            self.store.give_up(error)
            return
        form = (host.dtype, tuple(host.shape), host.stride())
        self.entries.append(_Batch(self.nbytes, flat.numel(), *form, labels.tolist()))
        self.nbytes = at

    def finish(self) -> None:
        """All batches are there: hand the file to the store."""
        if not self.failed:
            self.file.close()
            self.kept = True
            self.store.add(self.key, StoredEpoch(self.path, self.nbytes, self.entries))

    def close(self) -> None:
        """Remove the file of a pass that did not come to its end."""
        self.file.close()
        if not self.kept:
            self.path.unlink(missing_ok=True)
