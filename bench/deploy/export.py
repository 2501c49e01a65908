"""A trained run as a file for other programs, with its transform inside and its outputs checked."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from bench import __version__
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError, error_line
from bench.imaging.stated import stated_steps
from bench.system.files import new_file
from bench.timing.onnx import BATCH, cpu_session, export_onnx
from bench.timing.quantize import normalisation

# Of the outputs, relative to the largest: rounding in another order of sums stays below.
TOLERANCE = 1e-4
# The first batch is that of the export; a free batch size takes the others too.
BATCHES = (2, 1, 5)
ABOUT = "paddy_bench.json"
SUFFIXES = {
    "onnx": ".onnx", "onnx-int8": ".int8.onnx", "torchscript": ".torchscript.pt",
    "exported": ".pt2",
}  # fmt: skip

Outputs = Callable[[torch.Tensor], torch.Tensor]
# What reads the file again, as another program would.
Load = Callable[[Path], Outputs]


@attrs.frozen
class ExportedFile:
    """A file that was written and checked.

    Attributes:
        path: where it is.
        size_mb: in MB (10⁶ bytes).
        max_difference: of its logits to PyTorch's, absolute, over all of :data:`BATCHES`.
        largest: the largest of PyTorch's logits, absolute.
    """

    path: Path
    size_mb: float
    max_difference: float
    largest: float


def describe_transform(saved: SavedModel, *, pixels: bool = False) -> dict[str, Any]:
    """What a program needs to know to use the file: it is written into it.

    Args:
        saved: the run.
        pixels: whether the file takes pixels and normalises them itself.
    """
    size = saved.image_size
    normalise = {
        "scale": 1 / 255,
        "mean": list(saved.mean),
        "std": list(saved.std),
        "formula": "(float32(pixel) * scale - mean) / std, in float32",
    }
    return {
        "paddy_bench": __version__,
        "run": saved.name,
        "variant": saved.variant.name,
        "variant_version": saved.variant.version,
        "input": {
            "name": "images",
            "dtype": "uint8" if pixels else "float32",
            "shape": ["batch", 3, size, size],
            "layout": "NCHW",
            "colour": "RGB",
            "range": [0, 255] if pixels else _range(saved),
            "normalised": "by the model" if pixels else "by the caller",
        },
        "output": f"logits: float32 (batch, {len(saved.classes)}), in the order of classes",
        "classes": list(saved.classes),
        "transform": {
            **stated_steps(size, saved.pillow),
            **({} if pixels else normalise),
            "trained_with_version": saved.loader,
        },
        # Nothing that a caller has to do.
        **({"normalised_inside": _inside(saved)} if pixels else {}),
    }


def _inside(saved: SavedModel) -> dict[str, Any]:
    """The nodes that normalise pixels in a quantised file."""
    factor, shift = (part.ravel().tolist() for part in normalisation(saved.mean, saved.std))
    return {
        "mean": list(saved.mean),
        "std": list(saved.std),
        "factor": factor,
        "shift": shift,
        "formula": "float32(pixel) * factor + shift, in float32, with factor = 1 / (255 * std) "
        "and shift = -mean / std",
    }


def input_line(saved: SavedModel, *, pixels: bool) -> str:
    """Name, type and shape of the input, for people."""
    about = describe_transform(saved, pixels=pixels)["input"]
    shape = ", ".join(map(str, about["shape"]))
    return f"{about['name']}: {about['dtype']} ({shape}), {about['colour']}, {_WHO[pixels]}"


_WHO = {True: "normalised inside", False: "normalised as its metadata says"}


def _range(saved: SavedModel) -> list[float]:
    """The smallest and largest value that a normalised pixel has."""
    ends = [
        (level - mean) / std
        for level in (0, 1)
        for mean, std in zip(saved.mean, saved.std, strict=True)
    ]
    return [min(ends), max(ends)]


def require_format(form: str) -> None:
    """See that what a format needs is installed.

    Raises:
        BenchError: it is not; which extra has it.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if form.startswith("onnx") else ()
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        raise BenchError(
            f"--format {form} needs {', '.join(absent)}: pip install 'paddy-bench[onnx]'"
        )


def export(saved: SavedModel, form: str, path: Path) -> ExportedFile:
    """Write a model to a new file, read it again, and compare its outputs with PyTorch's.

    Args:
        saved: on the CPU.
        form: of :data:`WRITERS`.
        path: of the file.

    Raises:
        BenchError: the model cannot be exported, or what was written computes something else, or
            the file is there already; nothing is left.
        OSError: it cannot be written.
    """
    own: Any = copy.deepcopy(saved.model)
    own = own.to(memory_format=torch.contiguous_format).eval()
    with new_file(path) as part:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what exporters warn of, the comparison would show
                content, load = WRITERS[form](own, saved)
                part.write_bytes(content)
                difference, largest = _compare(own, load(part), saved.image_size)
        except (BenchError, OSError):
            raise
        except Exception as error:
            line = error_line(f"{type(error).__name__}: {error}")
            raise BenchError(
                f"{saved.variant.name} cannot be exported as {form} ({line}): try another --format"
            ) from error
        if not difference <= TOLERANCE * max(largest, 1.0):
            raise BenchError(
                f"{saved.variant.name} as {form} computes other outputs: they differ by "
                f"{difference:.2g} where the largest is {largest:.2g}: try another --format"
            )
    return ExportedFile(path, path.stat().st_size / 1e6, difference, largest)


def _compare(model: nn.Module, read: Outputs, size: int) -> tuple[float, float]:
    differences, sizes = [], []
    generator = torch.Generator().manual_seed(0)
    for count in BATCHES:
        images = torch.randn(count, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = model(images)
        found = read(images)
        if found.shape != expected.shape:
            raise BenchError(f"its outputs have shape {tuple(found.shape)}: try another --format")
        differences.append((found - expected).abs().max())
        sizes.append(expected.abs().max())
    # Unlike Python's, this maximum of what is no number is no number.
    return float(torch.stack(differences).max()), float(torch.stack(sizes).max())


def with_metadata(content: bytes, saved: SavedModel, *, pixels: bool = False) -> bytes:
    """An ONNX file with :func:`describe_transform` in its metadata."""
    import onnx

    model = onnx.load_model_from_string(content)
    for name, value in describe_transform(saved, pixels=pixels).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.metadata_props.add(key=name, value=text)
    return model.SerializeToString()


# --- formats ---------------------------------------------------------------------------------


def _onnx(model: nn.Module, saved: SavedModel) -> tuple[bytes, Load]:
    import onnx

    content = with_metadata(export_onnx(model, saved.image_size).onnx, saved)
    onnx.checker.check_model(onnx.load_model_from_string(content))

    def load(path: Path) -> Outputs:
        run = cpu_session(path.read_bytes())
        return lambda images: torch.from_numpy(run(images.numpy()))

    return content, load


def _torchscript(model: nn.Module, saved: SavedModel) -> tuple[bytes, Load]:
    images = torch.zeros(BATCHES[0], 3, saved.image_size, saved.image_size)
    with torch.no_grad():
        model(images)  # what a module keeps between calls is there before it is traced
        traced = torch.jit.trace(model, images)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files={ABOUT: _about(saved).encode()})
    return buffer.getvalue(), lambda path: _without_gradients(torch.jit.load(str(path)))


def _exported(model: nn.Module, saved: SavedModel) -> tuple[bytes, Load]:
    images = torch.zeros(BATCHES[0], 3, saved.image_size, saved.image_size)
    with torch.no_grad():
        model(images)
        program = torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim(BATCH)},)
        )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: _about(saved)})

    def load(path: Path) -> Outputs:
        with path.open("rb") as file:
            return _without_gradients(torch.export.load(file).module())

    return buffer.getvalue(), load


def _about(saved: SavedModel) -> str:
    return json.dumps(describe_transform(saved), ensure_ascii=False)


def _without_gradients(model: Any) -> Outputs:
    def read(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(images)

    return read


WRITERS: dict[str, Callable[[nn.Module, SavedModel], tuple[bytes, Load]]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "exported": _exported,
}
