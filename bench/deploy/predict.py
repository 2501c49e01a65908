"""Class probabilities of images by one trained model or the mean of several."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from bench.data.augment import finish_image
from bench.data.dataset import Batch
from bench.data.device import finish
from bench.data.images import UnreadableImage, load_square
from bench.data.transforms import level_table
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError
from bench.train.accumulate import out_of_memory
from bench.train.optim import AMP_TYPES

# Test-time augmentation: (quarter turns, mirrored) of each view that is averaged.
VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flip": ((0, False), (0, True)),
    "d4": tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}
# Batches that are decoded while a GPU computes. On a CPU decoding would only take its cores away.
AHEAD = 2

Look = tuple[int, tuple[float, ...], tuple[float, ...]]
"""Image size, mean and std: models that agree on them share their input."""


@attrs.frozen
class Predicted:
    """Probabilities of the images that could be read.

    Attributes:
        classes: names, in the order of the columns.
        probabilities: (N, classes) float32; rows sum to 1, those of unreadable images are NaN.
        unreadable: number of the image → why.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    unreadable: dict[int, str]

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64: the most probable class, the first of equals; −1 of unreadable images."""
        found = self.probabilities.argmax(1)
        found[list(self.unreadable)] = -1
        return found


def predict(
    models: Sequence[SavedModel],
    paths: Sequence[Path],
    *,
    device: torch.device,
    batch_size: int,
    views: str,
    threads: int,
    on_progress: Callable[[int], object] = lambda images: None,
) -> Predicted:
    """Predict images: softmax, averaged over views and models with equal weights.

    Args:
        models: on ``device``, of the same classes (:func:`bench.deploy.saved_model.same_classes`);
            the first one's order is that of the result.
        paths: image files.
        device: where the models are.
        batch_size: images at once.
        views: of :data:`VIEWS`.
        threads: that decode.
        on_progress: called with the images of each batch that is done.

    Raises:
        BenchError: outputs that are no numbers, or a batch that does not fit in memory.
    """
    classes = models[0].classes
    columns = [[model.classes.index(name) for name in classes] for model in models]
    found = np.full((len(paths), len(classes)), np.nan, np.float32)
    unreadable: dict[int, str] = {}
    decoder = _Decoder([look_of(model) for model in models], device, threads)
    starts = range(0, len(paths), batch_size)
    decode = [functools.partial(decoder.batch, paths[at : at + batch_size]) for at in starts]
    depth = AHEAD if device.type == "cuda" else 0
    for start, (inputs, reasons) in zip(starts, _ahead(decode, depth), strict=True):
        unreadable |= {start + number: reason for number, reason in reasons.items()}
        size = min(batch_size, len(paths) - start)
        kept = [number for number in range(size) if number not in reasons]
        if kept:
            total = torch.zeros(len(kept), len(classes), dtype=torch.float64)
            for model, order in zip(models, columns, strict=True):
                images = inputs[look_of(model)]
                images = images if len(kept) == size else images[kept]
                total += _safely(model, images, VIEWS[views])[:, order].cpu()
            found[start + np.array(kept)] = (total / len(models)).float().numpy()
        on_progress(size)
    return Predicted(classes, found, unreadable)


def look_of(model: SavedModel) -> Look:
    """What a model's images are made of."""
    return model.image_size, model.mean, model.std


def _safely(
    model: SavedModel, images: torch.Tensor, views: Sequence[tuple[int, bool]]
) -> torch.Tensor:
    try:
        found = _probabilities(model, images, views)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise BenchError(
            f"{len(images)} images at once do not fit in memory: give a smaller --batch-size"
        ) from error
    if not bool(torch.isfinite(found).all()):
        raise BenchError(
            f"{model.name} gives outputs that are no numbers: train the variant again, or name "
            "another run"
        )
    return found


@torch.inference_mode()
def _probabilities(
    model: SavedModel, images: torch.Tensor, views: Sequence[tuple[int, bool]]
) -> torch.Tensor:
    """(B, classes) float64: the mean softmax over views of (B, 3, S, S) images."""
    total: Any = 0
    for turns, mirrored in views:
        seen = images.flip(3) if mirrored else images
        seen = seen.rot90(turns, (2, 3)) if turns else seen
        seen = seen.contiguous(memory_format=model.memory_format)
        with torch.autocast(
            seen.device.type, dtype=AMP_TYPES.get(model.amp), enabled=model.amp != "off"
        ):
            logits = model.model(seen)
        total = total + logits.float().softmax(1).double()
    return total / len(views)


class _Decoder:
    """Reads batches of files, each once for each image size.

    Args:
        looks: of the models.
        device: where they are.
        threads: that read.
    """

    def __init__(self, looks: Sequence[Look], device: torch.device, threads: int) -> None:
        self._device = device
        self._tables = {look: level_table(look[1], look[2]) for look in looks}
        self._sizes = sorted({size for size, _, _ in looks})
        self._pool = ThreadPoolExecutor(threads)

    def batch(self, paths: Sequence[Path]) -> tuple[dict[Look, torch.Tensor], dict[int, str]]:
        """(B, 3, S, S) float32 of each look, on the device; and why images could not be read.

        What stands in the places of unreadable images means nothing.
        """
        on_gpu = self._device.type == "cuda"
        made: dict[Any, torch.Tensor] = {}
        # A GPU normalises: the same bytes serve every look of a size.
        for key in self._sizes if on_gpu else self._tables:
            size = key if isinstance(key, int) else key[0]
            shape, dtype = (len(paths), size, size, 3), torch.uint8 if on_gpu else torch.float32
            made[key] = torch.zeros(shape, dtype=dtype, pin_memory=on_gpu)
        arrays = {key: tensor.numpy() for key, tensor in made.items()}

        def fill(number: int, path: Path) -> str | None:
            try:
                pixels = {size: load_square(path, size) for size in self._sizes}
            except UnreadableImage as error:
                return error.reason
            for key, out in arrays.items():
                if isinstance(key, int):
                    out[number] = pixels[key]
                else:
                    finish_image(pixels[key[0]], self._tables[key], out[number])
            return None

        reasons = self._pool.map(fill, range(len(paths)), paths)
        failed = {number: reason for number, reason in enumerate(reasons) if reason is not None}
        # Pinned, since a copy from other memory would wait for all that the GPU still has to do.
        no_labels = torch.zeros(len(paths), dtype=torch.int64, pin_memory=on_gpu)
        inputs = {}
        for look in self._tables:
            images = made[look[0]] if on_gpu else made[look].permute(0, 3, 1, 2)
            inputs[look] = finish(Batch(images, no_labels, None), self._device, *look[1:])[0]
        return inputs, failed


def _ahead(work: Sequence[Callable[[], Any]], depth: int) -> Iterator[Any]:
    """Results in order; ``depth`` of them are being made while the caller is busy with one."""
    if depth == 0:
        for one in work:
            yield one()
        return
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(1) as thread:
        for one in work:
            waiting.append(thread.submit(one))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
