"""A run's checkpoint as a model, with what it needs to know of its images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import PIL
import torch
from torch import nn

import variants
from bench.config.options import RunConfig
from bench.errors import BenchError, error_line
from bench.imaging import LOADER
from bench.models import build
from bench.records.store import UnreadableRecord, read_record, run_folder
from bench.timing.estimate import FORMATS
from bench.train.checkpoint import load_weights
from bench.train.optim import AMP_TYPES, choose_amp

CHECKPOINT = "best_model.pt"


@attrs.frozen(kw_only=True)
class SavedModel:
    """The model of a run, ready to be used.

    Attributes:
        folder: of the run.
        record: its ``run.json``.
        model: in eval mode, on its device and in the memory format it was trained in.
        variant: what it is.
        classes: names, in the order of the outputs.
        image_size: S in pixels.
        mean, std: of the images.
        amp: mixed precision that it was evaluated with on this kind of device, else ``off``.
        memory_format: of the model's weights.
    """

    folder: Path
    record: dict[str, Any]
    model: nn.Module
    variant: variants.Variant
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    amp: str
    memory_format: torch.memory_format = torch.contiguous_format

    @property
    def name(self) -> str:
        """The run's folder, as commands name it."""
        return self.folder.name

    @property
    def warnings(self) -> list[str]:
        """What differs from the variant and the image loader of this version of the program."""
        lines = []
        own, now = self.variant.version, variants.get(self.variant.name).version
        if own != now:
            lines.append(
                f"{self.name} is of version {own} of {self.variant.name} "
                f"({', '.join(spec.describe() for spec in self.variant.attention)}), and is used "
                f"as that; version {now} is trained now"
            )
        if self.loader != LOADER:
            lines.append(
                f"{self.name} was trained on pixels of image loader {self.loader}, and loader "
                f"{LOADER} reads the images now: train it again"
            )
        return lines

    @property
    def loader(self) -> int:
        """Number of the loader that made its pixels (:data:`bench.imaging.LOADER`)."""
        found = (self.record.get("data") or {}).get("loader")
        return found if type(found) is int else 1

    @property
    def pillow(self) -> str:
        """The version of Pillow that it was trained with; this one where the record has none."""
        found = (self.record.get("environment") or {}).get("pillow")
        return found if isinstance(found, str) else str(PIL.__version__)


def load_saved(results_dir: Path, run: str, device: torch.device) -> SavedModel:
    """The best weights of a run as a model on a device.

    Args:
        results_dir: where runs are.
        run: name of a folder in it, or a path.
        device: where to put the model.

    Raises:
        BenchError: no such run; it left no weights, or weights that cannot be read or are not of
            the variant as it is now; an unknown variant.
    """
    folder = run_folder(results_dir, run).resolve()
    try:
        record = read_record(folder)
    except UnreadableRecord as error:
        raise BenchError(f"{error} (or name another run)") from error
    path = folder / CHECKPOINT
    if not path.is_file():
        why = _why_none(record)
        raise BenchError(f"{folder} has no {CHECKPOINT} ({why}): train the variant, or name a run")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign files, which are refused below
            found = load_weights(path, torch.device("cpu"))
    except OSError:
        raise
    except Exception as error:
        raise _unusable(path, f"cannot be read: {_first_line(error)}") from error
    about = _checked(found, path)
    variant = _variant_of(about, path)
    try:
        config = RunConfig(reduction=about.get("reduction"))
        model, _ = build.build(variant, len(about["classes"]), config)
    except Exception as error:
        raise BenchError(f"{variant.name} cannot be built here: {_first_line(error)}") from error
    try:
        model.load_state_dict(found["model"])
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise _unusable(path, f"does not fit {variant.name}: {_first_line(error)}") from error
    setup = (record.get("training") or {}).get("setup") or {}
    memory_format = FORMATS.get(str(setup.get("memory_format")), torch.contiguous_format)
    model.to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    return SavedModel(
        folder=folder,
        record=record,
        model=model.eval(),
        variant=variant,
        classes=tuple(about["classes"]),
        image_size=about["image_size"],
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        amp=_amp(record, device),
        memory_format=memory_format,
    )


def same_classes(models: list[SavedModel]) -> None:
    """See that runs can be averaged: that they tell the same classes apart.

    Raises:
        BenchError: they do not, or one is named twice.
    """
    first, folders = models[0], [model.folder for model in models]
    twice = [model.name for model in models if folders.count(model.folder) > 1]
    if twice:
        raise BenchError(f"--runs names {twice[0]} twice: name each run once")
    for other in models[1:]:
        if set(other.classes) != set(first.classes):
            apart = sorted(set(first.classes) ^ set(other.classes))
            raise BenchError(
                f"{first.name} and {other.name} were trained on different classes "
                f"({', '.join(map(repr, apart[:3]))}{', …' if len(apart) > 3 else ''} in one of "
                "them only): name runs of the same classes"
            )


def _checked(found: Any, path: Path) -> Mapping[str, Any]:
    """What a checkpoint says of its weights, where it is one of ours."""
    kinds = {
        "variant": str, "variant_version": int, "classes": list, "image_size": int, "mean": list,
        "std": list, "model": Mapping,
    }  # fmt: skip
    if not isinstance(found, Mapping):
        raise _unusable(path, "is no checkpoint of a run")
    wrong = [name for name, kind in kinds.items() if not isinstance(found.get(name), kind)]
    reduction = found.get("reduction")
    if reduction is not None and not (isinstance(reduction, int) and reduction >= 1):
        wrong.append("reduction")
    if wrong:
        raise _unusable(path, f"says nothing usable of {', '.join(wrong)}")
    classes, size = found["classes"], found["image_size"]
    sound = (
        len(classes) >= 2
        and all(isinstance(name, str) for name in classes)
        and len(set(classes)) == len(classes)
        and 8 <= size <= 4096
        and all(
            len(found[name]) == 3 and all(isinstance(value, float) for value in found[name])
            for name in ("mean", "std")
        )
        and all(found["std"])
    )
    if not sound:
        raise _unusable(path, "names classes, sizes or normalisation that no training writes")
    return found


def _variant_of(about: Mapping[str, Any], path: Path) -> variants.Variant:
    try:
        variant = variants.get(about["variant"])
    except variants.VariantError as error:
        raise BenchError(
            f"{path} is of {about['variant']!r}, which is not known here: give the file that "
            "declares it with --plugin"
        ) from error
    try:
        return variant.at_version(about["variant_version"])
    except variants.VariantError as error:
        raise _unusable(path, f"is of {error}") from error


def _unusable(path: Path, why: str) -> BenchError:
    return BenchError(f"{path} {why}: train the variant again, or name another run")


def _why_none(record: Mapping[str, Any]) -> str:
    error = record.get("error")
    if error:
        return f"it failed: {error.get('message')}"[:160]
    if record.get("training") is None and record.get("status") == "complete":
        return "a timing run trains nothing"
    return f"its status is {record.get('status')}"


def _amp(record: Mapping[str, Any], device: torch.device) -> str:
    """Mixed precision of the training, where this device is of its kind and has it too."""
    training = record.get("training") or {}
    if training.get("device") != device.type or training.get("amp") not in AMP_TYPES:
        return "off"
    try:
        return choose_amp(training["amp"], device)
    except BenchError:
        return "off"


def _first_line(error: BaseException) -> str:
    return error_line(error, 160) or type(error).__name__
