"""A trained run as an ONNX model of 8-bit integers, and what accuracy that costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.images import UnreadableImage, load_square
from bench.data.index import ImageIndex
from bench.data.transforms import level_table
from bench.deploy.export import with_metadata
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError, error_line
from bench.system.files import new_file
from bench.timing.onnx import Exported, cpu_session, export_onnx
from bench.timing.quantize import quantise

CALIBRATION_IMAGES = 256
BATCH = 16
METHOD = (
    "static, uint8 pixels normalised inside, uint8 activations, int8 weights of 7 bits for each "
    "channel, ranges of minimum and maximum"
)


def export_int8(
    saved: SavedModel,
    path: Path,
    index: ImageIndex,
    *,
    on_progress: Callable[[int], object] = lambda images: None,
) -> dict[str, Any]:
    """Quantise a run on images of its training part, and predict its judged part with both.

    Args:
        saved: on the CPU.
        path: of the new file.
        index: the images that the run was trained on.
        on_progress: called with the images of each batch that is done.

    Returns:
        What ``quantised.json`` holds, without time and environment.

    Raises:
        BenchError: no part to judge by or no image to calibrate on, a model that cannot be
            exported or quantised, or a file that is there already; nothing is left.
        OSError: it cannot be written.
    """
    part, ids, labels = _judged(saved, index)
    exported, made = _quantise(saved, index, _calibration(saved, index))
    with new_file(path) as new:
        new.write_bytes(with_metadata(made.onnx, saved, pixels=True))
        content = new.read_bytes()
        kept, exact, small = _predict(
            saved, index.root, ids, exported.onnx, content, on_progress=on_progress
        )
        if not kept:
            raise BenchError(f"no image of the {part} part in {index.root} can be read")
    return {
        "run": saved.name,
        "variant": saved.variant.name,
        "variant_version": saved.variant.version,
        # Of the version that the run's record has: the report compares the two.
        "fingerprint": index.known_as(
            saved.record["data"].get("fingerprint_version", 1)
        ).fingerprint,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "method": METHOD,
        "part": part,
        "ids": [ids[place] for place in kept],
        "labels": [labels[place] for place in kept],
        "predictions_float32": exact,
        "predictions_int8": small,
        "unreadable": len(ids) - len(kept),
        **{
            key: made.facts[key]
            for key in ("calibration_images", "input", "quantise_s", "size_mb", "size_float32_mb",
                        "opset", "versions")
        },
    }  # fmt: skip


def accuracies(quantised: dict[str, Any]) -> tuple[float, float]:
    """Accuracy of the float32 and of the int8 model on the judged part."""
    labels = np.array(quantised["labels"])
    exact, small = (
        float((np.array(quantised[f"predictions_{kind}"]) == labels).mean())
        for kind in ("float32", "int8")
    )
    return exact, small


def _judged(saved: SavedModel, index: ImageIndex) -> tuple[str, list[str], list[int]]:
    """Return the name of a run's judged part, and the ids and labels of its images."""
    part = "test" if saved.record.get("test") else "validation"
    judged = saved.record.get(part) or {}
    ids, labels = judged.get("ids") or [], judged.get("labels") or []
    if not ids or len(ids) != len(labels):
        raise BenchError(
            f"the record of {saved.name} has no predictions of a {part} part, and what int8 costs "
            "is told by one: train the variant again, or name another run"
        )
    if not set(ids) <= set(index.paths):
        raise BenchError(
            f"the record of {saved.name} names images that are not in {index.root}: train the "
            "variant again, or name another run"
        )
    return part, ids, labels


def _quantise(
    saved: SavedModel, index: ImageIndex, calibration: Sequence[str]
) -> tuple[Exported, Exported]:
    """Return a run's model as float32 and as 8-bit integers."""
    try:
        exported = export_onnx(saved.model, saved.image_size)
        pixels = [images for _, images in _batches(saved.image_size, index.root, calibration)]
        return exported, quantise(exported, pixels, saved.mean, saved.std)
    except (BenchError, OSError):
        raise
    except Exception as error:
        line = error_line(f"{type(error).__name__}: {error}")
        raise BenchError(
            f"{saved.variant.name} cannot be quantised ({line}): export it as onnx"
        ) from error


def _calibration(saved: SavedModel, index: ImageIndex) -> list[str]:
    """Some images that the run was neither chosen nor judged by."""
    held_out = {
        name
        for part in ("validation", "test")
        for name in (saved.record.get(part) or {}).get("ids") or ()
    }
    known = [name for name in index.paths if name not in held_out]
    if not known:
        raise BenchError(f"{index.root} has no training image to calibrate on")
    order = np.random.default_rng(saved.record["config"]["seed"]).permutation(len(known))
    return [known[place] for place in order[:CALIBRATION_IMAGES]]


def _batches(size: int, root: Path, names: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Places in ``names`` and (B, 3, S, S) uint8 of the images that can be read."""
    for start in range(0, len(names), BATCH):
        places, images = [], []
        for place in range(start, min(start + BATCH, len(names))):
            try:
                images.append(load_square(root / names[place], size))
            except UnreadableImage:
                continue
            places.append(place)
        if images:
            yield places, np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _predict(
    saved: SavedModel,
    root: Path,
    ids: Sequence[str],
    exact: bytes,
    small: bytes,
    *,
    on_progress: Callable[[int], object],
) -> tuple[list[int], list[int], list[int]]:
    """Places of the readable images, and what the two models predict of them."""
    models = [cpu_session(content) for content in (exact, small)]
    table = level_table(saved.mean, saved.std)[:, 0].T
    kept: list[int] = []
    found: tuple[list[int], list[int]] = ([], [])
    for places, pixels in _batches(saved.image_size, root, ids):
        kept += places
        channels = zip(table, pixels.swapaxes(0, 1), strict=True)
        normalised = np.stack([levels[channel] for levels, channel in channels], 1)
        for run, images, predictions in zip(models, (normalised, pixels), found, strict=True):
            predictions += run(images).argmax(1).tolist()
        on_progress(len(places))
    return kept, *found
