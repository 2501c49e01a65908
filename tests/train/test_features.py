"""Features that are computed once: the same curves and weights, with fewer backbone passes."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from bench.config.options import RunConfig
from bench.system.console import ConsoleHandler, log_to
from bench.system.progress import Progress
from bench.train import feature_store, features, loop
from bench.train.checkpoint import CheckpointFiles
from bench.train.evaluate import evaluate
from bench.train.feature_store import FeatureKey, FeatureStore
from bench.train.features import FeatureBatches, as_record, backbone_digest, share
from bench.train.optim import freeze_backbone, set_training
from variants import CoordinateAttention, EfficientChannelAttention, Variant
from variants.model import AttentiveClassifier, build_model

CPU = torch.device("cpu")
NORMALISATION = ((0.5,) * 3, (0.5,) * 3)
TINY = Variant(name="Tiny", backbone="test_efficientnet")
TINY_CA = Variant(name="Tiny_CA", backbone="test_efficientnet", attention=(CoordinateAttention(),))
TINY_ECA = Variant(
    name="Tiny_ECA", backbone="test_efficientnet", attention=(EfficientChannelAttention(),)
)
# Of 21 training images in batches of 8, and 13 to validate with.
TRAIN_BATCHES, VALID_BATCHES = 3, 2


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor
    draws: None


class Pictures:
    """Labelled noise."""

    num_classes = 3

    def __init__(self, length: int) -> None:
        self.labels = [place % 3 for place in range(length)]

    def __len__(self) -> int:
        return len(self.labels)


class Loader:
    """Order and noise depend on seed and epoch alone; the last batch is short."""

    def __init__(self, length: int, *, train: bool, seed: int = 5) -> None:
        self.dataset = Pictures(length)
        self.train = train
        self.seed = seed
        self.epoch = 1
        self.passes: list[int] = []

    def __len__(self) -> int:
        return -(-len(self.dataset) // 8)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        assert first == 0
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        self.passes.append(self.epoch if self.train else 0)
        generator = torch.Generator().manual_seed(1000 * self.seed + self.passes[-1])
        self.epoch += 1
        order = torch.randperm(len(self.dataset), generator=generator)
        images = torch.randn(len(self.dataset), 3, 64, 64, generator=generator)
        labels = torch.tensor(self.dataset.labels)
        places = order if self.train else torch.arange(len(self.dataset))
        return iter([Batch(images[some], labels[some], None) for some in places.split(8)])


def prepare(batch: Batch, memory_format: torch.memory_format) -> features.Pair:
    return batch.images.contiguous(memory_format=memory_format), batch.labels


class Trained(NamedTuple):
    curves: list[dict[str, float]]
    weights: dict[str, torch.Tensor]
    record: dict[str, Any]
    loaders: dict[str, Loader]
    confidences: list[float]


def build(variant: Variant, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(variant, num_classes=3, dropout=0.3)


def shared_batches(
    model: nn.Module, store: FeatureStore, *, keep: bool = True, **options: Any
) -> dict[str, FeatureBatches]:
    parts = {"train": Loader(21, train=True), "valid": Loader(13, train=False)}
    found = share(
        model,
        parts,
        store,
        RunConfig(**{"amp": "off", "batch_size": 8, "image_size": 64, **options}),
        fold=None,
        normalisation=NORMALISATION,
        prepare=functools.partial(prepare, memory_format=torch.channels_last),
        keep=keep,
    )
    assert found is not None
    return found


def train(
    folder: Path,
    model: nn.Module,
    store: FeatureStore | None,
    *,
    keep: bool = True,
    memory_format: torch.memory_format = torch.channels_last,
    **options: Any,
) -> Trained:
    """With a store: as a sweep does it; without: images through the whole model."""
    chosen = {"epochs": 3, "amp": "off", "batch_size": 8, "image_size": 64, "head_lr": 1e-2}
    config = RunConfig(**{**chosen, "freeze_backbone": True, **options})
    model.to(memory_format=memory_format)
    loaders = {
        "train": Loader(21, train=True),
        "valid": Loader(13, train=False),
        "test": Loader(9, train=False, seed=6),
    }
    ready = functools.partial(prepare, memory_format=memory_format)
    parts: Any = loaders
    forward: Any = model
    shared = None
    if store is not None:
        shared = share(
            model, loaders, store, config, fold=None, normalisation=NORMALISATION,
            prepare=ready, keep=keep,
        )  # fmt: skip
    if shared is not None:
        parts, ready, forward = shared, features.ready, model.classify
    torch.manual_seed(config.seed)
    result = loop.train(
        model,
        loop.Feed(parts, ready, forward, forward),
        config,
        loop.TrainContext(device=CPU, progress=Progress("Tiny", config.epochs)),
        CheckpointFiles(best=folder / "best_model.pt", about={}),
    )
    test = evaluate(model, parts["test"], CPU, prepare=ready, forward=forward, amp=result.amp)
    curves = [
        {k: v for k, v in row.items() if not k.endswith("_s") and "seconds" not in k}
        for row in result.epochs
    ]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    record = as_record(shared, store) if store is not None else {}
    confidences = result.best.confidences + test.confidences
    return Trained(curves, weights, record, loaders, confidences)


def assert_equal(one: Trained, other: Trained) -> None:
    assert one.curves == other.curves
    assert one.confidences == other.confidences
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through a backbone."""
    seen: list[int] = []
    original = AttentiveClassifier.features

    @functools.wraps(original)
    def counted(self: AttentiveClassifier, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return original(self, images)

    monkeypatch.setattr(AttentiveClassifier, "features", counted)
    return seen


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", 1e9)


# --- the same, computed once -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("amp", "memory_format"),
    [
        ("off", torch.channels_last),
        ("off", torch.contiguous_format),
        ("bf16", torch.channels_last),
    ],
)
def test_sharing_changes_nothing(
    tmp_path: Path, store: FeatureStore, amp: str, memory_format: torch.memory_format
) -> None:
    for variant in (TINY_CA, TINY):
        options = {"amp": amp, "memory_format": memory_format}
        alone = train(tmp_path, build(variant), None, **options)
        together = train(tmp_path, build(variant), store, **options)
        assert_equal(alone, together)
    assert together.record["batches_computed"] == 0
    assert store.notes == []


def test_each_batch_goes_through_the_backbone_once(tmp_path, store, calls) -> None:
    first = train(tmp_path, build(TINY_CA), store)
    second = train(tmp_path, build(TINY), store)
    test_batches = 2
    assert sorted(calls) == sorted([8, 8, 5] * 3 + [8, 5] + [8, 1])
    computed = 3 * TRAIN_BATCHES + VALID_BATCHES + test_batches
    again = 2 * VALID_BATCHES
    assert first.record["batches_computed"] == computed
    assert first.record["batches_read"] == again
    assert second.record["batches_computed"] == 0
    assert second.record["batches_read"] == computed + again
    assert [loader.passes for loader in second.loaders.values()] == [[], [], []]
    # 256 channels of 2×2, float32.
    assert first.record["stored_bytes"] == (3 * 21 + 13 + 9) * 256 * 2 * 2 * 4
    assert second.record["shared"]
    assert second.record["backbone"] == first.record["backbone"]


def test_the_head_still_draws_its_dropout(tmp_path, store) -> None:
    first = train(tmp_path, build(TINY), store)
    model = build(TINY)
    model.backbone.drop_rate = 0.0
    without = train(tmp_path, model, store)
    assert without.record["batches_computed"] == 0
    assert first.curves != without.curves


def test_the_last_variant_of_a_backbone_keeps_the_validation_part_only(tmp_path, store) -> None:
    alone = train(tmp_path, build(TINY), None)
    last = train(tmp_path, build(TINY), store, keep=False)
    assert_equal(alone, last)
    assert last.record["stored_bytes"] == 13 * 256 * 4 * 4
    assert last.record["batches_read"] == 2 * VALID_BATCHES


def test_an_epoch_that_was_not_reached_before_is_computed_in_its_own_order(tmp_path, store) -> None:
    """The first variant stopped earlier: the other reads two epochs and computes the third."""
    train(tmp_path, build(TINY_CA), store, epochs=2)
    alone = train(tmp_path, build(TINY), None)
    longer = train(tmp_path, build(TINY), store)
    assert longer.loaders["train"].passes == [3]
    assert_equal(alone, longer)


# --- what is not shared ----------------------------------------------------------------------


def test_other_weights_are_not_shared(tmp_path, store, calls) -> None:
    train(tmp_path, build(TINY_CA), store, epochs=1)
    once = len(calls)
    alone = train(tmp_path, build(TINY, seed=1), None, epochs=1)
    calls.clear()
    other = train(tmp_path, build(TINY, seed=1), store, epochs=1)
    assert_equal(alone, other)
    assert len(calls) == once
    assert other.record["batches_read"] == 0


@pytest.mark.parametrize("option", [{"seed": 1}, {"amp": "bf16"}, {"image_size": 96}])
def test_other_conditions_are_not_shared(tmp_path, store, option) -> None:
    train(tmp_path, build(TINY), store, epochs=1)
    other = train(tmp_path, build(TINY), store, epochs=1, **option)
    assert other.record["batches_read"] == 0


def test_the_digest_is_of_the_frozen_part() -> None:
    digest = backbone_digest(build(TINY))
    assert backbone_digest(build(TINY_CA)) == digest
    head = build(TINY)
    with torch.no_grad():
        head.get_classifier().weight.add_(1)
    assert backbone_digest(head) == digest

    moved = build(TINY)
    moved.backbone.bn1.running_mean.add_(1e-6)
    activation = build(TINY)
    activation.backbone.bn2.act = nn.ReLU()
    last = build(TINY).to(memory_format=torch.channels_last)
    others = {backbone_digest(model) for model in (moved, activation, last)}
    assert len(others | {digest}) == 4


def test_a_model_that_does_not_tell_where_its_backbone_ends(tmp_path, store) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, 3)

        def get_classifier(self) -> nn.Module:
            return self.fc

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.fc(self.body(images).mean((2, 3)))

    trained = train(tmp_path, Own(), store, epochs=1)
    assert trained.record["shared"] is False
    assert trained.record["batches_computed"] == 0
    assert not store.folder.exists()


class TrainedInside(AttentiveClassifier):
    """Its attention works inside ``features``."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.attention(super().features(images))

    def classify(self, maps: torch.Tensor) -> torch.Tensor:
        return self.backbone.forward_head(maps)


class Random(AttentiveClassifier):
    """It blurs its features at random while it trains."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        maps = super().features(images)
        return nn.functional.dropout(maps, 0.1, self.training)


class Strided(AttentiveClassifier):
    """Its features are every other channel of a map."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return super().features(images).repeat_interleave(2, dim=1)[:, ::2]


@pytest.mark.parametrize(
    ("kind", "why"),
    [(TrainedInside, "weights that are trained"), (Random, "at random"), (Strided, "one piece")],
)
def test_features_that_change_are_never_stored(tmp_path, store, kind, why) -> None:
    def model() -> nn.Module:
        whole = build(TINY_CA)
        whole.__class__ = kind
        return whole

    alone = train(tmp_path, model(), None)
    together = train(tmp_path, model(), store)
    assert_equal(alone, together)
    assert together.record["batches_read"] == 0
    assert together.record["stored_bytes"] == 0
    assert len(store.notes) == 1
    assert why in store.notes[0]
    assert kind.__name__ in store.notes[0]


# --- room ------------------------------------------------------------------------------------


def test_what_does_not_fit_is_computed_by_each(tmp_path, calls, capsys) -> None:
    """There is room for one epoch and for the parts that every epoch and variant reads."""
    image = 256 * 4 * 4
    store = FeatureStore(tmp_path / "features", (21 + 13 + 9) * image + 5)
    alone = train(tmp_path, build(TINY_ECA), None)
    calls.clear()
    with log_to(ConsoleHandler()):
        train(tmp_path, build(TINY_CA), store)
        calls.clear()
        second = train(tmp_path, build(TINY_ECA), store)
    assert_equal(alone, second)
    assert sorted(calls) == sorted([8, 8, 5] * 2)
    assert second.record["stored_bytes"] == (21 + 13 + 9) * image
    assert len(store.notes) == 1
    assert "the limit of 0.000176 GB is reached" in store.notes[0]
    assert capsys.readouterr().err.count("warning:") == 1


def test_room_is_left_for_weights_and_records(tmp_path, store, monkeypatch) -> None:
    free = feature_store.LEFT_FREE_BYTES + 1000
    monkeypatch.setattr(
        feature_store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})
    )
    trained = train(tmp_path, build(TINY), store)
    assert trained.record["stored_bytes"] == 0
    assert f"free in {store.folder}" in store.notes[0]


def test_a_full_disk_ends_the_storing_not_the_training(
    tmp_path, store, monkeypatch, caplog
) -> None:
    alone = {variant.name: train(tmp_path, build(variant), None) for variant in (TINY_CA, TINY)}
    written = 0
    write = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal written
        written += 1
        if written > TRAIN_BATCHES + VALID_BATCHES + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # A disk may take a part of what it is given.
        return write(descriptor, data[:-1] if written == 1 else data, offset)

    monkeypatch.setattr(feature_store.os, "pwrite", full)
    for variant in (TINY_CA, TINY):
        assert_equal(alone[variant.name], train(tmp_path, build(variant), store))
    assert store.used_bytes == (21 + 13) * 256 * 4 * 4
    assert len(list(store.folder.iterdir())) == 2
    assert len(caplog.messages) == 1
    assert "(No space left on device)" in store.notes[0]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "features", 1e9)
    assert_equal(train(tmp_path, build(TINY), None), train(tmp_path, build(TINY), store))
    assert "(Not a directory)" in store.notes[0]


def test_dropping_frees_the_disk(tmp_path, store) -> None:
    kept = train(tmp_path, build(TINY), store, epochs=1).record["backbone"]
    other = train(tmp_path, build(TINY, seed=1), store, epochs=1).record["backbone"]
    both = store.used_bytes
    store.drop(other)
    assert store.used_bytes == both / 2
    assert train(tmp_path, build(TINY_CA), store, epochs=1).record["batches_computed"] == 0
    store.drop(kept)
    assert store.used_bytes == 0
    assert list(store.folder.iterdir()) == []
    assert train(tmp_path, build(TINY), store, epochs=1).record["batches_read"] == 0


def test_a_pass_that_breaks_off_leaves_nothing(store) -> None:
    model = build(TINY)
    freeze_backbone(model)
    set_training(model, frozen=True)
    batches = iter(shared_batches(model, store)["train"])
    next(batches)
    assert len(list(store.folder.iterdir())) == 1
    batches.close()
    assert list(store.folder.iterdir()) == []
    assert store.used_bytes == 0


def test_a_file_that_was_cut_or_removed_is_computed_again(tmp_path, store) -> None:
    train(tmp_path, build(TINY), store)
    first, second, *_ = sorted(store.folder.iterdir())
    first.unlink()
    os.truncate(second, 100)
    alone = train(tmp_path, build(TINY_CA), None)
    again = train(tmp_path, build(TINY_CA), store)
    assert_equal(alone, again)
    assert again.record["batches_computed"] == TRAIN_BATCHES + VALID_BATCHES


def test_a_file_that_is_cut_while_it_is_read_is_an_error(store) -> None:
    model = build(TINY)
    freeze_backbone(model)
    set_training(model, frozen=True)
    list(shared_batches(model, store)["valid"])
    [path] = store.folder.iterdir()
    batches = iter(shared_batches(model, store)["valid"])
    os.truncate(path, 8 * 256 * 4 * 4 + 1)
    next(batches)
    with pytest.raises(OSError, match="ended early"):
        next(batches)


def test_validation_is_worth_more_than_an_epoch_of_training(store) -> None:
    """What is expected keeps its room, until it is there or nobody needs it."""
    key = FeatureKey(
        part="train", seed=0, fold=None, epoch=1, backbone="b", device="cpu", amp="off",
        image_size=64, batch_size=8, normalisation=NORMALISATION,
    )  # fmt: skip
    store.expect(key, 21)
    first = torch.zeros(1, 1)
    other = FeatureKey(**{**feature_store.attrs.asdict(key), "epoch": 2})
    store.limit_bytes = 4 * 30
    assert store.begin(other, first, 10) is None
    store.drop("b")
    writing = store.begin(other, first, 10)
    assert writing is not None
    writing.close()
