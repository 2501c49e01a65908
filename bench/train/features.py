"""Batches of a frozen backbone's features: computed once, read by whoever needs them again.

A frozen backbone draws nothing, and a batch depends on seed and epoch only: variants that share
the backbone train on the same features, to the last bit.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.train.feature_store import FeatureKey, FeatureStore
from bench.train.optim import AMP_TYPES, choose_amp, classifier_of

Pair = tuple[torch.Tensor, torch.Tensor]


def share(
    model: nn.Module,
    loaders: Mapping[str, Any],
    store: FeatureStore,
    config: RunConfig,
    *,
    fold: int | None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    device: torch.device,
    prepare: Callable[[Any], Pair],
    keep: bool,
) -> dict[str, FeatureBatches] | None:
    """The loaders' batches as features, or none: the model does not tell where its backbone ends.

    Train with :func:`ready` in place of ``prepare``, and ``model.classify`` in place of the model.

    Args:
        model: on ``device``, in the memory format to train in. Where it has ``features(images)``
            and ``classify(features)``, the trained weights are all behind ``features``.
        loaders: ``train``, ``valid`` and perhaps ``test``.
        store: of the sweep.
        config: the recipe, with this run's seed.
        fold: of this run.
        normalisation: mean and std of the images.
        device: where to compute.
        prepare: a loader's batch → images (B, 3, S, S) and labels (B,) on the device.
        keep: later variants need these features too.
    """
    if not (callable(getattr(model, "features", None)) and callable(_classify(model))):
        return None
    amp = choose_amp(config.amp, device)
    key = FeatureKey(
        part="",
        seed=config.seed,
        fold=fold,
        epoch=None,
        backbone=backbone_digest(model),
        device=str(device),
        amp=amp,
        image_size=config.image_size,
        batch_size=config.batch_size,
        normalisation=normalisation,
    )
    shared = {}
    for part, loader in loaders.items():
        again = keep or (part == "valid" and config.epochs > 1)
        shared[part] = FeatureBatches(
            model,
            loader,
            store,
            attrs.evolve(key, part=part),
            device=device,
            prepare=prepare,
            keep=again,
        )
    return shared


def ready(batch: Pair) -> Pair:
    """The batches of :class:`FeatureBatches` need no preparing."""
    return batch


def as_record(shared: Mapping[str, FeatureBatches] | None, store: FeatureStore) -> dict[str, Any]:
    """For the record of a run: how many batches were computed, how many read, and what is kept."""
    batches = list(shared.values()) if shared else []
    return {
        "shared": shared is not None,
        "backbone": batches[0].key.backbone if batches else None,
        "batches_computed": sum(part.computed for part in batches),
        "batches_read": sum(part.read for part in batches),
        "train_batches_read": shared["train"].read if shared else 0,
        "stored_bytes": store.used_bytes,
    }


class FeatureBatches:
    """Batches of (features, labels) on the device, in place of a loader's.

    Each pass over the training part is an epoch of its own, counted from 1; the other parts are
    the same in all epochs. A pass that is stored does not touch the images.

    Args:
        model: its backbone frozen and in eval mode while it is iterated.
        loader: has ``dataset``, a length, and for the training part ``set_epoch(epoch)``: the
            next pass is that epoch, counted from 1.
        store: where features go and come from.
        key: what they depend on; the epoch is filled in here.
        device: where the model is.
        prepare: a loader's batch → images and labels on the device.
        keep: store what is computed; else only read what others stored.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Any,
        store: FeatureStore,
        key: FeatureKey,
        *,
        device: torch.device,
        prepare: Callable[[Any], Pair],
        keep: bool,
    ) -> None:
        self.model = model
        self.loader = loader
        self.dataset = loader.dataset
        self.store = store
        self.key = key
        self.device = device
        self.prepare = prepare
        self.keep = keep
        self.computed = 0
        self.read = 0
        self._passes, self._first = 0, 0
        if keep and key.part != "train":
            store.expect(key, len(self.dataset))

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """As :meth:`bench.data.loaders.Loader.set_epoch`."""
        self._passes, self._first = epoch - 1, first

    def __iter__(self) -> Iterator[Pair]:
        key, first = self.key, self._first
        self._first = 0
        if key.part == "train":
            self._passes += 1
            key = attrs.evolve(key, epoch=self._passes)
        stored = self.store.find(key)
        if stored is not None:
            return self._counted(itertools.islice(stored.batches(self.device), first, None))
        if key.epoch is not None:
            # Earlier epochs may have been read: the loader knows nothing of them.
            self.loader.set_epoch(key.epoch, first)
        # Not inside the generator: worker processes begin before the first batch is asked for.
        return self._compute(key, iter(self.loader), whole=first == 0)

    def _counted(self, batches: Iterator[Pair]) -> Iterator[Pair]:
        for batch in batches:
            self.read += 1
            yield batch

    def _compute(self, key: FeatureKey, batches: Iterator[Any], *, whole: bool) -> Iterator[Pair]:
        writing = None
        try:
            for number, batch in enumerate(batches):
                images, labels = self.prepare(batch)
                features = self._features(images, key) if number == 0 else self._run(images)
                if number == 0 and self.keep and whole:
                    writing = self.store.begin(key, features, len(self.dataset))
                if writing is not None:
                    writing.add(features, labels)
                self.computed += 1
                yield features, labels
            if writing is not None:
                writing.finish()
        finally:
            if writing is not None:
                writing.close()

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(
            self.device.type, dtype=AMP_TYPES.get(self.key.amp), enabled=self.key.amp != "off"
        ):
            return self.model.features(images)  # type: ignore[operator]

    def _features(self, images: torch.Tensor, key: FeatureKey) -> torch.Tensor:
        """The first batch's; sees whether they would be the same the next time."""
        before = _random_state(self.device)
        features = self._run(images)
        why = None
        if not torch.is_tensor(features) or not _is_dense(features):
            why = "are no tensor in one piece"
        elif features.requires_grad:
            why = "depend on weights that are trained"
        elif not torch.equal(before, _random_state(self.device)):
            why = "are drawn at random"
        if why is not None:
            name = type(self.model).__name__
            self.store.refuse(key.backbone, f"the features of {name} {why}: they are not shared")
        return features


# --- what features depend on -----------------------------------------------------------------


def backbone_digest(model: nn.Module) -> str:
    """Tells frozen backbones apart: structure, weights, buffers and their memory formats.

    Classifier and attention are left out. Two architectures can have the same weights and differ
    in an activation only: so the layers' descriptions count too.
    """
    trained = [classifier_of(model), getattr(model, "attention", None)]
    apart = {id(m) for top in trained if isinstance(top, nn.Module) for m in top.modules()}
    kind: Any = type(model)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{kind.features.__module__}.{kind.features.__qualname__}".encode())
    for name, module in model.named_modules():
        if id(module) in apart:
            continue
        leaf = next(module.children(), None) is None
        text = repr(module) if leaf else type(module).__qualname__
        digest.update(f"\n{name}: {text}".encode())
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for label, tensor in own:
            shape, stride = tuple(tensor.shape), tensor.stride()
            digest.update(f"\n{label} {tensor.dtype} {shape} {stride} ".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _classify(model: nn.Module) -> Any:
    return getattr(model, "classify", None)


def _random_state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill a block of memory, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
