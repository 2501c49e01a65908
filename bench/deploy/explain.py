"""Why a model decides as it does: Grad-CAM of chosen images, and what its attention attends to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from bench.data.augment import finish_image
from bench.data.images import UnreadableImage, load_square
from bench.data.index import ImageIndex
from bench.data.transforms import level_table
from bench.deploy.saved_model import SavedModel
from bench.errors import BenchError
from bench.train.accumulate import out_of_memory
from variants.model import AttentiveClassifier

# Images at once: gradients of all layers are held.
BATCH = 8


@attrs.frozen
class Chosen:
    """A validation image of a run, by the run's record.

    Attributes:
        id: its path below the data folder.
        truth: number of its class.
        guess: number of the predicted class.
        confidence: softmax of the guess, 0..1.
    """

    id: str
    truth: int
    guess: int
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the guess is the truth."""
        return self.truth == self.guess


@attrs.frozen
class Explained:
    """An image with its maps, each (S, S) float32 from 0 to 1, its own maximum.

    Attributes:
        chosen: which image.
        pixels: (S, S, 3) uint8, as the model sees it before normalisation.
        guess: number of the class predicted now.
        of_guess: Grad-CAM of that class.
        of_truth: Grad-CAM of the true class; none where that is the same.
        attention: title of each attention block that has a map → the map.
    """

    chosen: Chosen
    pixels: np.ndarray
    guess: int
    of_guess: np.ndarray
    of_truth: np.ndarray | None
    attention: dict[str, np.ndarray]


def choose(record: Mapping[str, Any], images: int) -> list[Chosen]:
    """Wrong images, the surest first; then right ones, of each class in turn its surest.

    Half of each, where there are so many.

    Args:
        record: of a trained run.
        images: how many in all, at most.

    Raises:
        BenchError: the record has no whole predictions of a validation part.
    """
    part = record.get("validation") or {}
    columns = [part.get(key) or [] for key in ("ids", "labels", "predictions", "confidences")]
    if not columns[0] or len({len(column) for column in columns}) > 1:
        raise BenchError(
            "the run's record has no predictions of its validation images: train the variant "
            "again, or name another run"
        )
    known = range(len(record["data"]["classes"]))
    rows = list(zip(*columns, strict=True))
    for name, truth, guess, share in rows:
        sound = isinstance(name, str) and truth in known and guess in known
        if not sound or type(share) is not float or not 0 <= share <= 1.0001:
            raise BenchError(
                "the run's record says of its validation images what no training writes: train "
                "the variant again, or name another run"
            )
    found = [Chosen(*row) for row in rows]
    surest = sorted(found, key=lambda one: (-one.confidence, one.id))
    wrong = [one for one in surest if not one.right]
    right = _in_turn([one for one in surest if one.right])
    many = max(images // 2, images - len(right))
    wrong = wrong[:many]
    return [*wrong, *right[: images - len(wrong)]]


def _in_turn(chosen: Sequence[Chosen]) -> list[Chosen]:
    """The first of each class, then the second of each, and so on."""
    labels = sorted({image.truth for image in chosen})
    by_class = [[image for image in chosen if image.truth == label] for label in labels]
    return [image for turn in zip_longest(*by_class) for image in turn if image is not None]


def require_grad_cam() -> None:
    """See that what computes Grad-CAM is installed.

    Raises:
        BenchError: it is not.
    """
    if find_spec("captum") is None:
        raise BenchError("explain needs the package captum: pip install 'paddy-bench[explain]'")


def explain(
    saved: SavedModel,
    chosen: Sequence[Chosen],
    index: ImageIndex,
    *,
    device: torch.device,
    on_progress: Callable[[int], object] = lambda images: None,
) -> tuple[list[Explained], dict[str, str]]:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) and attention maps of images.

    Grad-CAM is that of the last feature map before the pooling, behind the attention. Attention
    maps are what a spec's ``attention_map(block, x)`` gives.

    Args:
        saved: on ``device``.
        chosen: the images.
        index: of the run's images; those that are not in it are not read.
        device: where the model is.
        on_progress: called with the images of each batch that is done.

    Returns:
        The images that could be read, in order; id of the others → why.

    Raises:
        BenchError: the model has no feature map with positions, or too little memory.
    """
    readable, unreadable = _read(chosen, index, saved.image_size)
    found: list[Explained] = []
    layer: nn.Module | None = None
    table = level_table(saved.mean, saved.std)
    for start in range(0, len(readable), BATCH):
        some = readable[start : start + BATCH]
        images = torch.empty((len(some), saved.image_size, saved.image_size, 3))
        for place, (_, pixels) in enumerate(some):
            finish_image(pixels, table, images[place].numpy())
        images = images.permute(0, 3, 1, 2).to(device)
        layer = layer or last_feature_map(saved.model, images[:1], saved.variant.name)
        try:
            found += _of_batch(saved, layer, some, images)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise BenchError(
                f"{len(some)} images at once do not fit in memory: end other programs, or use "
                "--device cpu"
            ) from error
        on_progress(len(some))
    return found, unreadable


def _read(
    chosen: Sequence[Chosen], index: ImageIndex, size: int
) -> tuple[list[tuple[Chosen, np.ndarray]], dict[str, str]]:
    readable, unreadable = [], {}
    known = set(index.paths)
    for one in chosen:
        if one.id not in known:
            unreadable[one.id] = "it is none of the data folder's images"
            continue
        try:
            readable.append((one, load_square(index.root / one.id, size)))
        except UnreadableImage as error:
            unreadable[one.id] = error.reason
    return readable, unreadable


def _of_batch(
    saved: SavedModel,
    layer: nn.Module,
    some: Sequence[tuple[Chosen, np.ndarray]],
    images: torch.Tensor,
) -> list[Explained]:
    inputs: dict[nn.Module, torch.Tensor] = {}

    def keep_input(module: nn.Module, values: tuple[torch.Tensor, ...]) -> None:
        inputs[module] = values[0].detach().clone()

    blocks = _blocks(saved)
    with torch.no_grad():
        with ExitStack() as hooks:
            for _, _, module in blocks:
                hooks.enter_context(module.register_forward_pre_hook(keep_input))
            guesses = saved.model(images).argmax(1)
        maps = {
            title: _scaled(spec.attention_map(module, inputs[module]), saved.image_size)
            for title, spec, module in blocks
        }
    truths = torch.tensor([one.truth for one, _ in some], device=images.device)
    of_guess = _grad_cam(saved, layer, images, guesses)
    of_truth = _grad_cam(saved, layer, images, truths)
    return [
        Explained(
            chosen=one,
            pixels=pixels,
            guess=int(guesses[place]),
            of_guess=of_guess[place],
            of_truth=None if guesses[place] == one.truth else of_truth[place],
            attention={title: scaled[place] for title, scaled in maps.items()},
        )
        for place, (one, pixels) in enumerate(some)
    ]


def _grad_cam(
    saved: SavedModel, layer: nn.Module, images: torch.Tensor, classes: torch.Tensor
) -> np.ndarray:
    """(B, S, S) float32, each image's own maximum is 1 (0 where nothing speaks for the class)."""
    from captum.attr import LayerGradCam

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum warns of setting requires_grad on the images
        found = LayerGradCam(saved.model, layer).attribute(
            images.clone(), target=classes, relu_attributions=True
        )
    assert isinstance(found, torch.Tensor)
    return _scaled(found.detach()[:, 0], saved.image_size)


def _scaled(maps: torch.Tensor, size: int) -> np.ndarray:
    """(B, h, w) → (B, S, S), bilinear, divided by each map's maximum."""
    large = nn.functional.interpolate(
        maps.float()[:, None], (size, size), mode="bilinear", align_corners=False
    )[:, 0]
    most = large.amax((1, 2), keepdim=True)
    return (large / most.clamp_min(torch.finfo(large.dtype).tiny)).cpu().numpy()


# --- where to look ---------------------------------------------------------------------------


def last_feature_map(model: nn.Module, images: torch.Tensor, name: str) -> nn.Module:
    """The module that gives the last (B, C, h, w) before the classifier: ``attention`` has it.

    Args:
        model: in eval mode.
        images: (B, 3, S, S), any.
        name: of the variant.

    Raises:
        BenchError: there is none, it has one position only, or what comes after it has lost its
            places (tokens).
    """
    outputs: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            outputs.append((module, tuple(output.shape)))

    with ExitStack() as hooks, torch.no_grad():
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(note))
        model(images)
    own = model.attention if isinstance(model, AttentiveClassifier) else None
    behind_attention = [one for one in outputs if one[0] is own]
    for place, (module, shape) in reversed(list(enumerate(behind_attention or outputs))):
        if len(shape) == 4 and shape[2] * shape[3] > 1:
            tokens = not behind_attention and any(len(one) == 3 for _, one in outputs[place:])
            if not tokens and not _channels_behind(model):
                return module
            break
    size = images.shape[-1]
    raise BenchError(
        f"{name} has no feature map with positions before its classifier (at {size} pixels), and "
        "Grad-CAM needs one: name a run of another variant, or of larger images"
    )


def _channels_behind(model: nn.Module) -> bool:
    """Whether a timm model's feature maps are (B, H, W, C)."""
    return any("NHWC" in str(getattr(one, "output_fmt", "")) for one in model.modules())


def _blocks(saved: SavedModel) -> list[tuple[str, Any, nn.Module]]:
    """Title, spec and module of each attention block whose spec has a map."""
    modules = getattr(saved.model, "attention", None)
    specs = saved.variant.attention
    if not isinstance(modules, nn.Sequential) or len(modules) != len(specs):
        return []
    names = [type(spec).__name__ for spec in specs]
    return [
        (name if names.count(name) == 1 else f"{name} {place}", spec, module)
        for place, (name, spec, module) in enumerate(zip(names, specs, modules, strict=True), 1)
        if hasattr(spec, "attention_map")
    ]
