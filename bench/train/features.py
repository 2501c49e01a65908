"""Batches of a frozen backbone's features: computed once, read by whoever needs them again.

A frozen backbone draws nothing, and a batch depends on seed and epoch only: variants that share
the backbone train on the same features, to the last bit.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.train.evaluate import Prepare
from bench.train.feature_store import FeatureKey, FeatureStore
from bench.train.optim import attention_of, autocast, choose_amp, classifier_of

Pair = tuple[torch.Tensor, torch.Tensor]


def share(
    model: nn.Module,
    loaders: Mapping[str, Any],
    store: FeatureStore,
    config: RunConfig,
    *,
    fold: int | None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    prepare: Prepare,
    keep: bool,
) -> dict[str, FeatureBatches] | None:
    """Return the loaders' batches as features; none: it is unknown where the backbone ends.

    Train with :func:`ready` in place of ``prepare``, and ``model.classify`` in place of the model.

    Args:
        model: on its device, in the memory format to train in. Where it has ``features(images)``
            and ``classify(features)``, the trained weights are all behind ``features``.
        loaders: ``train``, ``valid`` and perhaps ``test``.
        store: of the sweep.
        config: the recipe, with this run's seed.
        fold: of this run.
        normalisation: mean and std of the images.
        prepare: a loader's batch → images (B, 3, S, S) and labels (B,) on the device.
        keep: later variants need these features too.
    """
    if not all(callable(getattr(model, name, None)) for name in ("features", "classify")):
        return None
    device = next(model.parameters()).device
    key = FeatureKey(
        part="",
        seed=config.seed,
        fold=fold,
        epoch=None,
        backbone=backbone_digest(model),
        device=str(device),
        amp=choose_amp(config.amp, device),
        image_size=config.image_size,
        batch_size=config.batch_size,
        normalisation=normalisation,
    )
    shared = {
        part: FeatureBatches(
            model=model,
            loader=loader,
            store=store,
            key=attrs.evolve(key, part=part),
            device=device,
            prepare=prepare,
            keep=keep or (part == "valid" and config.epochs > 1),
        )
        for part, loader in loaders.items()
    }
    for part, batches in shared.items():
        if batches.keep and part != "train":
            store.expect(batches.key, len(batches.dataset))
    return shared


def ready(batch: Pair) -> Pair:
    """Return a batch as it is: those of :class:`FeatureBatches` need no preparing."""
    return batch


def as_record(shared: Mapping[str, FeatureBatches] | None, store: FeatureStore) -> dict[str, Any]:
    """For the record of a run: how many batches were computed, how many read, and what is kept."""
    batches = list((shared or {}).values())
    return {
        "shared": shared is not None,
        "backbone": batches[0].key.backbone if batches else None,
        "batches_computed": sum(part.computed for part in batches),
        "batches_read": sum(part.read for part in batches),
        "train_batches_read": shared["train"].read if shared else 0,
        "stored_bytes": store.used_bytes,
    }


@attrs.define(kw_only=True, eq=False)
class FeatureBatches:
    """Batches of (features, labels) on the device, in place of a loader's.

    Each pass over the training part is an epoch of its own, counted from 1; the other parts are
    the same in all epochs. A pass that is stored does not touch the images.

    Attributes:
        model: its backbone frozen and in eval mode while it is iterated.
        loader: has ``dataset``, a length, and for the training part ``set_epoch(epoch)``: the
            next pass is that epoch, counted from 1.
        store: where features go and come from.
        key: what they depend on; the epoch is filled in here.
        device: where the model is.
        prepare: a loader's batch → images and labels on the device.
        keep: store what is computed; else only read what others stored.
        computed: batches so far.
        read: batches so far.
    """

    model: nn.Module
    loader: Any
    store: FeatureStore
    key: FeatureKey
    device: torch.device
    prepare: Prepare
    keep: bool
    computed: int = 0
    read: int = 0
    _passes: int = 0
    _first: int = 0

    @property
    def dataset(self) -> Any:
        """Return the loader's."""
        return self.loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Do as :meth:`bench.data.loaders.Loader.set_epoch`."""
        self._passes, self._first = epoch - 1, first

    def __iter__(self) -> Iterator[Pair]:
        key, first, self._first = self.key, self._first, 0
        if key.part == "train":
            self._passes += 1
            key = attrs.evolve(key, epoch=self._passes)
        stored = self.store.find(key)
        if stored is not None:
            return self._read(itertools.islice(stored.batches(self.device), first, None))
        if key.epoch is not None:
            # Earlier epochs may have been read: the loader knows nothing of them.
            self.loader.set_epoch(key.epoch, first)
        # Not inside the generator: worker processes begin before the first batch is asked for.
        return self._compute(key, iter(self.loader), whole=first == 0)

    def _read(self, batches: Iterator[Pair]) -> Iterator[Pair]:
        for batch in batches:
            self.read += 1
            yield batch

    def _compute(self, key: FeatureKey, batches: Iterator[Any], *, whole: bool) -> Iterator[Pair]:
        file = None
        try:
            for number, batch in enumerate(batches):
                images, labels = self.prepare(batch)
                features = self._features(images) if number else self._first_features(images)
                if number == 0 and self.keep and whole:
                    file = self.store.begin(key, features, len(self.dataset))
                if file is not None:
                    file.add(features, labels)
                self.computed += 1
                yield features, labels
            if file is not None:
                file.finish()
        finally:
            if file is not None:
                file.close()

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.key.amp):
            return self.model.features(images)  # type: ignore[operator]

    def _first_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the first batch's; see whether they would be the same the next time."""
        before = _random_state(self.device)
        features = self._features(images)
        reason = None
        if not torch.is_tensor(features) or not _is_dense(features):
            reason = "are no tensor in one piece"
        elif features.requires_grad:
            reason = "depend on weights that are trained"
        elif not torch.equal(before, _random_state(self.device)):
            reason = "are drawn at random"
        if reason is not None:
            self.store.refuse(
                self.key.backbone,
                f"the features of {type(self.model).__name__} {reason}: they are not shared",
            )
        return features


# --- what features depend on -----------------------------------------------------------------


def backbone_digest(model: nn.Module) -> str:
    """Tell frozen backbones apart: structure, weights, buffers and their memory formats.

    Classifier and attention are left out. Two architectures can have the same weights and differ
    in an activation only: so the layers' descriptions count too.
    """
    trained = classifier_of(model), attention_of(model)
    apart = {id(module) for top in trained if top is not None for module in top.modules()}
    kind: Any = type(model)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{kind.features.__module__}.{kind.features.__qualname__}".encode())
    for name, module in model.named_modules():
        if id(module) in apart:
            continue
        leaf = next(module.children(), None) is None
        text = repr(module) if leaf else type(module).__qualname__
        digest.update(f"\n{name}: {text}".encode())
        for label, tensor in itertools.chain(
            module.named_parameters(recurse=False), module.named_buffers(recurse=False)
        ):
            shape, stride = tuple(tensor.shape), tensor.stride()
            digest.update(f"\n{label} {tensor.dtype} {shape} {stride} ".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _random_state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _is_dense(tensor: torch.Tensor) -> bool:
    """Return whether its elements fill a block of memory, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
