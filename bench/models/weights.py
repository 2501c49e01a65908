"""Pretrained weights of a backbone: timm's from the hub, or a local file's.

Files are read as safetensors or with ``weights_only=True``; neither runs code of the file.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from torch import nn

from bench.errors import BenchError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPERS = ("state_dict_ema", "state_dict", "model")
HUB_TIMEOUT_S = 5.0

Shapes = Mapping[str, torch.Size]


# --- where the weights are -------------------------------------------------------------------


def find_file(path: Path, tag: str) -> Path:
    """Return the file of a backbone's weights: ``path`` itself, or the one for it in a folder.

    In a folder it is called after the weights' tag or the architecture
    (``resnet18.tv_in1k.safetensors``, ``resnet18.pth``), or is the ``model.safetensors`` or
    ``pytorch_model.bin`` of a subfolder called so.

    Raises:
        BenchError: no such path, or the folder has no file for the backbone.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise BenchError(f"no such weights: {path}: give --weights a file or a folder")
    names = (tag, tag.partition(".")[0])
    candidates = [path / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    for name in names:
        candidates += [path / name / "model.safetensors", path / name / "pytorch_model.bin"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BenchError(
        f"{path} has no weights for {tag}: put {tag}.safetensors or {names[1]}.pth there"
    )


def check_hub(tags: list[str]) -> None:
    """See that timm's weights are in the local cache or that the hub answers for them.

    Raises:
        BenchError: neither; it names the weights and what to do without a network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    for tag in tags:
        repository = None
        with contextlib.suppress(RuntimeError):
            repository = getattr(timm.get_pretrained_cfg(tag), "hf_hub_id", None)
        if not repository:
            raise BenchError(
                f"timm has no pretrained weights {tag!r} to download: give --weights PATH"
            )
        files = ("model.safetensors", "pytorch_model.bin")
        if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
            continue
        try:
            get_hf_file_metadata(hf_hub_url(repository, files[0]), timeout=HUB_TIMEOUT_S)
        except Exception as error:
            raise _unreachable(tag, error) from error


def _unreachable(tag: str, error: Exception) -> BenchError:
    return BenchError(
        f"the pretrained weights {tag} cannot be downloaded ({type(error).__name__}): give "
        "--weights PATH with a local copy, or --no-pretrained to train from random weights"
    )


# --- reading and matching --------------------------------------------------------------------


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict of a file, unwrapped from the usual training checkpoints.

    Raises:
        BenchError: unreadable, or no state dict of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        safetensors.SafetensorError,
    ) as error:
        reason = str(error).strip().partition("\n")[0][:120]
        raise BenchError(
            f"weights {path} cannot be read ({reason}): give a .safetensors or .pth state dict"
        ) from error
    if isinstance(state, dict):
        wrapped = (state[name] for name in WRAPPERS if isinstance(state.get(name), dict))
        state = next(wrapped, state)
    if not isinstance(state, dict) or not state:
        raise BenchError(f"weights {path} hold no state dict: give a .safetensors or .pth one")
    tensors = {str(name): value for name, value in state.items() if torch.is_tensor(value)}
    for prefix in ("module.", "backbone."):
        if any(name.startswith(prefix) for name in tensors):
            tensors = {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
    return tensors


def match(
    state: Mapping[str, torch.Tensor], shapes: Shapes, classifier: str, what: str
) -> dict[str, torch.Tensor]:
    """Tensors of ``state`` under the names of a backbone, without a classifier of other size.

    By name; where the names differ, by order, if every shape agrees.

    Args:
        state: what was read.
        shapes: of the backbone's own state dict, in order.
        classifier: prefix of the classifier's names in the backbone.
        what: the weights and the architecture, for the message.

    Raises:
        BenchError: the weights are of another architecture.
    """

    def is_head(name: str) -> bool:
        return name == classifier or name.startswith(classifier + ".")

    wanted = [name for name in shapes if not name.endswith("num_batches_tracked")]
    body = [name for name in wanted if not is_head(name)]
    if all(name in state and state[name].shape == shapes[name] for name in body):
        tensors = {name: state[name] for name in wanted if name in state}
    else:
        items = [(n, t) for n, t in state.items() if not n.endswith("num_batches_tracked")]
        same = len(items) == len(wanted) or len(items) == len(body)
        wrong = next(
            (
                f"{name} is {tuple(tensor.shape)}, not {tuple(shapes[place])}"
                for place, (name, tensor) in zip(wanted, items, strict=False)
                if not is_head(place) and tensor.shape != shapes[place]
            ),
            None if same else f"{len(items)} tensors, not {len(wanted)}",
        )
        if wrong is not None:
            raise BenchError(f"{what} ({wrong}): give weights of that architecture")
        tensors = dict(zip(wanted, (tensor for _, tensor in items), strict=False))
    heads = [name for name in tensors if is_head(name)]
    same_head = all(tensors[name].shape == shapes[name] for name in heads)
    return {name: tensors[name] for name in tensors if same_head or name not in heads}


# --- into a model ----------------------------------------------------------------------------


def load_file(backbone: nn.Module, path: Path, tag: str) -> str:
    """Load a local file into a backbone; says what was loaded, for the record.

    Raises:
        BenchError: unreadable, or of another architecture; the backbone is unchanged.
    """
    file = find_file(path, tag)
    backbone.load_state_dict(check_file(backbone, file, tag), strict=False)
    return f"file: {file.name}"


def check_file(backbone: nn.Module, file: Path, tag: str) -> dict[str, torch.Tensor]:
    """Return a file's tensors under the names of a backbone, which may be on the meta device.

    Raises:
        BenchError: as :func:`load_file`.
    """
    return _match(read_state(file), backbone, f"{file} does not hold weights of {tag}")


def load_hub(backbone: nn.Module, tag: str) -> str:
    """Load timm's pretrained weights into a backbone; says what was loaded, for the record.

    Raises:
        BenchError: the hub is out of reach.
    """
    try:
        source = timm.create_model(tag, pretrained=True)
    except Exception as error:
        raise _unreachable(tag, error) from error
    tensors = _match(source.state_dict(), backbone, f"not {tag}")
    backbone.load_state_dict(tensors, strict=False)
    return f"timm: {tag}"


def _match(
    state: Mapping[str, torch.Tensor], backbone: nn.Module, what: str
) -> dict[str, torch.Tensor]:
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    classifier = getattr(backbone, "default_cfg", {}).get("classifier") or "classifier"
    return match(state, shapes, str(classifier), what)
